"""A connection taken over: what the client sends goes to the engine and back, byte by byte.

Used for streams that leave HTTP behind: attach, exec, and upgrades (``tcp``, ``h2c``). Each
direction ends on its own, for a client that closes its input still wants the output. It reads at
the speed at which the other side takes, so nothing piles up here.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

PIECE_BYTES = 64 * 1024


class Taken(web.StreamResponse):
    """What a handler returns when the connection is no longer HTTP's: nothing is to be written."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write no head: the client has its answer."""
        del request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""


class _ClientProtocol(asyncio.StreamReaderProtocol):
    """The client's side; its end is also told to the HTTP protocol that it was taken from."""

    def __init__(self, reader: asyncio.StreamReader, taken_from: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._taken_from = taken_from

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cast("asyncio.Protocol", self._taken_from).connection_lost(exc)


async def take_over(
    request: web.Request,
    head: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> web.StreamResponse:
    """Write the head to the client, then join both connections until the engine's has ended.

    Raises ConnectionError if the client has gone already.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    from_client = asyncio.StreamReader(limit=PIECE_BYTES)
    protocol = _ClientProtocol(from_client, transport.get_protocol())
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.resume_reading()
    loop = asyncio.get_running_loop()
    to_client = asyncio.StreamWriter(transport, protocol, from_client, loop)
    to_client.write(head)
    sending = asyncio.create_task(_pump(from_client, writer))
    try:
        await _pump(reader, to_client)
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        to_client.close()
    return Taken()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, and pass the end on."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
