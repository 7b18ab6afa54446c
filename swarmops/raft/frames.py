"""Frames on a stream: a length of four bytes, then a message; bounded, whoever sends.

Used by ``streams`` in both directions; knows nothing of members.
"""

from __future__ import annotations

import asyncio

from swarmops.raft.messages import FRAME_BYTES_MAX

HEAD_BYTES = 4


def head(body: bytes) -> bytes:
    """Return what goes before a message."""
    return len(body).to_bytes(HEAD_BYTES, "big")


def framed(body: bytes) -> bytes:
    """Return the frame that carries a message."""
    return head(body) + body


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one message; raises ValueError where it is too large, and what reading raises."""
    size = int.from_bytes(await reader.readexactly(HEAD_BYTES), "big")
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {size} bytes is too large")
    return await reader.readexactly(size)


def frame_in(buffer: bytearray, start: int) -> bytes | None:
    """Return the whole message at a place in the buffer, None while it is incomplete."""
    body = start + HEAD_BYTES
    if len(buffer) < body:
        return None
    size = int.from_bytes(buffer[start:body], "big")
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {size} bytes is too large")
    return bytes(buffer[body : body + size]) if len(buffer) >= body + size else None
