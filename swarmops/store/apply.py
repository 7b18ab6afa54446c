"""Apply one log entry to the tables: the same result on every replica, whatever the entry says.

Called by ``Store.apply`` alone. Reads no clock, draws nothing at random, and never raises for a
transaction that can't be applied: that is an answer. What no transaction of ours says is undone,
and raised.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from swarmops.model.base import ZERO_TIME, given
from swarmops.model.network import Network, is_ingress
from swarmops.model.node import Node
from swarmops.model.object import Object, ObjectVersion
from swarmops.model.service import Service, ServiceInternal
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import references, subnets
from swarmops.store.actions import (
    SPEC_KEPT,
    TABLE_OF,
    AnyAction,
    Delete,
    Entry,
    PatchTask,
    Put,
    PutTask,
)
from swarmops.store.errors import (
    AlreadyExists,
    Fenced,
    IngressPresent,
    NameConflict,
    NotFound,
    OutOfSequence,
    PortConflict,
    StoreError,
    SubnetConflict,
    WentBackwards,
)
from swarmops.store.networking import ingress_of
from swarmops.store.ports import conflict, taken_by
from swarmops.store.table import Table
from swarmops.store.tables import Tables
from swarmops.store.transaction import Applied, Failure
from swarmops.store.watch import Event

_NO_INTERNAL = TaskInternal()
Done = tuple[Table[Any], str, Object | None, Object | None]
"""A change that was made: table, ID, old, new."""


def apply_entry(tables: Tables, index: int, entry: Entry) -> tuple[Applied, list[Event]]:
    """Apply; return the proposer's answer and what changed.

    A transaction that is not partial either changes everything or fails as a whole, with the first
    failing action's error. An action that is no refusal but nonsense (a table that isn't there, a
    spec that the entry lacks) raises what it raises, and of its entry nothing is left at all.
    """
    former_fence = tables.fence
    if entry.seize:
        tables.fence = index
    if entry.fence not in (0, tables.fence):
        return Applied(index, [Failure(0, Fenced())]), []
    writer = _Writer(tables, entry, ObjectVersion(index=index))
    failures: list[Failure] = []
    for place, action in enumerate(entry.actions):
        try:
            writer.do(action)
        except StoreError as error:
            failures.append(Failure(place, error))
            if not entry.partial:
                writer.undo()
                return Applied(index, failures), []
        except Exception:
            writer.undo()
            tables.fence = former_fence
            raise
    return Applied(index, failures), [
        Event(
            table.name, "create" if old is None else "update" if new else "remove", new, old, index
        )
        for table, _, old, new in writer.done
    ]


class _Writer:
    """One entry's changes, kept so that they can be undone."""

    def __init__(self, tables: Tables, entry: Entry, version: ObjectVersion) -> None:
        self._tables = tables
        self._specs = entry.specs
        # A control loop that goes back to a former spec takes it as it was, as Docker's does.
        self._minds_references = entry.rules > 0 and not entry.fence
        self._at: datetime = entry.at
        self._version = version
        self.done: list[Done] = []

    def do(self, action: AnyAction) -> None:
        """Check and make one change. Raises StoreError, having changed nothing."""
        if isinstance(action, PatchTask):
            self._patch(action)
        elif isinstance(action, Delete):
            self._delete(action)
        else:
            self._put(action)

    def undo(self) -> None:
        """Take back every change, the last first."""
        for table, object_id, old, _ in reversed(self.done):
            self._tables.replace(table, object_id, old)
        self.done.clear()

    def _put(self, action: Put) -> None:
        obj: Object = action.obj
        table = self._tables.by_table[TABLE_OF[type(obj)]]
        old = table.get(obj.id)
        _check_version(table, obj.id, old, action.expected)
        if table.holder_of_name(obj) is not None:
            raise NameConflict(table.kind, table.name_of(obj))
        if isinstance(obj, Task):
            obj = self._task(action, obj, old)
        elif isinstance(obj, Service):
            if old is None or _ports_changed(old, obj):
                self._check_ports(obj)
            if self._minds_references and (old is None or old.spec != obj.spec):
                references.check_names(obj.spec, old.spec if old else None, self._tables)
            obj = _with_spec_version(obj, old, self._version.index)
        elif isinstance(obj, Network):
            self._check_network(obj)
        self._store(table, obj, old)

    def _check_ports(self, service: Service) -> None:
        if text := conflict(taken_by(service), service.id, self._tables.services):
            raise PortConflict(text)

    def _check_network(self, network: Network) -> None:
        if text := subnets.conflict(network, self._tables.networks):
            raise SubnetConflict(text)
        if self._minds_references and is_ingress(network):
            present = ingress_of(self._tables.networks)
            if present is not None and present.id != network.id:
                raise IngressPresent(present.id)

    def _task(self, action: Put, obj: Task, old: Task | None) -> Task:
        if old is not None:
            _check_forward(old, obj)
        if isinstance(action, PutTask) and action.spec != SPEC_KEPT:
            spec = self._specs[action.spec]
        else:
            spec = obj.spec if old is None else old.spec
        internal = _with_moments(obj, obj.status.state, self._at)
        return self._tables.slim(msgspec.structs.replace(obj, spec=spec, internal=internal))

    def _delete(self, action: Delete) -> None:
        table = self._tables.by_table[action.table]
        old = table.get(action.id)
        if old is None:
            raise NotFound(table.kind, action.id)
        _check_version(table, action.id, old, action.expected)
        if self._minds_references:
            references.check_unused(old, self._tables.services)
        self._tables.replace(table, action.id, None)
        self.done.append((table, action.id, old, None))

    def _patch(self, action: PatchTask) -> None:
        old = self._tables.tasks.get(action.id)
        if old is None:
            raise NotFound("task", action.id)
        parts: dict[str, Any] = {}
        if action.node_id is not None and action.node_id != old.node_id:
            if old.node_id is not UNSET:
                raise WentBackwards(action.id, f"it is bound to node {old.node_id}")
            node: Node | None = self._tables.nodes.get(action.node_id)
            if node is None:
                raise NotFound("node", action.node_id)
            parts["node_id"] = node.id
        status = action.status
        if status is not None and status.state.rank >= old.status.state.rank:
            parts["status"] = status
            parts["internal"] = _with_moments(old, status.state, self._at)
        desired = action.desired_state
        if desired is not None and desired.rank > old.desired_state.rank:
            parts["desired_state"] = desired
        if parts:
            self._store(self._tables.tasks, msgspec.structs.replace(old, **parts), old)

    def _store(self, table: Table[Any], obj: Object, old: Object | None) -> None:
        created = obj.created_at if obj.created_at != ZERO_TIME else self._at
        new = msgspec.structs.replace(
            obj,
            version=self._version,
            created_at=created if old is None else old.created_at,
            updated_at=self._at,
        )
        self._tables.replace(table, new.id, new)
        self.done.append((table, new.id, old, new))


