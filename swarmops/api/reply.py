"""Answers: JSON in one piece, or long lists slice by slice so that Raft's ticks stay on time.

Used by every handler; knows nothing of what it sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from time import perf_counter
from typing import TypeVar

import msgspec
from aiohttp import web

SLICE_OBJECTS = 128
SLICE_S = 0.004
"""How many objects, and how long, are looked at and encoded before others get their turn."""

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def reply(value: object, status: int = 200) -> web.Response:
    """Answer with one JSON value."""
    return web.Response(body=_encode(value), status=status, content_type="application/json")


def nothing(status: int = 200) -> web.Response:
    """Answer without a body: it is done."""
    return web.Response(status=status)


async def reply_list(
    request: web.Request,
    objects: Sequence[T],
    keep: Callable[[T], bool],
    render: Callable[[T], object],
) -> web.StreamResponse:
    """Answer with the objects that ``keep`` wants, as ``render`` shows them; none is ``[]``.

    The objects are immutable, so a list of them taken before stays true while it is sent.
    """
    slices = _slices(objects, keep, render)
    first = next(slices)
    second = next(slices, None)
    if second is None:
        return web.Response(body=b"[" + first + b"]", content_type="application/json")
    response = web.StreamResponse()
    response.content_type = "application/json"
    try:
        await response.prepare(request)
        comma = b"["
        for piece in chain((first, second), slices):
            if piece:
                await response.write(comma + piece)
                comma = b","
            await asyncio.sleep(0)
        await response.write(b"[]" if comma == b"[" else b"]")
        await response.write_eof()
    except BaseException:
        # Half a list must not look like a whole one, nor have an error's answer behind it.
        if request.transport is not None:
            request.transport.abort()
        raise
    return response


def _slices(
    objects: Sequence[T], keep: Callable[[T], bool], render: Callable[[T], object]
) -> Iterator[bytes]:
    """Yield JSON of the wanted objects, comma between them, whenever a slice's time is over.

    At least one slice comes; one without wanted objects is empty.
    """
    wanted: list[object] = []
    until = perf_counter() + SLICE_S
    for looked_at, item in enumerate(objects, start=1):
        if keep(item):
            wanted.append(render(item))
        if looked_at % SLICE_OBJECTS == 0 or perf_counter() > until:
            yield _encode(wanted)[1:-1]
            wanted.clear()
            until = perf_counter() + SLICE_S
    yield _encode(wanted)[1:-1]
