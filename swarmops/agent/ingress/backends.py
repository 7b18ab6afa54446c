"""The tasks behind one published port, and which of them gets the next connection.

Each in turn, whichever node it runs on, as Docker does. One that did not answer is asked last for a
while: the swarm will soon say whether it is gone. Pure; the clock is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable

Address = tuple[str, int]
"""IP address and port."""
Key = tuple[str, int]
"""Protocol (``tcp``, ``udp``) and published port."""

AVOID_S = 2.0


class Backends:
    """The addresses behind a port, in the order in which they are used."""

    def __init__(self, start: int = 0) -> None:
        self._addresses: list[Address] = []
        self._next = start
        self._avoid_until_s: dict[Address, float] = {}

    def set(self, addresses: Iterable[Address]) -> None:
        """Take another list; what is known of those that stay is kept."""
        self._addresses = list(dict.fromkeys(addresses))
        staying = set(self._addresses)
        self._avoid_until_s = {a: s for a, s in self._avoid_until_s.items() if a in staying}

    def __contains__(self, address: Address) -> bool:
        return address in self._addresses

    def candidates(self, now_s: float) -> list[Address]:
        """Return all addresses, the one to try first in front; each call begins with the next."""
        count = len(self._addresses)
        if not count:
            return []
        start = self._next % count
        self._next = start + 1
        turned = self._addresses[start:] + self._addresses[:start]
        return sorted(turned, key=lambda address: self._avoid_until_s.get(address, 0.0) > now_s)

    def failed(self, address: Address, now_s: float) -> None:
        """Take note that it did not answer."""
        if address in self._addresses:
            self._avoid_until_s[address] = now_s + AVOID_S
