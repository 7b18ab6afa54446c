"""When a Raft connection to a machine that is gone ends: within seconds, not a quarter of an hour.

Set by ``dial`` and ``port`` on both ends. Without it a manager that lost its power and came back
would wait for what the others still send into the dead connection, at the kernel's growing pauses;
and each loss of power would leave a connection open here for ever.
"""

from __future__ import annotations

import asyncio
import socket

_SILENT_MS = 5000
_IDLE_S, _INTERVAL_S, _PROBES = 3, 1, 3


def end_when_silent(transport: asyncio.BaseTransport) -> None:
    """Have the kernel end the connection when the peer acknowledges nothing for about 5 s."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_MS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
