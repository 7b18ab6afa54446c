"""An agent's log streams: what is sent, within which credit, and when a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from msgspec.structs import replace

from swarmops.agent.executors.base import Executor, LogLine, LogRequest, TaskError
from swarmops.agent.log_reader import LogSource
from swarmops.agent.logs import STREAMS_MAX, LogStreams
from swarmops.agent.work import NodeFacts, Work
from swarmops.model.session import (
    RECORD_BYTES_MAX,
    Frame,
    LogLines,
    LogQuery,
    LogsEnd,
    LogsMore,
    LogsStop,
    LogsWanted,
    cost_bytes,
)
from swarmops.model.task import ContainerStatus, Task, TaskState, TaskStatus

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
PLENTY = 1 << 30


def task(task_id: str, state: TaskState = TaskState.RUNNING) -> Task:
    """Return a task of this node."""
    status = TaskStatus(state=state, container_status=ContainerStatus(pid=1))
    return Task(id=task_id, status=status)


class Talker:
    """An executor that only talks, and a session that keeps what is sent."""

    def __init__(self, *tasks: Task) -> None:
        self.tasks = {one.id: one for one in tasks}
        self.lines: dict[str, list[LogLine]] = {}
        self.failing: set[str] = set()
        self.early: set[str] = set()
        """Of these an engine says that this is all, though they are only about to start."""
        self.reading: dict[str, LogRequest] = {}
        self.ended: list[str] = []
        self.news = asyncio.Event()
        self.sent: asyncio.Queue[Frame] = asyncio.Queue()
        source = LogSource(
            lambda: list(self.tasks.values()),
            lambda _: cast("Executor", self),
            lambda: NodeFacts(id="n", hostname="h", addr="a"),
            lambda: NOW,
        )
        self.streams = LogStreams(source, self.send)

    async def send(self, frame: Frame) -> None:
        """Keep a frame."""
        self.sent.put_nowait(frame)

    async def logs(self, work: Work, request: LogRequest) -> AsyncIterator[LogLine]:
        """Say the lines; following, say nothing more for ever."""
        self.reading[work.id] = request
        try:
            if work.id in self.failing:
                raise TaskError("No such container")
            for line in self.lines.get(work.id, []):
                yield line
            if request.follow and work.id not in self.early:
                await asyncio.Event().wait()
        finally:
            self.ended.append(work.id)
            self.news.set()

    def want(self, *task_ids: str, credit: int = PLENTY, stream: int = 1, **query: Any) -> None:
        """Ask as a manager does."""
        self.streams.take(LogsWanted(stream, list(task_ids), LogQuery(**query), credit))

    async def hear(self) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(60):
            return await self.sent.get()

    async def hear_end_of(self, task_id: str) -> None:
        """Wait until nobody reads a task's output any more."""
        async with asyncio.timeout(60):
            while task_id not in self.ended:
                self.news.clear()
                await self.news.wait()

    async def all(self) -> tuple[list[tuple[str, int, int, bytes]], LogsEnd]:
        """Return all records up to the end."""
        found: list[tuple[str, int, int, bytes]] = []
        while True:
            frame = await self.hear()
            if isinstance(frame, LogsEnd):
                return found, frame
            assert isinstance(frame, LogLines)
            found += [(r.task_id, r.stream, r.time_ns, r.data) for r in frame.records]


async def test_all_lines_of_all_tasks_then_the_end_with_what_was_missed():
    """Both streams; a line's own time, else now; a failed reading is a problem, not a hang."""
    node = Talker(task("a"), task("b"))
    before = NOW - timedelta(seconds=9)
    node.lines["a"] = [LogLine("stdout", b"one", before), LogLine("stderr", b"two")]
    node.failing.add("b")
    node.want("a", "b", "c", tail=4, stdout=True)
    records, end = await node.all()
    assert records == [
        ("a", 1, NOW_NS - 9 * 10**9, b"one\n"),
        ("a", 2, NOW_NS, b"two\n"),
    ]
    assert end == LogsEnd(1, ["task b: No such container"], ["c"])
    assert node.reading["a"] == LogRequest(tail=4)


async def test_a_task_that_never_started_misses_nothing():
    """A rejected task of an engine has no container, and nothing to say."""
    rejected = replace(task("a"), status=TaskStatus(state=TaskState.REJECTED))
    node = Talker(rejected)
    node.failing.add("a")
    node.want("a", follow=True)
    assert await node.all() == ([], LogsEnd(1, []))


