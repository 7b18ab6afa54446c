"""Reads the output of one task, whatever runs it, into a queue of records.

Made by ``logs`` for each task of a stream. It sends nothing, and ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import structlog

from swarmops.agent.executors.base import Executor, LogLine, LogRequest, TaskError
from swarmops.agent.work import NodeFacts, plain_work
from swarmops.errors import SwarmopsError
from swarmops.model.base import given
from swarmops.model.session import RECORD_BYTES_MAX, LogQuery, LogRecord
from swarmops.model.task import Task, TaskState

log = structlog.get_logger(__name__)

ENDED_S = 1.0
"""A followed task that has ended and said nothing for so long has said all."""
START_S = 0.1
"""How often a task that is not started yet is looked at."""
_STREAM = {"stdout": 1, "stderr": 2}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


class LogReader:
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
        if follow:
            await self._started()
        known = len(self._problems)
        await self._read_once(follow=follow)
        while follow and not (self._seen or self._query.until_ns or self._ended()):
            if len(self._problems) > known:
                return
            # Asked between a container's creation and its start, an engine says that this is all.
            await asyncio.sleep(START_S)
            await self._read_once(follow=True)

    async def _read_once(self, *, follow: bool) -> None:
        query = self._query
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


def time_ns(at: datetime) -> int:
    """Return the Unix time in nanoseconds, exact to the microsecond."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
