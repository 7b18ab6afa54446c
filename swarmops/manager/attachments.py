"""A service's virtual IPs and a task's places in networks, given what is free. Pure.

Called by the allocator. Networks that every host has of its own, such as ``host``, are named and
have no addresses; published ports need none: a service without one in the ingress network is
reached all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from swarmops.manager.addresses import Giving
from swarmops.model.base import given
from swarmops.model.network import (
    Network,
    NetworkAttachment,
    NetworkSpec,
    is_predefined,
    name_of,
)
from swarmops.model.service import EndpointSpec, Service, VirtualIP
from swarmops.model.task import Task
from swarmops.store import Store
from swarmops.store.networking import attached_to, ingress_of, needs_ingress, networks_of


class Unplaced(msgspec.Struct, frozen=True):
    """Why a task has no place in its networks."""

    reason: str


def virtual_networks(service: Service, store: Store) -> list[Network]:
    """Return the networks in which the service has a virtual IP: none in mode ``dnsrr``."""
    if given(given(service.spec.endpoint_spec, EndpointSpec()).mode, "") == "dnsrr":
        return []
    ingress = ingress_of(store.networks) if needs_ingress(service.spec) else None
    named = (store.networks.get(each) for each in networks_of(service.spec))
    return [each for each in (ingress, *named) if each is not None]


def has_virtual_ips(service: Service, networks: Sequence[Network]) -> bool:
    """Whether the service has what it shall, in all of these and in no other."""
    have = given(service.endpoint.virtual_ips, [])
    return [each.network_id for each in have] == [each.id for each in networks]


def virtual_ips(service: Service, networks: Sequence[Network], giving: Giving) -> list[VirtualIP]:
    """Return the service's virtual IPs, those that it has among them; a full network has none."""
    had = {each.network_id: each for each in given(service.endpoint.virtual_ips, [])}
    found = []
    for network in networks:
        if network.id in had:
            found.append(had[network.id])
        elif is_predefined(network):
            found.append(VirtualIP(network_id=network.id))
        elif address := giving.take(network):
            found.append(VirtualIP(network_id=network.id, addr=address))
    return found


def attachments(task: Task, store: Store, giving: Giving) -> list[NetworkAttachment] | Unplaced:
    """Return the task's places in the networks of its spec, or why there is none in one of them."""
    found = []
    for network_id in attached_to(task.spec):
        network = store.networks.get(network_id)
        if network is None:
            return Unplaced(f"network {network_id} not found")
        address = "" if is_predefined(network) else giving.take(network)
        if not address and not is_predefined(network):
            return Unplaced(f"no address is free in network {name_of(network)}")
        known = Network(id=network.id, spec=NetworkSpec(name=network.spec.name))
        found.append(NetworkAttachment(network=known, addresses=[address] if address else UNSET))
    return found
