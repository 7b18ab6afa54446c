"""Tasks' output on its way through managers: merged, bounded, followed, and honest about gaps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.node import (
    ManagerStatus,
    Node,
    NodeDescription,
    NodeInternal,
    NodeState,
    NodeStatus,
)
from swarmops.model.session import (
    LOG_CREDIT_BYTES,
    Hello,
    LogFrame,
    LogLines,
    LogQuery,
    LogRecord,
    LogsAsked,
    LogsEnd,
    LogsMore,
    LogsStop,
    LogsWanted,
)
from swarmops.model.task import Task
from swarmops.store import Transaction
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual
from tests.unit.manager.test_manager_sessions import Line, task


def line(task_id: str, text: str, time_ns: int = 1) -> LogRecord:
    """Return a line of stdout."""
    return LogRecord(task_id, 1, time_ns, text.encode() + b"\n")


@contextlib.asynccontextmanager
async def swarm_of(*tasks: Task) -> AsyncIterator[Lab]:
    """Yield a swarm whose nodes a and b have sessions with nobody yet."""
    async with lab(managers=1, workers=0) as swarm:
        swarm.managers["m1"].on_leadership(False)
        await swarm.until(lambda: not swarm.managers["m1"].running_loops)
        tx = Transaction()
        for obj in (Node(id="a"), Node(id="b"), *tasks):
            tx.put(obj)
        await swarm.store.commit(tx)
        yield swarm


async def connect(swarm: Lab, node_id: str, session_id: str = "s1") -> Line:
    """Open the session of a node; returns once the manager has it."""
    session = Line(swarm, node_id)
    await session.say(Hello(NodeDescription(hostname=node_id), session_id, []))
    manager = swarm.managers["m1"]

    def known() -> bool:
        node = swarm.store.nodes[node_id]
        stored = given(node.internal, NodeInternal()).session_id
        return manager.dispatcher.logs_of(node_id) is not None and stored == session_id

    await swarm.until(known)
    return session


def reading(swarm: Lab, **query: Any) -> AsyncGenerator[LogFrame, None]:
    """Read the output of service s."""
    return swarm.managers["m1"].logs.read(
        lambda: list(swarm.store.tasks.by_service("s")), LogQuery(**query)
    )


async def texts(frames: AsyncGenerator[LogFrame, None], count: int) -> list[str]:
    """Return so many lines."""
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            frame = await anext(frames)
            assert isinstance(frame, LogLines), frame
            found += [record.data.decode().strip() for record in frame.records]
    return found


@virtual
async def test_output_of_all_nodes_is_merged_and_the_end_says_that_nothing_is_missing() -> None:
    """One stream for each node, with the tasks that are on it."""
    async with swarm_of(task("t1"), task("t2"), task("t3", node_id="b")) as swarm:
        a, b = await connect(swarm, "a"), await connect(swarm, "b")
        frames = reading(swarm, tail=7)
        got = asyncio.create_task(texts(frames, 2))
        for session, task_ids in ((a, {"t1", "t2"}), (b, {"t3"})):
            wanted = await session.expect(LogsWanted)
            assert set(wanted.task_ids) == task_ids
            assert wanted.query == LogQuery(tail=7)
            await session.say(LogLines(wanted.id, [line(max(task_ids), max(task_ids))]))
            await session.say(LogsEnd(wanted.id, []))
        assert sorted(await got) == ["t2", "t3"]
        assert await anext(frames) == LogsEnd(0, [])


@virtual
async def test_what_cannot_be_read_is_named_in_docker_s_words() -> None:
    """A node that is away, one that breaks, a task without node, and what a node itself says."""
    unplaced = replace(task("t3"), node_id="")
    async with swarm_of(task("t1"), task("t2", node_id="b"), unplaced) as swarm:
        a = await connect(swarm, "a")
        frames = reading(swarm)
        first = asyncio.ensure_future(anext(frames))
        await a.expect(LogsWanted)
        await a.near.close()
        end = await first
        assert isinstance(end, LogsEnd)
        assert set(end.problems) == {
            "task t3 has not been scheduled",
            "node b is not available",
            "node a disconnected unexpectedly",
        }


@pytest.mark.parametrize("follow", [False, True], ids=["read", "followed"])
@virtual
async def test_a_question_that_cannot_be_sent_ends_the_stream_in_words(*, follow: bool) -> None:
    """No fault of ours leaves a client waiting: it hears of it, and the log explains it."""
    async with swarm_of(task("t1")) as swarm:
        await connect(swarm, "a")
        frames = reading(swarm, follow=follow, since_ns=2**70)  # more than the session can say
        with structlog.testing.capture_logs() as logged:
            async with asyncio.timeout(60):
                told = [frame async for frame in frames]
        assert told == [LogsEnd(0, ["node a cannot be asked (OverflowError)"])]
        [entry] = logged
        assert (entry["event"], entry["node_id"]) == ("logs cannot be read", "a")


@virtual
async def test_a_reader_that_stands_still_costs_no_more_than_its_credit() -> None:
    """The agent gets credit back only for what was read."""
    async with swarm_of(task("t1")) as swarm:
        a = await connect(swarm, "a")
        frames = reading(swarm)
        first = asyncio.ensure_future(texts(frames, 1))
        wanted = await a.expect(LogsWanted)
        assert wanted.credit_bytes == LOG_CREDIT_BYTES
        block = line("t1", "x" * 10_000)
        for _ in range(12):
            await a.say(LogLines(wanted.id, [block]))
        await first
        given_back = 0
        with contextlib.suppress(TimeoutError):
            while True:
                given_back += (await a.expect(LogsMore)).credit_bytes
        assert given_back <= 6 * 10_100, "more than the bounded queue and what was read"


@virtual
async def test_an_agent_that_sends_without_credit_loses_the_stream_alone() -> None:
    """The session stands, and the reader is told."""
    async with swarm_of(task("t1")) as swarm:
        a = await connect(swarm, "a")
        intake = swarm.managers["m1"].dispatcher.logs_of("a")
        assert intake is not None
        frames = intake.read(["t1"], LogQuery())
        first = asyncio.ensure_future(anext(frames))
        wanted = await a.expect(LogsWanted)
        for _ in range(40):
            await a.say(LogLines(wanted.id, [line("t1", "x" * 10_000)]))
        seen = [await first, *[frame async for frame in frames]]
        assert seen[-1] == LogsEnd(wanted.id, ["the node sent more than was asked"])
        assert swarm.managers["m1"].dispatcher.logs_of("a") is intake


@virtual
async def test_closing_a_reader_stops_the_agent() -> None:
    """Nobody reads on for a client that went away."""
    async with swarm_of(task("t1")) as swarm:
        a = await connect(swarm, "a")
        frames = reading(swarm, follow=True)
        first = asyncio.ensure_future(texts(frames, 1))
        wanted = await a.expect(LogsWanted)
        await a.say(LogLines(wanted.id, [line("t1", "one")]))
        assert await first == ["one"]
        await frames.aclose()
        assert (await a.expect(LogsStop)).id == wanted.id


@virtual
async def test_a_follower_gets_new_tasks_and_goes_on_after_a_broken_session() -> None:
    """From where it broke; it ends when the service is gone."""
    async with swarm_of(task("t1")) as swarm:
        a = await connect(swarm, "a")
        frames = reading(swarm, follow=True, tail=0)
        got = asyncio.create_task(texts(frames, 1))
        wanted = await a.expect(LogsWanted)
        await a.say(LogLines(wanted.id, [line("t1", "one", 41)]))
        assert await got == ["one"]

        got = asyncio.create_task(texts(frames, 1))
        await a.near.close()
        a = await connect(swarm, "a", "s2")
        again = await a.expect(LogsWanted)
        assert again.query == LogQuery(follow=True, since_ns=42)
        await a.say(LogLines(again.id, [line("t1", "two", 43)]))
        assert await got == ["two"]

        got = asyncio.create_task(texts(frames, 1))
        tx = Transaction()
        tx.put(task("t2"))
        await swarm.store.commit(tx)
        new = await a.expect(LogsWanted)
        assert (new.task_ids, new.query.tail) == (["t2"], -1), "from its beginning"
        await a.say(LogLines(new.id, [line("t2", "three")]))
        assert await got == ["three"]

        end = asyncio.ensure_future(anext(frames))
        tx = Transaction()
        for each in list(swarm.store.tasks):
            tx.delete(each)
        await swarm.store.commit(tx)
        await a.say(LogsEnd(again.id, []), LogsEnd(new.id, []))
        assert await end == LogsEnd(0, [])


@virtual
async def test_another_manager_s_node_is_asked_through_that_manager() -> None:
    """By its address, and a manager that breaks is a node that disconnected."""
    async with swarm_of(task("t1")) as swarm:
        tx = Transaction()
        tx.put(Node(id="m9", manager_status=ManagerStatus(addr="10.0.0.9:2377")))
        held = replace(
            swarm.store.nodes["a"],
            status=NodeStatus(state=NodeState.READY),
            internal=NodeInternal(session_holder="m9", session_id="x"),
        )
        tx.put(held)
        await swarm.store.commit(tx)
        asked: list[tuple[str, LogsAsked]] = []

        async def fetch(addr: str, request: LogsAsked) -> AsyncGenerator[LogFrame, None]:
            asked.append((addr, request))
            yield LogLines(0, [line("t1", "far")])
            raise ConnectionError("gone")

        swarm.managers["m1"].logs.fetch = fetch
        frames = reading(swarm)
        assert await texts(frames, 1) == ["far"]
        assert await anext(frames) == LogsEnd(0, ["node a disconnected unexpectedly"])
        assert asked == [("10.0.0.9:2377", LogsAsked("a", ["t1"], LogQuery()))]
