"""Subnets and overlay numbers of networks: which are taken, and which a new network gets. Pure.

Asked where a network is created, and again where it is applied, so that of two managers that give
the same subnet at the same time the later is refused, on every replica alike. It looks at all
networks: they are few, made by people, and what overlaps another is no matter of equal keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from swarmops.model.base import given
from swarmops.model.network import Network, subnets
from swarmops.model.service import Driver

DEFAULT_POOLS = ("10.0.0.0/8",)
OVERLAPS = "Pool overlaps with other one on this address space"
VXLAN_OPTION = "com.docker.network.driver.overlay.vxlanid_list"
VXLAN_ID_MIN = 4096

Subnet = IPv4Network | IPv6Network


def subnet(text: str) -> Subnet:
    """Read a subnet; an address within it may stand for it. Raises ValueError."""
    return ip_network(text, strict=False)


def taken_by(network: Network) -> list[Subnet]:
    """Return the network's subnets."""
    return [subnet(given(config.subnet, "")) for config in subnets(network)]


def vxlan_id(network: Network) -> int:
    """Return the number that tells the network's packets from others', 0 if it has none."""
    options = given(given(network.driver_state, Driver()).options, {})
    return int(options.get(VXLAN_OPTION, "0"))


def conflict(network: Network, others: Iterable[Network]) -> str:
    """Return Docker's sentence if the network's subnets or its number are another's, else nothing.

    No subnets of one network may overlap either.
    """
    wanted, number = taken_by(network), vxlan_id(network)
    taken: list[Subnet] = []
    for other in others:
        if other.id != network.id:
            taken += taken_by(other)
            if number and vxlan_id(other) == number:
                return f"vxlan id {number} is in use by another network"
    for place, one in enumerate(wanted):
        if any(_overlap(one, other) for other in (*taken, *wanted[:place])):
            return OVERLAPS
    return ""


def free_subnet(pools: Iterable[str], size: int, others: Iterable[Network]) -> Subnet | None:
    """Return the first subnet of ``size`` bits in the pools that overlaps none of the others'."""
    taken = sorted(
        (int(each.network_address), int(each.broadcast_address))
        for other in others
        for each in taken_by(other)
        if each.version == 4  # noqa: PLR2004 - IPv4, as the pools are
    )
    for text in pools:
        pool = subnet(text)
        step = 1 << (pool.max_prefixlen - size)
        first, last = int(pool.network_address), int(pool.broadcast_address)
        for start, end in taken:
            if start > first + step - 1:
                break
            if end >= first:
                first = (end // step + 1) * step
        if first + step - 1 <= last:
            return ip_network((first, size))
    return None


def free_vxlan_id(others: Iterable[Network]) -> int:
    """Return the lowest number that no network has."""
    taken = {vxlan_id(other) for other in others}
    number = VXLAN_ID_MIN
    while number in taken:
        number += 1
    return number


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and one.overlaps(other)
