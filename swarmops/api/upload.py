"""A request's body on its way to the engine: as it comes, but not from a client that stands still.

A client may think for minutes between two pieces: the bound is for each of them, not for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

STANDSTILL_S = 300.0


async def coming(request: web.Request) -> AsyncGenerator[bytes, None]:
    """Iterate over the body; hang up on a client of which nothing comes for too long."""
    while True:
        async with _not_standing_still(request):
            piece = await request.content.readany()
        if not piece:
            return
        yield piece


async def whole(request: web.Request) -> bytes:
    """Return a body that is small and must be there before the engine is asked."""
    async with _not_standing_still(request):
        return await request.read()


@asynccontextmanager
async def _not_standing_still(request: web.Request) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(STANDSTILL_S):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client stands still") from None
