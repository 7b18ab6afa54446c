"""An agent and a manager: what happens is reported until it is confirmed, however sessions end."""

# ruff: noqa: F811 - arguments are the fixtures of the same names

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from swarmops.agent import session
from swarmops.agent.session import SessionTiming, dial_patience_s, next_backoff_s
from swarmops.model.node import Node, NodeDescription
from swarmops.model.session import (
    Away,
    Described,
    Heartbeat,
    NodeChanged,
    Statuses,
    Welcome,
    encode,
)
from swarmops.model.task import TaskState
from tests.unit.agent.agent_bench import (
    TIMING,
    Bench,
    bench,  # noqa: F401 - a fixture
    until,
)
from tests.unit.agent.conftest import make_task
from tests.unit.agent.fake_manager import describe

S = TaskState


async def test_statuses_are_sent_again_until_confirmed(bench: Bench):
    """Without an acknowledgement the same statuses come again; with it, silence."""
    bench.manager.acknowledges = False
    task = make_task()
    await bench.start(task)

    def sent() -> list[Statuses]:
        return [frame for frame in bench.manager.frames if isinstance(frame, Statuses)]

    await bench.manager.until(lambda: len(sent()) >= 3)
    assert all(task.id in [each.task_id for each in frame.statuses] for frame in sent())
    bench.manager.acknowledges = True
    unconfirmed = len(sent())
    await bench.manager.until(lambda: len(sent()) > unconfirmed)
    await bench.manager.reported(task, S.RUNNING)
    count = len(bench.manager.history[task.id])
    beats = bench.manager.frames.count(Heartbeat())
    await bench.manager.until(lambda: bench.manager.frames.count(Heartbeat()) > beats + 5)
    assert len(bench.manager.history[task.id]) == count


async def test_statuses_that_fill_a_frame_go_in_several(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """However long errors are, no manager has to hang up for the size of a frame."""
    monkeypatch.setattr(session, "BATCH_BYTES_MAX", 1000)
    tasks = [make_task() for _ in range(20)]
    await bench.start(*tasks)
    for task in tasks:
        await bench.manager.reported(task, S.RUNNING)
    frames = [frame for frame in bench.manager.frames if isinstance(frame, Statuses)]
    assert max(len(encode(frame)) for frame in frames) <= 1000


async def test_every_session_hears_of_every_task(bench: Bench):
    """A new session brings a hello with all tasks and all their statuses, the old ones too."""
    task, ended = make_task(), make_task()
    await bench.start(task, ended)
    await bench.manager.reported(task, S.RUNNING)
    await bench.manager.reported(ended, S.RUNNING)
    bench.executor.end(ended, 1)
    await bench.manager.reported(ended, S.FAILED)
    bench.manager.history.clear()
    bench.manager.cut()
    await bench.manager.reported(task, S.RUNNING)
    await bench.manager.reported(ended, S.FAILED)
    first, second = bench.manager.hellos
    assert sorted(second.task_ids) == sorted([task.id, ended.id])
    assert first.session_id != second.session_id
    assert bench.executor.calls.count(("start", task.id)) == 1


async def test_a_daemon_that_is_restarted_says_so_and_dials_no_more(bench: Bench):
    """It tells for how long, waits until the manager hangs up, and ends; the tasks go on."""
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    assert bench.agent is not None
    stopping = asyncio.create_task(bench.agent.stop(back_within_s=30))
    await bench.manager.until(lambda: Away(30) in bench.manager.frames)
    assert not stopping.done()
    sessions = len(bench.manager.dials)
    bench.manager.cut()
    await stopping
    assert len(bench.manager.dials) == sessions
    assert list(bench.executor.running) == [task.id]


async def test_a_manager_that_ignores_a_leave_holds_nobody_up(bench: Bench):
    """The daemon ends after a bound."""
    await bench.start()
    assert bench.agent is not None
    async with asyncio.timeout(60):
        await bench.agent.stop(back_within_s=30)


async def test_heartbeats_keep_the_managers_period(bench: Bench):
    """The period is the manager's, also when it changes in the middle."""
    bench.manager.period_s = 30
    await bench.start()
    await bench.manager.until(lambda: bench.heard)
    assert Heartbeat() not in bench.manager.frames
    assert bench.manager.channel is not None
    bench.manager.period_s = 0.02
    bench.manager.cut()
    await bench.manager.until(lambda: bench.manager.frames.count(Heartbeat()) > 3)


async def test_news_of_the_node_reach_the_runtime(bench: Bench):
    """Welcome and NodeChanged are passed on; an error of the runtime costs no session."""
    await bench.start()
    await bench.manager.until(lambda: Heartbeat() in bench.manager.frames)
    assert bench.manager.channel is not None
    changed = NodeChanged(node=Node(id="node1"), managers=[], heartbeat_period_s=0.05, root_ca="x")
    bench.manager.channel.say(changed)
    beats = bench.manager.frames.count(Heartbeat())
    await bench.manager.until(lambda: bench.manager.frames.count(Heartbeat()) > beats + 1)
    assert [type(frame) for frame in bench.heard] == [Welcome, NodeChanged]


async def test_a_changed_machine_is_described_anew(bench: Bench):
    """A change of the machine is told within the session, and only a change."""
    await bench.start()
    await bench.manager.until(lambda: bench.heard)
    renamed = bench.machine = NodeDescription(hostname="renamed")
    await bench.manager.until(lambda: Described(renamed) in bench.manager.frames)
    assert sum(isinstance(frame, Described) for frame in bench.manager.frames) == 1


async def test_a_machine_that_cannot_be_described_for_once_costs_no_node(bench: Bench):
    """What an executor's look at its engine raises is no reason to look after no task any more."""
    await bench.start()
    looks = bench.looks
    bench.unclear = True
    await until(lambda: bench.looks > looks + 2)
    bench.unclear = False
    bench.machine = renamed = replace(await describe(), hostname="renamed")
    await bench.manager.until(lambda: Described(renamed) in bench.manager.frames)
    assert len(bench.manager.hellos) == 1


async def test_a_good_session_that_breaks_is_replaced_at_once(bench: Bench):
    """The death of a manager costs its agents no more than the shortest pause."""
    await bench.start()
    for sessions in (1, 2, 3):
        bench.manager.frames.clear()
        await bench.manager.until(lambda: bench.manager.frames.count(Heartbeat()) > 3)
        bench.manager.cut()
        await bench.manager.until(partial(bench.has_had, sessions + 1))
    assert bench.rng.pauses == [TIMING.backoff_step_s] * 3


async def test_a_shorter_period_is_kept_at_once(bench: Bench):
    """The manager counts by it from the next heartbeat on: that does not wait for the old one."""
    bench.manager.period_s = 3600.0
    await bench.start()
    while not bench.heard:  # noqa: ASYNC110 - the welcome, a few turns away
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)  # the first heartbeat's pause begins
    assert bench.manager.channel is not None
    bench.manager.channel.say(NodeChanged(Node(id="node1"), [], 0.05, ""))
    await bench.manager.until(lambda: bench.manager.frames.count(Heartbeat()) > 2)


