"""Addresses in the swarm's networks: which are taken, which are free.

The allocator's memo, made from the store and kept by its events. An address is taken by a service
as its virtual IP, or by a task until it has ended; who holds one says so itself, nothing is counted
elsewhere, so a new leader finds the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface

import msgspec

from swarmops.model.base import given
from swarmops.model.network import IPAMConfig, Network, subnets
from swarmops.model.object import Object
from swarmops.model.service import Service
from swarmops.model.task import Task
from swarmops.store.subnets import subnet


class Pool(msgspec.Struct, frozen=True):
    """A stretch of addresses to give away, but for the reserved ones; all as numbers."""

    first: int
    last: int
    reserved: frozenset[int]
    prefix_length: int
    version: int

    def text(self, number: int) -> str:
        """Return an address with its prefix length."""
        address = ip_address(number.to_bytes(4 if self.version == 4 else 16, "big"))  # noqa: PLR2004 - IPv4
        return f"{address}/{self.prefix_length}"


class AddressBook:
    """Who holds which address."""

    def __init__(self, holders: Iterable[Object] = ()) -> None:
        self._held: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._from: dict[str, int] = {}
        """Below this number every address of the network is taken."""
        for holder in holders:
            self.note(None, holder)

    def note(self, old: Object | None, new: Object | None) -> bool:
        """Take over a change of a service or a task; return whether an address became free."""
        before, after = held_by(old), held_by(new)
        if before == after:  # as for every task that joins no network
            return False
        for network_id, number in after - before:
            self._held[network_id][number] += 1
        freed = False
        for network_id, number in before - after:
            held = self._held[network_id]
            held[number] -= 1
            if held[number] <= 0:
                del held[number]
                freed = True
                self._from[network_id] = min(self._from.get(network_id, number), number)
        return freed

    def forget(self, network_id: str) -> None:
        """Forget a network that is gone."""
        self._held.pop(network_id, None)
        self._from.pop(network_id, None)

    def first_free(
        self, network_id: str, pools: Iterable[Pool], start: int
    ) -> tuple[int, Pool] | None:
        """Return the lowest free address from ``start`` on."""
        held = self._held.get(network_id, ())
        start = max(start, self._from.get(network_id, 0))
        for pool in pools:
            for number in range(max(pool.first, start), pool.last + 1):
                if number not in held and number not in pool.reserved:
                    return number, pool
        return None

    def full_below(self, network_id: str, number: int) -> None:
        """Remember that all addresses below this one are taken."""
        self._from[network_id] = number


class Giving:
    """The addresses that one step gives away: none twice, before the book knows of them."""

    def __init__(self, book: AddressBook) -> None:
        self._book = book
        self._next: dict[str, int] = {}
        self._pools: dict[str, list[Pool]] = {}

    def take(self, network: Network) -> str:
        """Return a free address with its prefix length, nothing if there is none."""
        start = self._next.get(network.id, 0)
        if network.id not in self._pools:
            self._pools[network.id] = pools_of(network)
        found = self._book.first_free(network.id, self._pools[network.id], start)
        if found is None:
            return ""
        number, pool = found
        if not start:
            self._book.full_below(network.id, number)
        self._next[network.id] = number + 1
        return pool.text(number)


_NOTHING: frozenset[tuple[str, int]] = frozenset()


def held_by(holder: Object | None) -> frozenset[tuple[str, int]]:
    """Return what a service or a task holds: networks and addresses as numbers."""
    if isinstance(holder, Service):
        return frozenset(
            (each.network_id, int(ip_interface(text).ip))
            for each in given(holder.endpoint.virtual_ips, ())
            if (text := given(each.addr, ""))
        )
    if isinstance(holder, Task):
        if not holder.networks_attachments or holder.status.state.terminal:
            return _NOTHING
        return frozenset(
            (each.network.id, int(ip_interface(text).ip))
            for each in holder.networks_attachments
            for text in given(each.addresses, ())
        )
    return _NOTHING


def pools_of(network: Network) -> list[Pool]:
    """Return where the network's addresses come from, the lowest first."""
    return sorted((_pool(config) for config in subnets(network)), key=lambda pool: pool.first)


def _pool(config: IPAMConfig) -> Pool:
    """Leave out the subnet's own address, its broadcast address and its gateway."""
    whole = subnet(given(config.subnet, ""))
    part = subnet(given(config.range, "") or given(config.subnet, ""))
    gateway = given(config.gateway, "")
    reserved = {int(whole.network_address), int(whole.broadcast_address)}
    if gateway:
        reserved.add(int(ip_address(gateway)))
    return Pool(
        first=int(part.network_address),
        last=int(part.broadcast_address),
        reserved=frozenset(reserved),
        prefix_length=whole.prefixlen,
        version=whole.version,
    )
