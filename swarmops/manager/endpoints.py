"""Endpoints: which ports a service has, those chosen for it among them. Pure.

Asked by ``allocator``, which writes them. A port that was chosen stays the service's as long as its
spec publishes that target without naming a port.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import cast

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.defaults import ports
from swarmops.model.service import Endpoint, EndpointSpec, PortConfig, Service
from swarmops.store import Store
from swarmops.store.ports import taken_by

DYNAMIC = range(30_000, 32_768)
"""Docker's: below the ports that systems give to outgoing connections."""
Port = tuple[str, int]
"""Protocol and number."""


class OthersPorts(Container[Port]):
    """The ports that services have which are not in their turn: as stored, or as given since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since: set[Port] = set()
        self._had_turn: set[str] = set()

    def leave_out(self, service: Service) -> None:
        """Begin a service's turn."""
        self._had_turn.add(service.id)

    def take_in(self, service: Service) -> None:
        """End its turn: this is what it has now."""
        self._since |= {(port.protocol, port.number) for port in taken_by(service)}

    def __contains__(self, port: object) -> bool:
        if port in self._since:
            return True
        protocol, number = cast("Port", port)
        publishing = self._store.services.publishing(number, protocol)
        return any(one.id not in self._had_turn for one in publishing)


def settled(service: Service) -> bool:
    """Whether the endpoint is what the spec asks for."""
    wanted = ports(service.spec)
    have = given(service.endpoint.ports, [])
    if not wanted:
        return not have
    return (
        service.endpoint.spec == service.spec.endpoint_spec
        and len(have) == len(wanted)
        and all(
            numbered(port) and (port == want or _is_chosen_for(port, want))
            for port, want in zip(have, wanted, strict=True)
        )
    )


def endpoint_of(service: Service, taken: Container[Port]) -> Endpoint:
    """Return the service's endpoint; a port for which none is free stays without a number.

    ``taken`` are the ports of all other services.
    """
    wanted = ports(service.spec)
    if not wanted:
        return Endpoint()
    mine = {_key(port) for port in wanted}
    found = [_kept(service, want, mine, taken) for want in wanted]
    mine |= {_key(port) for port in found}
    for place, port in enumerate(found):
        if not numbered(port):
            found[place] = _with_free_number(port, mine, taken)
            mine.add(_key(found[place]))
    return Endpoint(spec=given(service.spec.endpoint_spec, EndpointSpec()), ports=found)


def _kept(service: Service, want: PortConfig, *used: Container[Port]) -> PortConfig:
    """Return what was chosen before, if there was something and nobody else has it."""
    for had in given(service.endpoint.ports, []):
        if _is_chosen_for(had, want) and _is_free(_key(had), used):
            return had
    return want


def _with_free_number(want: PortConfig, *used: Container[Port]) -> PortConfig:
    protocol = _protocol(want)
    free = next((number for number in DYNAMIC if _is_free((protocol, number), used)), 0)
    return replace(want, published_port=free or UNSET)


def _is_chosen_for(port: PortConfig, want: PortConfig) -> bool:
    """Whether an earlier choice is one for this port of the spec."""
    number = given(port.published_port, 0)
    return (
        not given(want.published_port, 0)
        and number in DYNAMIC
        and replace(port, published_port=want.published_port) == want
    )


def numbered(port: PortConfig) -> bool:
    """Whether nothing is to be chosen: in host mode each node chooses by itself."""
    return bool(given(port.published_port, 0)) or given(port.publish_mode, "") == "host"


def _is_free(port: Port, used: Iterable[Container[Port]]) -> bool:
    return not any(port in each for each in used)


def _key(port: PortConfig) -> Port:
    return _protocol(port), given(port.published_port, 0)


def _protocol(port: PortConfig) -> str:
    return given(port.protocol, "") or "tcp"
