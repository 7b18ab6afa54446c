"""Tables of immutable objects with indexes that answer in constant time.

Read by everyone through ``Store``; changed only by ``apply`` and ``snapshot``. Reads hand out the
stored objects themselves. An iteration must not span an ``await``: the table may change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.node import Node, NodeInternal, Role
from swarmops.model.object import Object
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskState
from swarmops.store.index import Index, ManyKeys
from swarmops.store.ports import taken_by

T = TypeVar("T", bound=Object)


class Table(Generic[T]):
    """One kind of object, by ID."""

    def __init__(self, name: str, indexes: tuple[Index[str, T], ...] = ()) -> None:
        self.name = name
        self.kind = name.removesuffix("s")
        """What error texts call one object of the table."""
        self._rows: dict[str, T] = {}
        self._indexes = indexes
        for index in indexes:
            index.bind(self._rows)

    def get(self, object_id: str) -> T | None:
        """Return the object with this ID."""
        return self._rows.get(object_id)

    def __getitem__(self, object_id: str) -> T:
        return self._rows[object_id]

    def __contains__(self, object_id: str) -> bool:
        return object_id in self._rows

    def __iter__(self) -> Iterator[T]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def prefixed(self, prefix: str) -> list[T]:
        """Return the objects whose ID begins so; linear in the table's size."""
        return [row for object_id, row in self._rows.items() if object_id.startswith(prefix)]

    def holder_of_name(self, obj: T) -> str | None:
        """Return the ID of another object that has this object's name, where names are unique."""
        del obj
        return None

    def name_of(self, obj: T) -> str:
        """Return the object's name, empty where the table has no unique names."""
        del obj
        return ""

    def replace(self, object_id: str, new: T | None) -> T | None:
        """Store or, with None, remove the object of this ID; return the former one. Unchecked."""
        old = self._rows.get(object_id)
        if new is not None:
            self._rows[object_id] = new
        elif old is not None:
            del self._rows[object_id]
        self._reindex(old, new)
        return old

    def _reindex(self, old: T | None, new: T | None) -> None:
        for index in self._indexes:
            index.move(old, new)

    def adopt(self, other: Table[T]) -> None:
        """Take over the rows and indexes of another table of the same kind."""
        self._rows = other._rows
        for mine, theirs in zip(self._indexes, other._indexes, strict=True):
            mine.adopt(theirs)


class NamedTable(Table[T]):
    """A table whose names are unique; case doesn't count."""

    def __init__(
        self, name: str, name_of: Callable[[T], str], indexes: tuple[Index[str, T], ...] = ()
    ) -> None:
        self._name_of = name_of
        self._by_name: Index[str, T] = Index(lambda obj: name_of(obj).lower() or None)
        super().__init__(name, (self._by_name, *indexes))

    def named(self, name: str) -> T | None:
        """Return the object with this name."""
        return next(iter(self._by_name.get(name.lower())), None)

    def name_of(self, obj: T) -> str:
        """Return the object's name."""
        return self._name_of(obj)

    def holder_of_name(self, obj: T) -> str | None:
        """Return the ID of another object that has this object's name."""
        holder = self.named(self._name_of(obj))
        return None if holder is None or holder.id == obj.id else holder.id


class ServiceTable(NamedTable[Service]):
    """The services."""

    def __init__(self) -> None:
        self._by_port: ManyKeys[str, Service] = ManyKeys(
            lambda service: {f"{port.number}/{port.protocol}" for port in taken_by(service)}
        )
        super().__init__("services", lambda service: given(service.spec.name, ""), (self._by_port,))

    def publishing(self, number: int, protocol: str) -> Collection[Service]:
        """Return the services that publish the port, by their spec or as was chosen for them."""
        return self._by_port.get(f"{number}/{protocol}")


class NodeTable(Table[Node]):
    """The nodes; hostnames may repeat."""

    def __init__(self) -> None:
        self._by_role: Index[str, Node] = Index(
            lambda node: given(node.internal, NodeInternal()).role.value
        )
        self._by_hostname: Index[str, Node] = Index(
            lambda node: given(node.description.hostname, "") or None
        )
        self._by_holder: Index[str, Node] = Index(
            lambda node: given(node.internal, NodeInternal()).session_holder
        )
        super().__init__("nodes", (self._by_role, self._by_hostname, self._by_holder))

    def by_role(self, role: Role) -> Collection[Node]:
        """Return the nodes that are observed in this role."""
        return self._by_role.get(role.value)

    def by_hostname(self, hostname: str) -> Collection[Node]:
        """Return the nodes that call themselves so."""
        return self._by_hostname.get(hostname)

    def by_holder(self, manager_id: str) -> Collection[Node]:
        """Return the nodes whose session this manager holds; of "" those that have none."""
        return self._by_holder.get(manager_id)

    def holders(self) -> Collection[str]:
        """Return the managers that hold sessions, and "" if there are nodes without."""
        return self._by_holder.keys()


class TaskTable(Table[Task]):
    """The tasks, live and ended."""

    def __init__(self) -> None:
        self._by_service: Index[str, Task] = Index(lambda task: task.service_id or None)
        self._by_node: Index[str, Task] = Index(lambda task: given(task.node_id, "") or None)
        self._by_place: Index[str, Task] = Index(
            lambda task: f"{task.service_id}.{place_of(task)}" if task.service_id else None
        )
        self._unassigned: Index[str, Task] = Index(_unassigned)
        super().__init__(
            "tasks", (self._by_service, self._by_node, self._by_place, self._unassigned)
        )

    def _reindex(self, old: Task | None, new: Task | None) -> None:
        """Leave alone the indexes of what seldom changes."""
        same = (
            old is not None
            and new is not None
            and old.service_id == new.service_id
            and old.node_id == new.node_id
            and old.slot == new.slot
        )
        if same:
            self._unassigned.move(old, new)
        else:
            super()._reindex(old, new)

    def by_service(self, service_id: str) -> Collection[Task]:
        """Return the service's tasks."""
        return self._by_service.get(service_id)

    def by_node(self, node_id: str) -> Collection[Task]:
        """Return the tasks that are bound to the node."""
        return self._by_node.get(node_id)

    def by_slot(self, service_id: str, slot: int) -> Collection[Task]:
        """Return the slot's tasks: usually one live and some ended."""
        return self._by_place.get(f"{service_id}.{slot}")

    def by_place(self, service_id: str, place: str) -> Collection[Task]:
        """Return the tasks of one place of a service, as ``place_of`` names it."""
        return self._by_place.get(f"{service_id}.{place}")

    def stands_alone(self, task: Task, place: str) -> bool:
        """Whether no other task is in its place, as ``place_of`` names it."""
        return self._by_place.count(f"{task.service_id}.{place}") == 1

    def unassigned(self) -> Collection[Task]:
        """Return the tasks that are wanted and still wait for the scheduler."""
        return self._unassigned.get("")


def place_of(task: Task) -> str:
    """Return where in its service a task stands: its slot, or its node for a global service."""
    return given(task.node_id, "") if task.slot is UNSET else str(task.slot)


def _unassigned(task: Task) -> str | None:
    waits = task.status.state in (TaskState.NEW, TaskState.PENDING)
    return "" if waits and task.desired_state.rank <= TaskState.COMPLETE.rank else None
