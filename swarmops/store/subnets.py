"""Subnets and overlay numbers of networks: which are taken, and which a new network gets. Pure.

Asked where a network is created, and again where it is applied, so that of two managers that give
the same subnet at the same time the later is refused, on every replica alike. It looks at all
networks: they are few, made by people, and what overlaps another is no matter of equal keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from swarmops.model.base import given
from swarmops.model.network import Network, subnets
from swarmops.model.service import Driver

DEFAULT_POOLS = ("10.0.0.0/8",)
OVERLAPS = "Pool overlaps with other one on this address space"
VXLAN_OPTION = "com.docker.network.driver.overlay.vxlanid_list"
VXLAN_ID_MIN = 4096
VXLAN_ID_MAX = 2**24 - 1
_VXLAN_DIGITS = 8

Subnet = IPv4Network | IPv6Network


def subnet(text: str) -> Subnet:
    """Read a subnet; an address within it may stand for it. Raises ValueError."""
    return ip_network(text, strict=False)


def taken_by(network: Network) -> list[Subnet]:
    """Return the network's subnets."""
    return [subnet(given(config.subnet, "")) for config in subnets(network)]


def vxlan_ids(network: Network) -> set[int]:
    """Return the numbers that tell the network's packets from others', one for each subnet."""
    options = given(given(network.driver_state, Driver()).options, {})
    return {number for text in _numbers(options) if (number := vxlan_id(text))}


def vxlan_id(text: str) -> int:
    """Read one number of 24 bits; 0 for what is none."""
    small = text.isascii() and text.isdigit() and len(text) <= _VXLAN_DIGITS
    return int(text) if small and int(text) <= VXLAN_ID_MAX else 0


def wrong_vxlan_id(options: Mapping[str, str]) -> str | None:
    """Return the first of a network's numbers that is none, None if all are well."""
    return next((text for text in _numbers(options) if not vxlan_id(text)), None)


def _numbers(options: Mapping[str, str]) -> list[str]:
    return options[VXLAN_OPTION].split(",") if VXLAN_OPTION in options else []


def conflict(network: Network, others: Iterable[Network]) -> str:
    """Return Docker's sentence if the network's subnets or its number are another's, else nothing.

    No subnets of one network may overlap either.
    """
    wanted, numbers = taken_by(network), vxlan_ids(network)
    taken: list[Subnet] = []
    for other in others:
        if other.id != network.id:
            taken += taken_by(other)
            if both := numbers & vxlan_ids(other):
                return f"vxlan id {min(both)} is in use by another network"
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
    taken = {number for other in others for number in vxlan_ids(other)}
    number = VXLAN_ID_MIN
    while number in taken:
        number += 1
    return number


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and one.overlaps(other)
