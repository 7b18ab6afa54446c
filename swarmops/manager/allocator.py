"""The allocator: says how services and tasks are reached: ports, virtual IPs, addresses.

A control loop; it alone writes ``Service.endpoint`` and ``Task.networks_attachments``. A task that
joins networks waits for its addresses before the scheduler sees it: until then the allocator alone
writes in its status why it waits, afterwards the scheduler. A port that was chosen stays
the service's as long as its spec publishes that target without naming a port, and is free again
when it doesn't, or the service is gone: what is taken is read from the services, never counted. A
port that another service got first is refused as the write is applied, and another one chosen.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import structlog
from msgspec.structs import replace

from swarmops.manager.addresses import AddressBook, Giving
from swarmops.manager.attachments import (
    Unplaced,
    attachments,
    has_virtual_ips,
    virtual_ips,
    virtual_networks,
)
from swarmops.manager.endpoints import OthersPorts, endpoint_of, numbered, settled
from swarmops.manager.loop import Step
from swarmops.model.base import given
from swarmops.model.network import Network, is_ingress, is_predefined
from swarmops.model.object import Object
from swarmops.model.service import EndpointSpec, Service
from swarmops.model.task import Task, TaskStatus
from swarmops.store import Event, Store
from swarmops.store.networking import is_live, lacks_addresses
from swarmops.store.new_networks import first_networks

Key = tuple[str, str]
"""``service`` or ``task``, and its ID."""
NETWORKS: Key = ("networks", "")

log = structlog.get_logger(__name__)


class Allocator:
    """The loop; between steps it remembers who has which address, and who waits for what."""

    tables = ("services", "tasks", "networks")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._book = AddressBook()
        self._waiting: dict[Key, None] = {}

    def reset(self, store: Store) -> Iterator[Key | None]:
        """Read who has which address; yield every service, and tasks without their addresses."""
        services, tasks = list(store.services), list(store.tasks)
        self._waiting.clear()
        self._book = AddressBook()
        yield NETWORKS
        for service in services:
            self._book.note(None, service)
            yield "service", service.id
        for task in tasks:
            self._book.note(None, task)
            yield ("task", task.id) if _wants_addresses(task) else None

    def observe(self, store: Store, event: Event) -> Iterable[Key]:
        """Return what has changed, and what waits where something became free."""
        old, new = event.old, event.new
        freed = self._book.note(old, new)
        if isinstance(old, Task) or isinstance(new, Task):
            wants = isinstance(new, Task) and old is None and _wants_addresses(new)
            return [
                *(self._waiting if freed else ()),
                *([("task", new.id)] if wants and new else ()),
            ]
        if isinstance(old, Network) or isinstance(new, Network):
            return self._network_changed(store, old, new)
        changed = new or old
        return [*self._waiting, ("service", changed.id)] if changed is not None else ()

    def _network_changed(
        self, store: Store, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        if old is not None and new is None:
            self._book.forget(old.id)
        ingress = any(isinstance(each, Network) and is_ingress(each) for each in (old, new))
        services = store.services if ingress else ()
        return [*self._waiting, *(("service", each.id) for each in services)]

    def step(self, store: Store, keys: Sequence[Key], now: datetime) -> Step[Key]:
        """Give each service its endpoint, and each task its addresses."""
        step: Step[Key] = Step()
        for key in keys:
            self._waiting.pop(key, None)
        if NETWORKS in keys:
            self._first_networks(store, step)
        giving = Giving(self._book)
        services = [store.services.get(each) for kind, each in keys if kind == "service"]
        changing = [one for one in services if one is not None and not _is_served(one, store)]
        if changing:
            self._serve(changing, store, giving, step)
        for kind, each in keys:
            task = store.tasks.get(each) if kind == "task" else None
            if task is not None and _wants_addresses(task):
                self._attach(task, store, giving, step, now)
        return step

    def _first_networks(self, store: Store, step: Step[Key]) -> None:
        """Make what a swarm of before there were networks lacks."""
        cluster = store.cluster
        if cluster is not None and not any(map(is_predefined, store.networks)):
            for network in first_networks(cluster, self._rng):
                step.tx.put(network)

    def _serve(
        self, services: Sequence[Service], store: Store, giving: Giving, step: Step[Key]
    ) -> None:
        others = OthersPorts(store)
        for service in services:
            others.leave_out(service)
            networks = virtual_networks(service, store)
            endpoint = endpoint_of(service, others)
            if found := virtual_ips(service, networks, giving):
                wanted = given(service.spec.endpoint_spec, EndpointSpec())
                endpoint = replace(endpoint, spec=wanted, virtual_ips=found)
            if endpoint != service.endpoint:
                step.tx.put(replace(service, endpoint=endpoint))
            others.take_in(replace(service, endpoint=endpoint))
            has_all = all(map(numbered, given(endpoint.ports, [])))
            if not has_all:
                name = given(service.spec.name, "")
                log.warning("no port is free for a service", service=service.id, name=name)
            full = {each.id for each in networks} - {each.network_id for each in found}
            if not has_all or any(each.id in full and not is_ingress(each) for each in networks):
                self._waiting["service", service.id] = None

    def _attach(
        self, task: Task, store: Store, giving: Giving, step: Step[Key], now: datetime
    ) -> None:
        found = attachments(task, store, giving)
        if not isinstance(found, Unplaced):
            step.tx.put(replace(task, networks_attachments=found))
            return
        self._waiting["task", task.id] = None
        if task.status.err != found.reason:
            status = TaskStatus(
                timestamp=now,
                state=task.status.state,
                message="pending task allocation",
                err=found.reason,
            )
            step.tx.patch_task(task.id, status=status)


def _wants_addresses(task: Task) -> bool:
    return lacks_addresses(task) and is_live(task)


def _is_served(service: Service, store: Store) -> bool:
    endpoint = service.endpoint
    if given(endpoint.virtual_ips, []) and endpoint.spec != given(
        service.spec.endpoint_spec, EndpointSpec()
    ):
        return False
    return settled(service) and has_virtual_ips(service, virtual_networks(service, store))
