"""The closed set of what one log entry can do to the store, as it is written into the log.

Made by ``transaction`` and ``snapshot``, read by ``apply``. Lists and dicts of builtins only; new
fields are appended with defaults, so that older entries stay readable.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from swarmops.model.network import Network
from swarmops.model.node import Node
from swarmops.model.object import Object
from swarmops.model.secret import Config, Secret
from swarmops.model.service import Service, TaskSpec
from swarmops.model.swarm import Cluster
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store.errors import WrittenByNewer

RULES = 2
"""Which rules entries are written under now; apply knows them all, since old logs are read again.

0: versions, names, ports and subnets. 1: references too. 2: a ulimit has both its limits, 0 where
none was given.

Raise it with every change of what is stored: a field that an older release doesn't know is lost in
its replica without a word. A manager that reads of newer rules stops, so write the former ones
until every manager runs a release that knows the new.
"""
SPEC_KEPT = -1
"""``PutTask.spec``: the stored task's spec stays."""


class Action(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all actions."""


class PutCluster(Action, frozen=True):
    """Store the cluster. ``expected`` is the stored version's index, 0: it must not exist."""

    expected: int
    obj: Cluster


class PutNode(Action, frozen=True):
    """Store a node."""

    expected: int
    obj: Node


class PutService(Action, frozen=True):
    """Store a service."""

    expected: int
    obj: Service


class PutTask(Action, frozen=True):
    """Store a task; its spec stands once in the entry, however many tasks share it."""

    expected: int
    obj: Task
    spec: int = SPEC_KEPT
    """Place in the entry's ``specs``, or ``SPEC_KEPT``."""


class PutNetwork(Action, frozen=True):
    """Store a network."""

    expected: int
    obj: Network


class PutSecret(Action, frozen=True):
    """Store a secret."""

    expected: int
    obj: Secret


class PutConfig(Action, frozen=True):
    """Store a config."""

    expected: int
    obj: Config


class Delete(Action, frozen=True):
    """Remove the object of this table and ID, if it still has the expected version."""

    table: str
    id: str
    expected: int


class PatchTask(Action, frozen=True):
    """Move a task forward, whatever its version: parts that would go back are dropped.

    Observed and desired state only grow and the node is given once, so such writes merge in any
    order: an agent's report never collides with an orchestrator's wish.
    """

    id: str
    status: TaskStatus | None = None
    desired_state: TaskState | None = None
    node_id: str | None = None


Put = PutCluster | PutNode | PutService | PutTask | PutNetwork | PutSecret | PutConfig
AnyAction = Put | Delete | PatchTask


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One transaction in the log. ``at`` is the proposer's wall time."""

    at: datetime
    partial: bool
    actions: list[AnyAction]
    specs: list[TaskSpec] = []
    fence: int = 0
    """Not 0: apply only while this is the index of the last ``seize``."""
    seize: bool = False
    """A new leader's first entry: fences off what the loops of former leaders still send."""
    rules: int = 0
    """Applied as it was when it was written, so that a log read again gives the same again."""


_PUTS: dict[type[Object], type[Put]] = {
    Cluster: PutCluster,
    Node: PutNode,
    Service: PutService,
    Task: PutTask,
    Network: PutNetwork,
    Secret: PutSecret,
    Config: PutConfig,
}

TABLE_OF: dict[type[Object], str] = {
    Cluster: "clusters",
    Node: "nodes",
    Service: "services",
    Task: "tasks",
    Network: "networks",
    Secret: "secrets",
    Config: "configs",
}

encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_any = msgspec.msgpack.Decoder().decode
_PLACE_OF_RULES = Entry.__struct_fields__.index("rules")


def decode_entry(data: bytes) -> Entry:
    """Read an entry. Raises WrittenByNewer, or DecodeError for what no release writes."""
    try:
        entry = _decode_entry(data)
    except msgspec.ValidationError:
        parts = _decode_any(data)
        if isinstance(parts, list) and len(parts) > _PLACE_OF_RULES:
            check_rules(parts[_PLACE_OF_RULES])
        raise
    check_rules(entry.rules)
    return entry


def check_rules(rules: object) -> None:
    """Raise WrittenByNewer for rules that a later release made."""
    if isinstance(rules, int) and rules > RULES:
        raise WrittenByNewer(rules, RULES)


class SpecList:
    """Collects task specs so that each is written once; equal objects are found by identity."""

    def __init__(self) -> None:
        self.specs: list[TaskSpec] = []
        self._places: dict[int, int] = {}

    def place(self, spec: TaskSpec) -> int:
        """Return the spec's place in ``specs``, adding it if it is new."""
        place = self._places.get(id(spec))
        if place is None:
            place = self._places[id(spec)] = len(self.specs)
            self.specs.append(spec)
        return place


def put_action(obj: Object, expected: int, specs: SpecList) -> Put:
    """Wrap an object for the log; a task's spec goes to ``specs``."""
    if isinstance(obj, Task):
        place = specs.place(obj.spec)
        bare = msgspec.structs.replace(obj, spec=_NO_SPEC)
        return PutTask(expected=expected, obj=bare, spec=place)
    return _PUTS[type(obj)](expected=expected, obj=obj)  # type: ignore[arg-type]


_NO_SPEC = TaskSpec()
