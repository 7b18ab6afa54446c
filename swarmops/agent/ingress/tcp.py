"""Passes TCP connections on: accepts, connects to a task, copies both ways.

Used by ``proxy``. A side that cannot take more makes the other wait, so that a connection holds
320 KiB each way at most. A task that refuses, or is silent for two seconds, is skipped; a client
for whom there is none is reset. Half-closed connections stay half-closed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from swarmops.agent.ingress.backends import Address, Backends

CONNECT_S = 2.0
BUFFER_BYTES_MAX = 64 * 1024
"""What waits to be written to one side, besides the 256 KiB at most of the last read."""

_RESET = struct.pack("ii", 1, 0)
"""No lingering: closing sends a reset."""


class Side(asyncio.Protocol):
    """One of the two connections; ``other`` is set once both stand."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.ended = False
        """Whether it will send no more."""
        self._early = b""
        """What came before there was somebody to pass it on to: one read, at most 256 KiB."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the connection; reading has begun."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Pass it on; with nobody there yet, keep it and read no more.

        Reading is paused here and not from the start: Python 3.11 begins to read all the same.
        """
        if self.other is None:
            self._early += data
            if self.transport is not None:
                self.transport.pause_reading()
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end on; the other direction stays open."""
        self.ended = True
        other = self.other
        if other is None:
            return self.transport is not None
        if other.transport is None or other.ended:
            return False
        other.transport.write_eof()
        return True

    def link(self, other: Side) -> None:
        """Begin to pass on to the other side, with what came before."""
        self.other = other
        early, self._early = self._early, b""
        if other.transport is None or self.transport is None:
            return
        if early:
            other.transport.write(early)
        if self.ended:
            other.transport.write_eof()
        self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Make the other side wait."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the other side go on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side in the same way: a reset by a reset."""
        self.transport = None
        other, self.other = self.other, None
        if other is not None and other.transport is not None:
            if exc is None:
                other.transport.close()
            else:
                other.reset()

    def reset(self) -> None:
        """End the connection so that its other end knows that something went wrong."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class Client(Side):
    """A client's connection: looks for a task as soon as it stands."""

    def __init__(self, port: TCPPort) -> None:
        super().__init__()
        self._port = port
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look for a task."""
        super().connection_made(transport)
        self._port.came()
        self._connecting = asyncio.create_task(self._connect())

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no further."""
        self._port.went()
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)

    async def _connect(self) -> None:
        task = await self._port.connect()
        if task is None or task.transport is None or self.transport is None:
            for side in (self, task):
                if side is not None:
                    side.reset()
            return
        self.link(task)
        task.link(self)
        if self.ended and task.ended:
            self.transport.close()


class TCPPort:
    """One published TCP port."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self.idle = asyncio.Event()
        """Set while no client is connected."""
        self.idle.set()
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, number: int) -> None:
        """Begin to accept. Raises OSError if something else has the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Client(self), host, number, backlog=1024, reuse_address=True
        )

    def stop(self) -> None:
        """Accept no more; connections that stand go on."""
        if self._server is not None:
            self._server.close()

    def came(self) -> None:
        """Count a client."""
        self._clients += 1
        self.idle.clear()

    def went(self) -> None:
        """Count one less."""
        self._clients -= 1
        if not self._clients:
            self.idle.set()

    async def connect(self) -> Side | None:
        """Connect to a task, the next in turn that answers; None if none does."""
        loop = asyncio.get_running_loop()
        for address in self.backends.candidates(loop.time()):
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, side = await loop.create_connection(Side, *address)
            except (OSError, TimeoutError):
                self._failed(address)
            else:
                return side
        return None

    def _failed(self, address: Address) -> None:
        self.backends.failed(address, asyncio.get_running_loop().time())
