"""The proxy: the published ports of one node, as the last table says.

Used by ``__main__``. A port that something else on the machine has is tried again and again; the
others are not touched by that. It never asks anybody what to do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from swarmops.agent.ingress.backends import Address, Backends, Key
from swarmops.agent.ingress.tcp import TCPPort
from swarmops.agent.ingress.udp import UDPPort

RETRY_S = 2.0
Failures = dict[Key, str]
"""Ports that can't be listened on, and why."""


class Proxy:
    """All listeners. ``tell`` hears of each change of the ports that fail.

    With another ``start`` on each node, the first connections of all don't meet at one task.
    """

    def __init__(self, host: str, tell: Callable[[Failures], None], *, start: int = 0) -> None:
        self._host = host
        self._tell = tell
        self._start = start
        self._ports: dict[Key, TCPPort | UDPPort] = {}
        self._wanted: dict[Key, Backends] = {}
        self._changed = asyncio.Event()
        self._leaving: list[TCPPort] = []
        self.failures: Failures = {}

    def update(self, table: Mapping[Key, Sequence[Address]]) -> None:
        """Take over a table; connections that stand are left alone."""
        for key in self._wanted.keys() - table.keys():
            del self._wanted[key]
        for key, addresses in table.items():
            self._wanted.setdefault(key, Backends(self._start)).set(addresses)
        for key in self._ports.keys() - table.keys():
            self._stop(key)
        self._changed.set()

    async def run(self) -> None:
        """Listen on what is wanted, until cancelled."""
        while True:
            self._changed.clear()
            await self._listen()
            try:
                async with asyncio.timeout(RETRY_S if self.failures else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Stop listening; TCP connections that stand go on."""
        self.update({})

    async def drained(self) -> None:
        """Wait until the connections of closed ports have ended."""
        for port in self._leaving:
            await port.idle.wait()

    async def _listen(self) -> None:
        failures: Failures = {}
        for key, backends in list(self._wanted.items()):
            if key in self._ports or key not in self._wanted:
                continue
            protocol, number = key
            port = TCPPort(backends) if protocol == "tcp" else UDPPort(backends)
            try:
                await port.listen(self._host, number)
            except OSError as error:
                failures[key] = os.strerror(error.errno) if error.errno else str(error)
            else:
                self._ports[key] = port
                if self._wanted.get(key) is not backends:  # changed meanwhile
                    self._stop(key)
                    self._changed.set()
        if failures != self.failures:
            self.failures = failures
            self._tell(failures)

    def _stop(self, key: Key) -> None:
        port = self._ports.pop(key)
        port.stop()
        if isinstance(port, TCPPort):
            self._leaving = [each for each in self._leaving if not each.idle.is_set()]
            self._leaving.append(port)
