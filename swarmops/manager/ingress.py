"""What every node publishes: the ingress ports of all services, and the running tasks behind each.

Every manager's dispatcher has one table, kept from the store's events and the same for all nodes;
its sessions send it to their agents, whole at first, then what changed. A task is in it while it
runs and is wanted, its node is not down, and it has said where it listens. So one that shall stop
is taken out of every node's table before its agent stops it. Reads the store, writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.node import Node, NodeState
from swarmops.model.service import PortConfig, Service
from swarmops.model.session import Backend, Ingress, PublishedPort
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, sliced

Key = tuple[str, int]
"""Protocol and published port."""


class IngressTable:
    """The table of one manager. ``changed`` hears which of its ports have changed."""

    def __init__(self, store: Store, changed: Callable[[set[Key]], None]) -> None:
        self._store = store
        self._changed = changed
        self._ports: dict[Key, PublishedPort] = {}
        self._of_service: dict[str, set[Key]] = {}
        self._read = False

    async def follow(self) -> None:
        """Keep the table, until cancelled."""
        with self._store.watch("services", "tasks", "nodes") as watch:
            self._tell(self._read_all())
            while True:
                events, resync = await watch.next()
                if resync:
                    self._tell(self._read_all())
                    continue
                services = {
                    each async for event in sliced(events) for each in concerned(self._store, event)
                }
                self._tell({key for each in services for key in self._read_service(each)})

    def complete(self) -> Ingress:
        """Return everything, as a session's first word of it."""
        if not self._read:
            self._read_all()
        return Ingress(complete=True, ports=list(self._ports.values()), removed=[])

    def changes(self, keys: Iterable[Key]) -> Ingress:
        """Return these ports as they are now."""
        keys = sorted(keys)
        return Ingress(
            complete=False,
            ports=[self._ports[key] for key in keys if key in self._ports],
            removed=[key for key in keys if key not in self._ports],
        )

    def _tell(self, keys: set[Key]) -> None:
        if keys:
            self._changed(keys)

    def _read_all(self) -> set[Key]:
        self._read = True
        services = {*self._of_service, *(service.id for service in self._store.services)}
        return {key for each in services for key in self._read_service(each)}

    def _read_service(self, service_id: str) -> set[Key]:
        """Take over what a service publishes now; return the ports that changed."""
        service = self._store.services.get(service_id)
        tasks = self._store.tasks.by_service(service_id) if service else ()
        ports = list(published(service, tasks, self._store)) if service else []
        now = {(port.protocol, port.number): port for port in ports}
        gone = self._of_service.pop(service_id, set()) - now.keys()
        if now:
            self._of_service[service_id] = set(now)
        changed = {key for key, port in now.items() if self._ports.get(key) != port}
        self._ports.update(now)
        for key in gone:
            if not any(key in keys for keys in self._of_service.values()):
                self._ports.pop(key, None)
        return changed | gone


def concerned(store: Store, event: Event) -> Iterator[str]:
    """Yield the IDs of the services whose published ports an event may have changed."""
    for each in (event.old, event.new):
        if isinstance(each, Service):
            yield each.id
        elif isinstance(each, Task) and each.status.state is TaskState.RUNNING:
            yield each.service_id
    if isinstance(event.old, Node) or isinstance(event.new, Node):
        node = event.new or event.old
        if node is not None and _place(event.old) != _place(event.new):
            yield from (task.service_id for task in store.tasks.by_node(node.id))


def published(service: Service, tasks: Iterable[Task], store: Store) -> Iterator[PublishedPort]:
    """Yield the service's ingress ports, each with the tasks behind it in a stable order."""
    ports = [port for port in given(service.endpoint.ports, []) if _is_ingress(port)]
    if not ports:
        return
    usable = sorted((task for task in tasks if _takes_connections(task)), key=lambda t: t.id)
    for port in ports:
        yield PublishedPort(
            protocol=_protocol(port),
            number=given(port.published_port, 0),
            backends=[
                Backend(addr, there)
                for task in usable
                if (addr := _place(store.nodes.get(given(task.node_id, ""))))
                and (there := _port_on_node(task, port))
            ],
        )


def _takes_connections(task: Task) -> bool:
    wanted = task.desired_state.rank <= TaskState.COMPLETE.rank
    return wanted and task.status.state is TaskState.RUNNING and task.node_id is not UNSET


def _place(node: object) -> str:
    """Return the address of a node that may be reached, else an empty string."""
    if not isinstance(node, Node) or node.status.state is NodeState.DOWN:
        return ""
    return given(node.status.addr, "")


def _port_on_node(task: Task, port: PortConfig) -> int:
    """Return where on its node the task listens for this port, 0 if it has not said so."""
    for told in given(task.status.port_status.ports, []):
        if told.target_port == port.target_port and _protocol(told) == _protocol(port):
            return given(told.published_port, 0)
    return 0


def _is_ingress(port: PortConfig) -> bool:
    mode = given(port.publish_mode, "") or "ingress"
    # SCTP needs the kernel's help: it is stored, and published by no node.
    return mode == "ingress" and _protocol(port) != "sctp" and bool(given(port.published_port, 0))


def _protocol(port: PortConfig) -> str:
    return given(port.protocol, "") or "tcp"
