"""The manager's side of one agent session's log streams.

Made by the session, asked by ``LogCollector`` and, for other managers, by the node port. Each
stream holds at most the credit that it gave: a reader that stands still stops the agent's reading.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import count

from swarmops.model.session import (
    LOG_CREDIT_BYTES,
    Frame,
    LogFrame,
    LogLines,
    LogQuery,
    LogsEnd,
    LogsMore,
    LogsStop,
    LogsWanted,
    cost_bytes,
)

DISCONNECTED = "disconnected"
"""The problem of a stream whose session broke."""
_OVERRUN_BYTES = 2 * LOG_CREDIT_BYTES


class LogIntake:
    """All log streams of one session."""

    def __init__(self, send: Callable[[Frame], Awaitable[None]]) -> None:
        self._send = send
        self._ids = count(1)
        self._streams: dict[int, _Stream] = {}
        self._failed = False

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def take(self, frame: LogFrame) -> None:
        """Hand a frame of the agent to its reader; one that nobody reads is dropped."""
        if stream := self._streams.get(frame.id):
            stream.put(frame)

    def fail(self) -> None:
        """End every stream: the session is over."""
        self._failed = True
        for stream_id, stream in self._streams.items():
            stream.put(LogsEnd(stream_id, [DISCONNECTED]))

    async def read(
        self, task_ids: Sequence[str], query: LogQuery
    ) -> AsyncGenerator[LogFrame, None]:
        """Iterate over a new stream's frames; the last is ``LogsEnd``. Close it when done."""
        stream_id = next(self._ids)
        stream = self._streams[stream_id] = _Stream()
        ended = False
        try:
            if self._failed:
                stream.put(LogsEnd(stream_id, [DISCONNECTED]))
            await self._send(LogsWanted(stream_id, list(task_ids), query, LOG_CREDIT_BYTES))
            while not ended:
                frame = await stream.get()
                ended = isinstance(frame, LogsEnd)
                yield frame
                if isinstance(frame, LogLines):
                    read_bytes = sum(map(cost_bytes, frame.records))
                    await self._send(LogsMore(stream_id, read_bytes))
        except ConnectionError:
            yield LogsEnd(stream_id, [DISCONNECTED])
        finally:
            del self._streams[stream_id]
            if not ended and not self._failed:
                with contextlib.suppress(ConnectionError):
                    await self._send(LogsStop(stream_id))


class _Stream:
    """Frames that came and are not read yet."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[LogFrame] = asyncio.Queue()
        self._held_bytes = 0

    def put(self, frame: LogFrame) -> None:
        """Keep a frame; an agent that sends without credit loses its stream."""
        if isinstance(frame, LogLines):
            self._held_bytes += sum(map(cost_bytes, frame.records))
            if self._held_bytes > _OVERRUN_BYTES:
                frame = LogsEnd(frame.id, ["the node sent more than was asked"])
        if isinstance(frame, LogsEnd) or self._held_bytes <= _OVERRUN_BYTES:
            self._queue.put_nowait(frame)

    async def get(self) -> LogFrame:
        """Return the oldest frame."""
        frame = await self._queue.get()
        if isinstance(frame, LogLines):
            self._held_bytes -= sum(map(cost_bytes, frame.records))
        return frame
