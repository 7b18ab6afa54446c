"""What every node publishes: the ingress ports of all services, and the running tasks behind each.

Every manager's dispatcher has one table, kept from the store's events and the same for all nodes;
its sessions send it to their agents, whole at first, then what changed. A task is in it while it
runs and is wanted, its node is not down, and it has said where it listens. So one that shall stop
is taken out of every node's table before its agent stops it: whoever tells agents of tasks waits
until the table is ``settled``. Reads the store, a part of a large service in each turn of the event
loop; writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from msgspec import UNSET

from swarmops.manager.pace import by_turns
from swarmops.model.base import given
from swarmops.model.node import Node, NodeState
from swarmops.model.service import PortConfig, Service
from swarmops.model.session import Backend, Ingress, PublishedPort
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, Watch, sliced

Key = tuple[str, int]
"""Protocol and published port."""


class IngressTable:
    """The table of one manager. ``changed`` hears which of its ports have changed."""

    def __init__(self, store: Store, changed: Callable[[Sequence[Key]], Awaitable[None]]) -> None:
        self._store = store
        self._changed = changed
        self._ports: dict[Key, PublishedPort] = {}
        self._of_service: dict[str, set[Key]] = {}
        self._watch: Watch | None = None
        self._reading = True
        self._read_to = 0
        """All that the store's log had up to here is in the table, and was told."""
        self._over = asyncio.Event()
        """Set, and another one made, whenever that is further."""

    async def follow(self) -> None:
        """Keep the table, until cancelled."""
        with self._store.watch("services", "tasks", "nodes") as self._watch:
            events, everything = list[Event](), True
            while True:
                self._reading, applied = True, self._store.applied
                await self._read(self._all() if everything else await self._concerned(events))
                self._reading, self._read_to = False, applied
                over, self._over = self._over, asyncio.Event()
                over.set()
                events, everything = await self._watch.next()

    async def settled(self) -> None:
        """Return at once, or when the changes that the store has now are read and told."""
        applied = self._store.applied
        while self._is_behind() and self._read_to < applied:
            await self._over.wait()

    def _is_behind(self) -> bool:
        return self._reading or (self._watch is not None and self._watch.waiting)

    def _all(self) -> set[str]:
        return {*self._of_service, *(each.id for each in self._store.services)}

    async def _concerned(self, events: Iterable[Event]) -> set[str]:
        return {each async for event in sliced(events) for each in concerned(self._store, event)}

    def complete(self) -> Ingress:
        """Return everything, as a session's first word of it."""
        return Ingress(complete=True, ports=list(self._ports.values()), removed=[])

    def changes(self, keys: Iterable[Key]) -> Ingress:
        """Return these ports as they are now."""
        keys = sorted(keys)
        return Ingress(
            complete=False,
            ports=[self._ports[key] for key in keys if key in self._ports],
            removed=[key for key in keys if key not in self._ports],
        )

    async def _read(self, services: Iterable[str]) -> None:
        """Take over what these services publish now, and tell of the ports that changed."""
        changed: set[Key] = set()
        for each in sorted(services):
            changed |= await self._read_service(each)
        if changed:
            await self._changed(sorted(changed))

    async def _read_service(self, service_id: str) -> set[Key]:
        """Take over what a service publishes now; return the ports that changed."""
        service = self._store.services.get(service_id)
        ports = await published(service, self._store) if service else []
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


async def published(service: Service, store: Store) -> list[PublishedPort]:
    """Return the service's ingress ports, each with the tasks behind it in a stable order."""
    ports = [port for port in given(service.endpoint.ports, []) if _is_ingress(port)]
    if not ports:
        return []
    tasks = store.tasks.by_service(service.id)
    usable = [task async for task in by_turns(tasks) if _takes_connections(task)]
    usable.sort(key=lambda task: task.id)
    return [
        PublishedPort(
            protocol=_protocol(port),
            number=given(port.published_port, 0),
            backends=[
                Backend(addr, there)
                async for task in by_turns(usable)
                if (addr := _place(store.nodes.get(given(task.node_id, ""))))
                and (there := _port_on_node(task, port))
            ],
        )
        for port in ports
    ]


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
