"""Published ports: which a service has, and whom a new spec would take one from. Pure.

Asked where a service is applied, so that of two managers that accept the same port at the same time
the later is refused, on every replica alike; by the API's border, which says it earlier; and by the
allocator, which chooses the ports that no spec names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

import msgspec

from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import PortConfig, Service


class Published(msgspec.Struct, frozen=True, gc=False):
    """A port that is taken on every node, or in mode ``host`` on the nodes of its tasks."""

    number: int
    protocol: str
    mode: str


class Publishers(Protocol):
    """Who publishes a port: the table of services."""

    def publishing(self, number: int, protocol: str, /) -> Collection[Service]:
        """Return the services that do."""


def published(ports: Iterable[PortConfig]) -> Iterator[Published]:
    """Yield the ports that have a number."""
    for port in ports:
        if number := given(port.published_port, 0):
            protocol = given(port.protocol, "") or "tcp"
            yield Published(number, protocol, given(port.publish_mode, "") or "ingress")


def taken_by(service: Service) -> set[Published]:
    """Return the ports that the service's spec names, and those that were chosen for it."""
    return {
        *published(defaults.ports(service.spec)),
        *published(given(service.endpoint.ports, [])),
    }


def conflict(wanted: Iterable[Published], service_id: str, services: Publishers) -> str:
    """Return Docker's sentence if the service wants another one's port, else nothing.

    Two services may publish the same port in host mode: the scheduler keeps them apart. One that
    changes a port's mode has it in both for a while, and each of the two counts: replicas that
    looked at one of them, each in its own order, would come to different answers.
    """
    for mine in wanted:
        for other in services.publishing(mine.number, mine.protocol):
            mode = "" if other.id == service_id else _barring(mine, other)
            if mode:
                how = "an ingress" if mode == "ingress" else "a host-published"
                return (
                    f"port '{mine.number}' is already in use by service "
                    f"'{given(other.spec.name, '')}' ({other.id}) as {how} port"
                )
    return ""


def _barring(mine: Published, other: Service) -> str:
    """Return the mode in which the other has the port, if that bars mine."""
    for port in taken_by(other):
        same = (port.number, port.protocol) == (mine.number, mine.protocol)
        if same and not port.mode == mine.mode == "host":
            return port.mode
    return ""