def _check_version(table: Table[Any], object_id: str, old: Object | None, expected: int) -> None:
    """Let 0 create; anything else must be the stored version."""
    if expected == 0:
        if old is not None:
            raise AlreadyExists(table.kind, object_id)
    elif old is None:
        raise NotFound(table.kind, object_id)
    elif old.version.index != expected:
        raise OutOfSequence


def _check_forward(old: Task, new: Task) -> None:
    if new.status.state.rank < old.status.state.rank:
        raise WentBackwards(new.id, f"it is {old.status.state.value} already")
    if new.desired_state.rank < old.desired_state.rank:
        raise WentBackwards(new.id, f"it shall be {old.desired_state.value} already")
    if old.node_id is not UNSET and new.node_id != old.node_id:
        raise WentBackwards(new.id, f"it is bound to node {old.node_id}")


def _with_moments(task: Task, state: TaskState, at: datetime) -> TaskInternal:
    """Note by the swarm's own clock when the task was first seen running and ended."""
    internal = given(task.internal, _NO_INTERNAL)
    if state is TaskState.RUNNING and internal.running_at is UNSET:
        return msgspec.structs.replace(internal, running_at=at)
    if state.terminal and internal.ended_at is UNSET:
        return msgspec.structs.replace(internal, ended_at=at)
    return internal


def _ports_changed(old: Service, new: Service) -> bool:
    return old.spec.endpoint_spec != new.spec.endpoint_spec or old.endpoint != new.endpoint


def _with_spec_version(service: Service, old: Service | None, index: int) -> Service:
    former = given(old.internal, ServiceInternal()) if old else ServiceInternal()
    changed = old is None or old.spec != service.spec
    internal = msgspec.structs.replace(
        given(service.internal, former), spec_version=index if changed else former.spec_version
    )
    return msgspec.structs.replace(service, internal=internal)
