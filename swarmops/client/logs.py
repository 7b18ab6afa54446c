"""A log stream taken apart: frames of the engine's form, each a line with where it comes from.

Used by ``Client.service_logs``. It reads as bytes come, and holds one frame at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from swarmops.errors import SwarmopsError

_HEAD_BYTES = 8
_FRAME_BYTES_MAX = 16 * 1024 * 1024
_PROBLEM = 3
_TASK = "com.docker.swarm.task.id"
_NODE = "com.docker.swarm.node.id"


class IncompleteLogsError(SwarmopsError):
    """Something is missing in what was read; the text is the swarm's."""


class LogEntry(NamedTuple):
    """A line, its newline included where it has one. A terminal's output has no IDs."""

    stream: int
    data: bytes
    time: str = ""
    task_id: str = ""
    node_id: str = ""


def entries(pieces: Iterable[bytes], *, timestamps: bool) -> Iterator[LogEntry]:
    """Iterate over a stream with details. Raises ``IncompleteLogsError`` where it says so."""
    rest = b""
    for piece in pieces:
        rest += piece
        while len(rest) >= _HEAD_BYTES:
            size = int.from_bytes(rest[4:_HEAD_BYTES])
            if size > _FRAME_BYTES_MAX:
                raise IncompleteLogsError("the stream is not understood: is it another engine's?")
            if len(rest) < _HEAD_BYTES + size:
                break
            payload = rest[_HEAD_BYTES : _HEAD_BYTES + size]
            stream, rest = rest[0], rest[_HEAD_BYTES + size :]
            if stream == _PROBLEM:
                raise IncompleteLogsError(payload.decode(errors="replace").strip())
            yield _entry(stream, payload, timestamps=timestamps)


def _entry(stream: int, payload: bytes, *, timestamps: bool) -> LogEntry:
    time = b""
    if timestamps:
        time, _, payload = payload.partition(b" ")
    details, _, data = payload.partition(b" ")
    pairs = dict(pair.partition("=")[::2] for pair in details.decode(errors="replace").split(","))
    return LogEntry(stream, data, time.decode(), pairs.get(_TASK, ""), pairs.get(_NODE, ""))
