"""What an idle leader can't do without, and nothing else; for ``bench.raft idle`` to compare with.

``python -m bench.bare_heartbeats``: ten times a second a few bytes to each of two peers, and their
answers, on asyncio over plain TCP. The peers are processes of their own, which end with this one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from typing import Any

_HEARTBEAT_S = 0.1
_MESSAGE = bytes(40)


class _Echo(asyncio.Protocol):
    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._ended.set()


async def _peer(port: Any) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Echo(ended), "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await ended.wait()


def _run_peer(port: Any) -> None:
    asyncio.run(_peer(port))


async def _lead(ports: list[int]) -> None:
    """Send for ever; what comes back is read and dropped."""
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = [
        (await loop.create_connection(asyncio.Protocol, "127.0.0.1", port))[0] for port in ports
    ]
    print("sending", flush=True)
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        for transport in transports:
            transport.write(_MESSAGE)


def main() -> None:
    """Run until killed."""
    ports = []
    for _ in range(2):
        here, there = multiprocessing.Pipe()
        multiprocessing.Process(target=_run_peer, args=(there,), daemon=True).start()
        ports.append(here.recv())
    asyncio.run(_lead(ports))


if __name__ == "__main__":
    main()
