"""Long answers: what comes is written as it comes, and a client that went away is noticed.

Used by logs and events here, and by the runtime between managers. A write waits until the client
takes it, so a slow reader holds its source up; nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

from aiohttp import web

from swarmops.api import faults

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
    """Send the head at once, then what the source gives, until it or the client ends.

    Where the source fails after the head, the log explains it and the client is cut off.
    """
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
    except Exception:
        if not response.prepared:
            raise
        faults.note(request)
        # Half an answer must not look like a whole one, nor have an error's answer behind it.
        if request.transport is not None:
            request.transport.abort()
    finally:
        await source.aclose()
    return response


async def while_there(request: web.Request, coming: Awaitable[T]) -> T:
    """Wait for it as long as the client does. Raises ConnectionResetError once that has gone."""
    waiting = asyncio.ensure_future(coming)
    try:
        while True:
            done, _ = await asyncio.wait([waiting], timeout=TICK_S)
            if done:
                return waiting.result()
            if _gone(request):
                raise ConnectionResetError("the client has gone")
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait([waiting])


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _next(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)
