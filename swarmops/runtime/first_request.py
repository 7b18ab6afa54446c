"""The wait for a connection's first request: bounded in time and size.

aiohttp ends connections that idle after a request, but waits for ever for the first one. Whoever
connects and says nothing, or says it drop by drop, is cut off here, before HTTP takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

HEAD_S = 20.0
"""Until when the first request's head must be whole."""
HEAD_BYTES_MAX = 128 * 1024
_END = b"\r\n\r\n"

Take = Callable[[asyncio.Transport], asyncio.Protocol | None]


class FirstRequest(asyncio.Protocol):
    """Collects the head, then makes way for what ``take`` returns; None ends the connection."""

    def __init__(self, take: Take, head_s: float = HEAD_S) -> None:
        self._take = take
        self._head_s = head_s
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait."""
        if not isinstance(transport, asyncio.Transport):
            transport.close()
            return
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(self._head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Collect, and hand over as soon as the head is whole or too long to be one."""
        transport = self._transport
        if transport is None:
            return
        before = len(self._head)
        self._head += data
        whole = self._head.find(_END, max(before - len(_END), 0)) >= 0
        if not whole and len(self._head) < HEAD_BYTES_MAX:
            return
        self._stop()
        taken = self._take(transport)
        if taken is None:
            transport.abort()
            return
        transport.set_protocol(taken)
        taken.connection_made(transport)
        taken.data_received(bytes(self._head))

    def eof_received(self) -> bool:
        """Give up on whoever ends before the head is whole."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        del exc
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
