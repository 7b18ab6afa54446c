"""The hosts on the way (ProxyJump): one connection to each for a whole run, for all behind it.

Used by ``connect``. A hundred connections to one bastion would meet its MaxStartups; channels
through one connection don't.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import fabric

from swarmops.fleet.disconnect import disconnect

Way = tuple[tuple[str, str, int], ...]
"""User, host and port of a hop and of all before it."""


def way_of(hop: fabric.Connection) -> Way:
    """Return what a hop is known by."""
    before = way_of(hop.gateway) if isinstance(hop.gateway, fabric.Connection) else ()
    return (*before, (str(hop.user), str(hop.host), int(hop.port)))


class Gateways:
    """Open connections to hops, safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._each: dict[Way, threading.Lock] = {}
        self._open: dict[Way, fabric.Connection] = {}

    def through(
        self, hop: fabric.Connection, open_: Callable[[fabric.Connection], None]
    ) -> fabric.Connection:
        """Return an open connection to the hop: the one that is there, else this one, opened.

        Raises what ``open_`` raises; the next caller tries again.
        """
        way = way_of(hop)
        with self._lock:
            own = self._each.setdefault(way, threading.Lock())
        with own:
            there = self._open.get(way)
            if there is not None and there.is_connected:
                return there
            if there is not None:
                disconnect(there)
            if isinstance(hop.gateway, fabric.Connection):
                hop.gateway = self.through(hop.gateway, open_)
            try:
                open_(hop)
            except BaseException:
                disconnect(hop)
                raise
            self._open[way] = hop
            return hop

    def close(self) -> None:
        """Close them all, the last hop of each way first."""
        with self._lock:
            found = sorted(self._open.items(), key=lambda item: -len(item[0]))
            self._open = {}
        for _, hop in found:
            disconnect(hop)
