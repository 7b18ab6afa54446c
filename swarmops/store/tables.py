"""The tables of one replica, and the task specs that its tasks share.

Held by ``Store``, changed by ``apply`` and ``snapshot`` alone.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.network import Network
from swarmops.model.object import Object
from swarmops.model.secret import Config, Secret
from swarmops.model.service import Service, TaskSpec
from swarmops.model.swarm import Cluster
from swarmops.model.task import Task
from swarmops.store.table import NamedTable, NodeTable, Table, TaskTable

_SPECS_PER_SERVICE_MAX = 8
_NO_LABELS: dict[str, str] = {}


class Tables:
    """Everything that is replicated."""

    def __init__(self) -> None:
        self.clusters: NamedTable[Cluster] = NamedTable(
            "clusters", lambda obj: given(obj.spec.name, "")
        )
        self.nodes = NodeTable()
        self.services: NamedTable[Service] = NamedTable(
            "services", lambda obj: given(obj.spec.name, "")
        )
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

    def replace(self, table: Table[Any], object_id: str, new: Object | None) -> Object | None:
        """Store or remove an object; return the former one."""
        old: Object | None = table.replace(object_id, new)
        if new is None and isinstance(old, Task) and not self.tasks.by_service(old.service_id):
            self._specs.pop(old.service_id, None)
        return old

    def adopt(self, other: Tables) -> None:
        """Take over all that another holds, in place: readers keep their tables."""
        for name, table in self.by_table.items():
            table.adopt(other.by_table[name])
        self.fence = other.fence
        self._specs = other._specs

    def slim(self, task: Task) -> Task:
        """Return an equal task that shares its spec, IDs and empty labels with its fellows."""
        service = self.services.get(task.service_id)
        node = self.nodes.get(task.node_id) if task.node_id is not UNSET else None
        return msgspec.structs.replace(
            task,
            spec=self._shared(task.service_id, task.spec),
            service_id=service.id if service else task.service_id,
            node_id=node.id if node else task.node_id,
            labels=task.labels or _NO_LABELS,
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
