"""Answers: JSON in one piece, or long lists slice by slice so that Raft's ticks stay on time.

Used by every handler; knows nothing of what it sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec
from aiohttp import web

SLICE = 128
"""How many objects are looked at and encoded before others get their turn."""

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
    if len(objects) <= SLICE:
        body = b"[" + b"".join(slices) + b"]"
        return web.Response(body=body, content_type="application/json")
    response = web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(b"[")
    for piece in _separated(slices):
        await response.write(piece)
        await asyncio.sleep(0)
    await response.write(b"]")
    await response.write_eof()
    return response


def _slices(
    objects: Sequence[T], keep: Callable[[T], bool], render: Callable[[T], object]
) -> Iterator[bytes]:
    """Yield each slice's objects in JSON, comma between them; an empty slice is ``b""``."""
    source = iter(objects)
    while looked_at := list(islice(source, SLICE)):
        wanted = [render(item) for item in looked_at if keep(item)]
        yield _encode(wanted)[1:-1]


def _separated(slices: Iterator[bytes]) -> Iterator[bytes]:
    first = True
    for piece in slices:
        if piece and not first:
            yield b"," + piece
        else:
            yield piece
        first = first and not piece
