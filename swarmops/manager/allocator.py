"""The allocator: says how a service is reached, with a port where the spec names none.

A control loop over services; it alone writes ``Service.endpoint``. A port that was chosen stays
the service's as long as its spec publishes that target without naming a port, and is free again
when it doesn't, or the service is gone: what is taken is read from the services, never counted. A
port that another service got first is refused as the write is applied, and another one chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.loop import Step
from swarmops.model.base import given
from swarmops.model.defaults import ports
from swarmops.model.service import Endpoint, EndpointSpec, PortConfig, Service
from swarmops.store import Event, Store
from swarmops.store.ports import taken_by

DYNAMIC = range(30_000, 32_768)
"""Docker's: below the ports that systems give to outgoing connections."""
Taken = set[tuple[str, int]]
"""Protocol and number."""

log = structlog.get_logger(__name__)


class Allocator:
    """The loop; between steps it remembers which services don't have yet what they shall."""

    tables = ("services",)

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def reset(self, store: Store) -> Iterable[str]:
        """Return every service."""
        self._waiting.clear()
        return [service.id for service in store.services]

    def observe(self, store: Store, event: Event) -> Iterable[str]:
        """Return the service, and those that wait: maybe a port has become free."""
        del store
        changed = event.new or event.old
        return {*self._waiting, changed.id} if changed is not None else set()

    def step(self, store: Store, keys: Sequence[str], now: datetime) -> Step[str]:
        """Give each service its endpoint."""
        del now
        step: Step[str] = Step()
        self._waiting.difference_update(keys)
        wanting = [store.services.get(key) for key in keys]
        changing = [one for one in wanting if one is not None and not settled(one)]
        if not changing:
            return step
        owned = {one.id: _taken(one) for one in store.services}
        for service in changing:
            self._waiting.add(service.id)
            others: Taken = set().union(*(t for owner, t in owned.items() if owner != service.id))
            endpoint = endpoint_of(service, others)
            if endpoint != service.endpoint:
                changed = replace(service, endpoint=endpoint)
                owned[service.id] = _taken(changed)
                step.tx.put(changed)
            if not all(map(_numbered, given(endpoint.ports, []))):
                log.warning("no port is free for a service", service=given(service.spec.name, ""))
        return step


def settled(service: Service) -> bool:
    """Whether the endpoint is what the spec asks for."""
    wanted = ports(service.spec)
    if not wanted:
        return service.endpoint == Endpoint()
    have = given(service.endpoint.ports, [])
    return (
        service.endpoint.spec == service.spec.endpoint_spec
        and len(have) == len(wanted)
        and all(
            _numbered(port) and (port == want or _is_chosen_for(port, want))
            for port, want in zip(have, wanted, strict=True)
        )
    )


def endpoint_of(service: Service, taken: Taken) -> Endpoint:
    """Return the service's endpoint; a port for which none is free stays without a number.

    ``taken`` are the ports of all other services.
    """
    wanted = ports(service.spec)
    if not wanted:
        return Endpoint()
    used = taken | {_key(port) for port in wanted}
    found = [_kept(service, want, used) for want in wanted]
    used |= {_key(port) for port in found}
    for place, port in enumerate(found):
        if not _numbered(port):
            found[place] = _with_free_number(port, used)
            used.add(_key(found[place]))
    return Endpoint(spec=given(service.spec.endpoint_spec, EndpointSpec()), ports=found)


def _kept(service: Service, want: PortConfig, used: Taken) -> PortConfig:
    """Return what was chosen before, if there was something and nobody else has it."""
    for had in given(service.endpoint.ports, []):
        if _is_chosen_for(had, want) and _key(had) not in used:
            return had
    return want


def _with_free_number(want: PortConfig, used: Taken) -> PortConfig:
    protocol = _protocol(want)
    free = next((number for number in DYNAMIC if (protocol, number) not in used), 0)
    return replace(want, published_port=free or UNSET)


def _is_chosen_for(port: PortConfig, want: PortConfig) -> bool:
    """Whether an earlier choice is one for this port of the spec."""
    number = given(port.published_port, 0)
    return (
        not given(want.published_port, 0)
        and number in DYNAMIC
        and replace(port, published_port=want.published_port) == want
    )


def _numbered(port: PortConfig) -> bool:
    """Whether nothing is to be chosen: in host mode each node chooses by itself."""
    return bool(given(port.published_port, 0)) or given(port.publish_mode, "") == "host"


def _taken(service: Service) -> Taken:
    return {(port.protocol, port.number) for port in taken_by(service)}


def _key(port: PortConfig) -> tuple[str, int]:
    return _protocol(port), given(port.published_port, 0)


def _protocol(port: PortConfig) -> str:
    return given(port.protocol, "") or "tcp"
