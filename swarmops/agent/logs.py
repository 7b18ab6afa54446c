"""The agent's side of log streams: sends what tasks print, as ``log_reader`` reads it.

One ``LogStreams`` serves one session. A stream sends only what its reader has given credit for, and
one frame of all streams is under way at a time: readers that stand still cost one batch each, and
heartbeats never wait behind more than that. It never writes, and keeps nothing on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from swarmops.agent.log_reader import LogReader, LogSource
from swarmops.model.session import (
    Frame,
    LogLines,
    LogRecord,
    LogsEnd,
    LogsMore,
    LogsStop,
    LogsWanted,
    cost_bytes,
)

STREAMS_MAX = 512
"""Log streams of one session; more are refused."""
BATCH_BYTES = 32 * 1024
BATCH_S = 0.02
"""Lines that come within this time go out in one frame."""

Send = Callable[[Frame], Awaitable[None]]


class LogStreams:
    """The log streams that one session serves."""

    def __init__(self, source: LogSource, send: Send) -> None:
        self._source = source
        self._send = send
        self._sending = asyncio.Lock()
        self._credit: dict[int, Credit] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._refusals: set[asyncio.Task[None]] = set()

    def take(self, frame: LogsWanted | LogsMore | LogsStop) -> None:
        """Begin, feed or end a stream as the manager says."""
        match frame:
            case LogsWanted():
                self._begin(frame)
            case LogsMore():
                if credit := self._credit.get(frame.id):
                    credit.give(frame.credit_bytes)
            case LogsStop():
                if running := self._running.get(frame.id):
                    running.cancel()

    async def close(self) -> None:
        """End every stream: the session is over."""
        ends = [*self._running.values(), *self._refusals]
        for each in ends:
            each.cancel()
        if ends:
            await asyncio.wait(ends)

    def _begin(self, wanted: LogsWanted) -> None:
        full = len(self._running) >= STREAMS_MAX
        work = self._refuse(wanted) if full else self._serve(wanted)
        task = asyncio.create_task(work, name=f"logs {wanted.id}")
        if full:
            self._refusals.add(task)
            task.add_done_callback(self._refusals.discard)
            return
        self._credit[wanted.id] = Credit(wanted.credit_bytes)
        self._running[wanted.id] = task
        task.add_done_callback(lambda _: self._forget(wanted.id))

    def _forget(self, stream_id: int) -> None:
        self._running.pop(stream_id, None)
        self._credit.pop(stream_id, None)

    async def _refuse(self, wanted: LogsWanted) -> None:
        """Read nothing: whoever follows may ask again."""
        problem = f"the node serves {STREAMS_MAX} log streams already"
        with contextlib.suppress(ConnectionError):
            await self._put(LogsEnd(wanted.id, [problem], wanted.task_ids))

    async def _serve(self, wanted: LogsWanted) -> None:
        problems: list[str] = []
        missing: list[str] = []
        queue: asyncio.Queue[LogRecord] = asyncio.Queue(16)
        known = self._source.tasks()
        readers: list[asyncio.Task[None]] = []
        for task_id in wanted.task_ids:
            if (task := known.get(task_id)) is None:
                missing.append(task_id)
                continue
            reader = LogReader(task, wanted.query, self._source, queue, problems)
            readers.append(asyncio.create_task(reader.run(), name=f"logs of {task_id}"))
        everything = asyncio.gather(*readers)
        try:
            with contextlib.suppress(ConnectionError):  # the session ends us soon
                await self._pump(wanted.id, queue, everything)
                await self._put(LogsEnd(wanted.id, problems, missing))
        finally:
            everything.cancel()
            await asyncio.gather(everything, return_exceptions=True)

    async def _pump(
        self, stream_id: int, queue: asyncio.Queue[LogRecord], ended: asyncio.Future[list[None]]
    ) -> None:
        """Send what the readers put, in batches that fit the credit, until all have ended."""
        while True:
            first = await _next(queue, ended)
            if first is None:
                return
            await asyncio.sleep(BATCH_S if queue.empty() else 0)
            batch, size = [first], cost_bytes(first)
            while not queue.empty() and size < BATCH_BYTES:
                batch.append(queue.get_nowait())
                size += cost_bytes(batch[-1])
                await asyncio.sleep(0)  # let the readers fill up what was taken
            await self._credit[stream_id].pay(size)
            await self._put(LogLines(stream_id, batch))

    async def _put(self, frame: Frame) -> None:
        async with self._sending:
            await self._send(frame)


class Credit:
    """How much may still be sent; may go below nothing by one batch."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._more = asyncio.Event()

    def give(self, size_bytes: int) -> None:
        """Take note of what the reader has read."""
        self._left += size_bytes
        self._more.set()

    async def pay(self, size_bytes: int) -> None:
        """Wait until there is any credit, then take so much of it."""
        while self._left <= 0:
            self._more.clear()
            await self._more.wait()
        self._left -= size_bytes


async def _next(
    queue: asyncio.Queue[LogRecord], ended: asyncio.Future[list[None]]
) -> LogRecord | None:
    """Return the next record, None once all readers have ended and all is read."""
    if not queue.empty():
        return queue.get_nowait()
    getting = asyncio.ensure_future(queue.get())
    try:
        either: list[asyncio.Future[Any]] = [getting, ended]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
    finally:
        getting.cancel()
    return None if queue.empty() else queue.get_nowait()