async def test_lines_outside_since_and_until_are_left_out():
    """Both bounds are included."""
    node = Talker(task("a"))
    node.lines["a"] = [
        LogLine("stdout", str(s).encode(), NOW + timedelta(seconds=s)) for s in range(5)
    ]
    node.want("a", since_ns=NOW_NS + 10**9, until_ns=NOW_NS + 3 * 10**9)
    records, _ = await node.all()
    assert [data for *_, data in records] == [b"1\n", b"2\n", b"3\n"]


async def test_no_more_is_sent_than_there_is_credit_for():
    """At most one batch beyond it, until more is given; the others' streams go on."""
    node = Talker(task("a"), task("b"))
    node.lines["a"] = [LogLine("stdout", b"x" * 10_000)] * 50
    node.lines["b"] = [LogLine("stdout", b"b")]
    node.want("a", credit=50_000)
    got = 0
    while got < 50_000:
        frame = await node.hear()
        assert isinstance(frame, LogLines)
        got += sum(map(cost_bytes, frame.records))
    assert got < 50_000 + 50_000
    node.want("b", stream=2)
    assert [data for *_, data in (await node.all())[0]] == [b"b\n"]
    assert node.sent.empty(), "stream 1 waits"
    node.streams.take(LogsMore(1, PLENTY))
    records, _ = await node.all()
    assert got + sum(len(data) + 64 for *_, data in records) == 50 * (10_001 + 64)


async def test_a_long_line_comes_in_pieces():
    """None longer than a frame may be; only the last has the newline."""
    node = Talker(task("a"))
    node.lines["a"] = [LogLine("stdout", b"y" * (2 * RECORD_BYTES_MAX))]
    node.want("a")
    records, _ = await node.all()
    assert [len(data) for *_, data in records] == [RECORD_BYTES_MAX, RECORD_BYTES_MAX, 1]
    assert b"".join(data for *_, data in records).endswith(b"y\n")


async def test_following_begins_with_the_start_and_ends_with_the_task():
    """A task that is not started is waited for; one that ended, and says no more, is done."""
    node = Talker(task("a", TaskState.ACCEPTED))
    node.lines["a"] = [LogLine("stdout", b"hi")]
    node.want("a", follow=True)
    await asyncio.sleep(0.05)
    assert not node.reading
    node.tasks["a"] = task("a")
    first = await node.hear()
    assert isinstance(first, LogLines)
    node.tasks["a"] = task("a", TaskState.COMPLETE)
    assert await node.hear() == LogsEnd(1, [])
    assert node.ended == ["a"]


async def test_a_task_that_is_about_to_start_is_asked_again():
    """Its container is there and not started: an engine's stream ends at once, with nothing."""
    node = Talker(task("a", TaskState.STARTING))
    node.early.add("a")
    node.want("a", follow=True)
    await node.hear_end_of("a")
    node.early.clear()
    node.tasks["a"], node.lines["a"] = task("a"), [LogLine("stdout", b"hi")]
    heard = await node.hear()
    assert isinstance(heard, LogLines)
    assert [record.data for record in heard.records] == [b"hi\n"]
    await node.streams.close()


async def test_a_stopped_stream_and_a_closed_session_end_the_reading():
    """Nobody reads a file for nobody."""
    node = Talker(task("a"), task("b"))
    for number, one in enumerate(("a", "b")):
        node.lines[one] = [LogLine("stdout", b"hi")]
        node.want(one, stream=number, follow=True)
        await node.hear()
    node.streams.take(LogsStop(0))
    await node.hear_end_of("a")
    assert node.ended == ["a"]
    await node.streams.close()
    assert node.ended == ["a", "b"]
    assert node.sent.empty()


async def test_too_many_streams_are_refused():
    """With a reason, to be asked again, and without harm to those that there are."""
    node = Talker(task("a"))
    for number in range(STREAMS_MAX + 1):
        node.want("a", stream=number, follow=True)
    frame = await node.hear()
    problem = f"the node serves {STREAMS_MAX} log streams already"
    assert frame == LogsEnd(STREAMS_MAX, [problem], ["a"])
    await node.streams.close()