def test_managers_that_refuse_are_dialled_ever_more_slowly():
    """The bound of the pauses grows as SwarmKit's: 0.1, 0.3, 0.7 … 8 s."""
    bounds, backoff_s = [], 0.0
    for _ in range(9):
        backoff_s = next_backoff_s(backoff_s, TIMING)
        bounds.append(round(backoff_s, 3))
    assert bounds == [0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 8.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("period_s", "patience_s"), [(0.5, 2.0), (1.0, 2.0), (2.5, 5.0), (5.0, 10.0), (60.0, 10.0)]
)
def test_the_rarer_the_heartbeats_the_longer_a_manager_may_take(period_s: float, patience_s: float):
    """Thousands dial at once when their manager dies; a dead machine's silence has an end too."""
    assert dial_patience_s(period_s, SessionTiming()) == patience_s


async def test_a_manager_that_thousands_dial_is_waited_for(bench: Bench):
    """Who gives up begins again, behind all others."""
    bench.timing = replace(TIMING, dial_timeout_s=0.1)
    bench.manager.period_s = 4.0
    dial, takes_s, given_up = bench.manager.dial, iter([0.0]), []

    async def busy() -> object:
        try:
            await asyncio.sleep(next(takes_s, 0.25))
        except asyncio.CancelledError:
            given_up.append(True)
            raise
        return await dial()

    bench.manager.dial = busy  # type: ignore[assignment, method-assign]
    await bench.start()
    await until(lambda: bool(bench.heard))
    bench.manager.cut()
    await bench.manager.until(partial(bench.has_had, 2))
    assert not given_up


async def test_a_manager_that_never_welcomes_is_left(bench: Bench):
    """A dead end is given up after the time allowed, and another manager dialled."""
    dial, silent = bench.manager.dial, iter([True])

    async def dead_end_first() -> object:
        channel = await dial()
        if next(silent, False):
            await bench.manager.stop()  # nobody reads this one
        return channel

    bench.manager.dial = dead_end_first  # type: ignore[assignment, method-assign]
    await bench.start()
    assert len(bench.manager.dials) == 2


async def test_a_manager_that_talks_nonsense_is_left(bench: Bench):
    """A frame that cannot be read ends the session, not the agent."""
    await bench.start()
    assert bench.manager.channel is not None
    bench.manager.channel.to_agent.put_nowait(b"\xff\xff nonsense")
    await bench.manager.until(lambda: len(bench.manager.hellos) == 2)
