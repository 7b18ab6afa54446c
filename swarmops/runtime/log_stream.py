"""Output of tasks between two managers: msgpack frames of the session's form over one HTTP answer.

The manager that a client asked fetches, the one that holds the node's session serves. Each frame
has its length before it, four bytes; a length of 0 says that the stream lives. TCP itself slows the
sender down.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator

import aiohttp
import msgspec
from aiohttp import web

from swarmops.api.stream import with_ticks, write_all
from swarmops.model.session import (
    FRAME_BYTES_MAX,
    LogFrame,
    LogsAsked,
    decode_log_frame,
    encode,
)

PATH = "/logs"
ALIVE_S = 3.0
"""A serving manager that has nothing to send says so this often."""
SILENT_S = 10.0
"""A manager that says nothing at all for so long is gone."""
_CONNECT_S = 5.0
_LENGTH_BYTES = 4


async def serve_logs(
    request: web.Request, frames: AsyncGenerator[LogFrame, None]
) -> web.StreamResponse:
    """Answer with the frames, until they or the asking manager end."""
    return await write_all(request, web.StreamResponse(), _encoded(frames))


async def _encoded(frames: AsyncGenerator[LogFrame, None]) -> AsyncGenerator[bytes, None]:
    async for frame in with_ticks(frames, ALIVE_S):
        data = b"" if frame is None else encode(frame)
        yield len(data).to_bytes(_LENGTH_BYTES) + data


async def fetch_logs(
    addr: str, tls: ssl.SSLContext, asked: LogsAsked
) -> AsyncGenerator[LogFrame, None]:
    """Iterate over what another manager reads of a node. Raises ConnectionError when it breaks."""
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=SILENT_S)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, limit=1), timeout=timeout
            ) as client,
            client.post(f"https://{addr}{PATH}", data=msgspec.json.encode(asked)) as response,
        ):
            if response.status != web.HTTPOk.status_code:
                raise ConnectionError(f"{addr}: {response.status} {response.reason}")
            while True:
                size = int.from_bytes(await response.content.readexactly(_LENGTH_BYTES))
                if size > FRAME_BYTES_MAX:
                    raise ConnectionError(f"{addr}: sent what is no frame")
                if size:
                    yield decode_log_frame(await response.content.readexactly(size))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionError(f"{addr}: the stream was cut") from error
    except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
        raise ConnectionError(f"{addr}: {error or type(error).__name__}") from error
