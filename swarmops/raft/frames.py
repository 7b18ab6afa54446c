"""Frames on a stream: a length of four bytes, then a message; bounded, whoever sends.

Used by ``streams`` in both directions; knows nothing of members.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarmops.raft.messages import FRAME_BYTES_MAX

HEAD_BYTES = 4


def framed(body: bytes) -> bytes:
    """Return the frame that carries a message."""
    return len(body).to_bytes(HEAD_BYTES, "big") + body


class Frames:
    """What has arrived on one stream and is no whole frame yet."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def taken(self, data: bytes) -> Iterator[bytes]:
        """Yield each message that is whole with this piece; ValueError where one is too large."""
        arrived: bytes | bytearray = data
        if self._rest:
            self._rest += data
            arrived = self._rest
        start = 0
        while len(arrived) >= start + HEAD_BYTES:
            body = start + HEAD_BYTES
            size = int.from_bytes(arrived[start:body], "big")
            if size > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {size} bytes is too large")
            if len(arrived) < body + size:
                break
            start = body + size
            yield bytes(arrived[body:start])
        if arrived is self._rest:
            del self._rest[:start]
        elif start < len(data):
            self._rest += data[start:]
