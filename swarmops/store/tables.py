"""The tables of one replica, and the task specs that its tasks share.

Held by ``Store``, changed by ``apply`` and ``snapshot`` alone.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from swarmops.model.base import given
from swarmops.model.network import Network
from swarmops.model.object import Object
from swarmops.model.secret import Config, Secret
from swarmops.model.service import TaskSpec
from swarmops.model.swarm import Cluster
from swarmops.model.task import Task, TaskInternal
from swarmops.store.table import NamedTable, NodeTable, ServiceTable, Table, TaskTable

_SPECS_PER_SERVICE_MAX = 8
_NO_LABELS: dict[str, str] = {}


class Tables:
    """Everything that is replicated."""

    def __init__(self) -> None:
        self.clusters: NamedTable[Cluster] = NamedTable(
            "clusters", lambda obj: given(obj.spec.name, "")
        )
        self.nodes = NodeTable()
        self.services = ServiceTable()
        self.tasks = TaskTable()
        self.networks: NamedTable[Network] = NamedTable(
            "networks", lambda obj: given(obj.spec.name, "")
        )
        self.secrets: NamedTable[Secret] = NamedTable(
            "secrets", lambda obj: given(obj.spec.name, "")
        )
        self.configs: NamedTable[Config] = NamedTable(
            "configs", lambda obj: given(obj.spec.name, "")
        )
        self.by_table: dict[str, Table[Any]] = {
            table.name: cast("Table[Any]", table)
            for table in (
                self.clusters,
                self.nodes,
                self.services,
                self.tasks,
                self.networks,
                self.secrets,
                self.configs,
            )
        }
        self.fence = 0
        """Index of the last leader's ``seize``."""
        self._specs: dict[str, list[TaskSpec]] = {}
        self._internals: dict[str, TaskInternal] = {}
        """Of the newest task of each service whose ports and labels were new."""

    def replace(self, table: Table[Any], object_id: str, new: Object | None) -> Object | None:
        """Store or remove an object; return the former one."""
        old: Object | None = table.replace(object_id, new)
        if new is None and isinstance(old, Task) and not self.tasks.by_service(old.service_id):
            self._specs.pop(old.service_id, None)
            self._internals.pop(old.service_id, None)
        return old

    def adopt(self, other: Tables) -> None:
        """Take over all that another holds, in place: readers keep their tables."""
        for name, table in self.by_table.items():
            table.adopt(other.by_table[name])
        self.fence = other.fence
        self._specs = other._specs
        self._internals = other._internals

    def slim(self, task: Task) -> Task:
        """Return an equal task that shares spec, IDs, ports and empty labels with its fellows."""
        service = self.services.get(task.service_id)
        node = self.nodes.get(task.node_id) if task.node_id is not UNSET else None
        return msgspec.structs.replace(
            task,
            spec=self._shared(task.service_id, task.spec),
            service_id=service.id if service else task.service_id,
            node_id=node.id if node else task.node_id,
            labels=task.labels or _NO_LABELS,
            internal=self._slim_internal(task),
        )

    def _slim_internal(self, task: Task) -> TaskInternal | UnsetType:
        """Share what tasks of a service have in common: a list each costs the garbage collector."""
        internal = task.internal
        if internal is UNSET:
            return UNSET
        known = self._internals.get(task.service_id)
        if known is None or not (
            internal.ports == known.ports
            and internal.service_labels == known.service_labels
            and internal.service_name == known.service_name
        ):
            self._internals[task.service_id] = internal
            return internal
        return msgspec.structs.replace(
            internal,
            ports=known.ports,
            service_labels=known.service_labels,
            service_name=known.service_name,
        )

    def _shared(self, service_id: str, spec: TaskSpec) -> TaskSpec:
        specs = self._specs.setdefault(service_id, [])
        for known in specs:
            if known is spec or known == spec:
                return known
        if len(specs) >= _SPECS_PER_SERVICE_MAX:
            used = {id(task.spec): task.spec for task in self.tasks.by_service(service_id)}
            specs[:] = used.values()
        specs.append(spec)
        return spec
