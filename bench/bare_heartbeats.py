"""What an idle leader can't do without, and nothing else; for ``bench.raft idle`` to compare with.

``python -m bench.bare_heartbeats``: ten times a second a few bytes to each of two peers, and their
answers, on asyncio over plain TCP; with ``--tls`` over the product's TLS. The peers are processes
of their own, which end with this one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.raft_processes import certify
from swarmops.pki.root import new_root
from swarmops.pki.tls import ALPN_RAFT, NodeTLS

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


async def _peer(port: Any, tls: NodeTLS | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Echo(ended), "127.0.0.1", 0, ssl=tls.server if tls else None
    )
    port.send(server.sockets[0].getsockname()[1])
    await ended.wait()


def _run_peer(port: Any, folder: Path | None) -> None:
    asyncio.run(_peer(port, NodeTLS(folder) if folder else None))


async def _lead(ports: list[int], tls: NodeTLS | None) -> None:
    """Send for ever; what comes back is read and dropped."""
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = [
        (
            await loop.create_connection(
                asyncio.Protocol, "127.0.0.1", port, ssl=tls.client(ALPN_RAFT) if tls else None
            )
        )[0]
        for port in ports
    ]
    print("sending", flush=True)
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        for transport in transports:
            transport.write(_MESSAGE)


def main() -> None:
    """Run until killed."""
    ports = []
    with tempfile.TemporaryDirectory() as certificates:
        folder = Path(certificates) if "--tls" in sys.argv[1:] else None
        if folder is not None:
            certify(new_root(datetime.now(UTC)), folder, "node1")
        for _ in range(2):
            here, there = multiprocessing.Pipe()
            multiprocessing.Process(target=_run_peer, args=(there, folder), daemon=True).start()
            ports.append(here.recv())
        tls = NodeTLS(folder) if folder else None
    asyncio.run(_lead(ports, tls))


if __name__ == "__main__":
    main()
