"""Long answers: what comes is written as it comes, and a client that went away is noticed.

Used by logs and events here, and by the runtime between managers. A write waits until the client
takes it, so a slow reader holds its source up; nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

from aiohttp import web

TICK_S = 2.0
"""How long a client that has gone may go unnoticed."""

T = TypeVar("T")


async def with_ticks(
    source: AsyncGenerator[T, None], period_s: float
) -> AsyncGenerator[T | None, None]:
    """Iterate over the source, with a None after each period in which nothing came.

    Closing it closes the source.
    """
    coming: asyncio.Task[T] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(_next(source))
            await asyncio.wait([coming], timeout=period_s)
            if not coming.done():
                yield None
                continue
            done, coming = coming, None
            try:
                item = done.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
        await source.aclose()


async def merged(*sources: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Iterate over all sources as they come, until the last has ended; closing closes them."""
    coming: dict[asyncio.Task[T], AsyncGenerator[T, None]] = {
        asyncio.ensure_future(_next(source)): source for source in sources
    }
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = coming.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                coming[asyncio.ensure_future(_next(source))] = source
                yield item
    finally:
        for task in coming:
            task.cancel()
        if coming:
            await asyncio.wait(coming)
        for source in sources:
            await source.aclose()


async def write_all(
    request: web.Request, response: web.StreamResponse, source: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send the head at once, then what the source gives, until it or the client ends."""
    try:
        await response.prepare(request)
        async with contextlib.aclosing(with_ticks(source, TICK_S)) as pieces:
            async for piece in pieces:
                if _gone(request):
                    return response
                if piece:
                    await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has all that it wanted
    finally:
        await source.aclose()
    return response


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)
