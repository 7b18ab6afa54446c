"""The agent's side of log streams: reads tasks' output and sends it over the session.

One ``LogStreams`` serves one session. A stream sends only what its reader has given credit for, and
one frame of all streams is under way at a time: readers that stand still cost one batch each, and
heartbeats never wait behind more than that. It never writes, and keeps nothing on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from swarmops.agent.executors.base import Executor, LogLine, LogRequest, TaskError
from swarmops.agent.work import NodeFacts, plain_work
from swarmops.errors import SwarmopsError
from swarmops.model.base import given
from swarmops.model.session import (
    RECORD_BYTES_MAX,
    Frame,
    LogLines,
    LogQuery,
    LogRecord,
    LogsEnd,
    LogsMore,
    LogsStop,
    LogsWanted,
    cost_bytes,
)
from swarmops.model.task import Task, TaskState

log = structlog.get_logger(__name__)

STREAMS_MAX = 512
"""Log streams of one session; more are refused."""
BATCH_BYTES = 32 * 1024
BATCH_S = 0.02
"""Lines that come within this time go out in one frame."""
ENDED_S = 1.0
"""A followed task that has ended and said nothing for so long has said all."""
START_S = 0.1
"""How often a task that is not started yet is looked at."""
_STREAM = {"stdout": 1, "stderr": 2}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Send = Callable[[Frame], Awaitable[None]]


class LogSource:
    """The output of this node's tasks, whichever executor runs them."""

    def __init__(
        self,
        tasks: Callable[[], list[Task]],
        executor_of: Callable[[str], Executor | None],
        facts: Callable[[], NodeFacts],
        now: Callable[[], datetime],
    ) -> None:
        self._tasks = tasks
        self._executor_of = executor_of
        self._facts = facts
        self.now = now

    def tasks(self) -> dict[str, Task]:
        """Return the tasks that are assigned here, by ID."""
        return {task.id: task for task in self._tasks()}

    def lines(self, task: Task, request: LogRequest) -> AsyncIterator[LogLine]:
        """Iterate over a task's output. Raises ``TaskError`` if what ran it is gone."""
        executor = self._executor_of(task.id)
        if executor is None:
            raise TaskError("what ran it is not installed on its node any more")
        return executor.logs(plain_work(task, self._facts()), request)


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
            reader = _Reader(task, wanted.query, self._source, queue, problems)
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


class _Reader:
    """Reads one task's output into a queue; ends by itself once the task has ended."""

    def __init__(
        self,
        task: Task,
        query: LogQuery,
        source: LogSource,
        queue: asyncio.Queue[LogRecord],
        problems: list[str],
    ) -> None:
        self._task = task
        self._query = query
        self._source = source
        self._queue = queue
        self._problems = problems
        self._seen = 0
        self._putting = False

    async def run(self) -> None:
        """Read all that is wanted; what goes wrong is added to the problems."""
        follow = self._query.follow and not self._task.status.state.terminal
        reading = asyncio.create_task(self._read(follow=follow))
        try:
            while not reading.done():
                seen = self._seen
                await asyncio.wait([reading], timeout=ENDED_S)
                if follow and seen == self._seen and not self._putting and self._ended():
                    break
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    def _ended(self) -> bool:
        task = self._source.tasks().get(self._task.id)
        return task is None or task.status.state.terminal

    async def _started(self) -> None:
        """Wait until there may be output: before, an executor has nothing to read from."""
        while True:
            task = self._source.tasks().get(self._task.id)
            if task is None or task.status.state.rank >= TaskState.STARTING.rank:
                return
            await asyncio.sleep(START_S)

    async def _read(self, *, follow: bool) -> None:
        query = self._query
        if follow:
            await self._started()
        request = LogRequest(
            stdout=query.stdout, stderr=query.stderr, follow=follow, tail=query.tail
        )
        try:
            lines = self._source.lines(self._task, request)
            async for line in lines:
                at_ns = time_ns(line.time or self._source.now())
                if at_ns < query.since_ns:
                    continue
                if query.until_ns and at_ns > query.until_ns:
                    if follow:
                        return
                    continue
                await self._put(line, at_ns)
        except (SwarmopsError, OSError) as error:
            if given(self._task.status.container_status, None) is None:
                return  # it was never started, so there is nothing that is missed
            self._problems.append(f"task {self._task.id}: {error}")
        except Exception:  # an executor's bug costs this stream, not the session
            log.exception("a task's output can't be read", task=self._task.id)
            self._problems.append(f"task {self._task.id}: its output can't be read")

    async def _put(self, line: LogLine, at_ns: int) -> None:
        self._seen += 1
        self._putting = True
        data = line.data + b"\n"
        for start in range(0, len(data), RECORD_BYTES_MAX):
            piece = data[start : start + RECORD_BYTES_MAX]
            await self._queue.put(LogRecord(self._task.id, _STREAM[line.stream], at_ns, piece))
        self._putting = False


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


def time_ns(at: datetime) -> int:
    """Return the Unix time in nanoseconds, exact to the microsecond."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
