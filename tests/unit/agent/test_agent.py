"""An agent and a manager: what is assigned runs, what happens is reported until it is confirmed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import structlog
from msgspec.structs import replace

from swarmops.agent import leaving, runner, session
from swarmops.agent.agent import Agent
from swarmops.agent.executors.base import Report, TaskError, TemporaryError
from swarmops.agent.records import MemoryDatabase
from swarmops.agent.session import SessionTiming, dial_patience_s, next_backoff_s
from swarmops.agent.vault import Sealer
from swarmops.agent.work import Work
from swarmops.model.node import Node, NodeDescription
from swarmops.model.service import PortConfig
from swarmops.model.session import (
    Away,
    Described,
    Heartbeat,
    LogLines,
    LogQuery,
    LogsEnd,
    LogsWanted,
    NodeChanged,
    Statuses,
    Welcome,
    encode,
)
from swarmops.model.task import ContainerStatus, Task, TaskState
from tests.unit.agent.conftest import make_task, now
from tests.unit.agent.fake_manager import SOMEWHERE, AirExecutor, FakeManager, describe

S = TaskState
TIMING = SessionTiming(resend_s=0.1, describe_s=0.05, welcome_timeout_s=0.5, steady_s=0.05)


class Draws(random.Random):
    """Draws that remember how long a pause before the next session could have been."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.pauses: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        """Draw a pause in seconds; before a session it is any from none at all."""
        if a == 0:
            self.pauses.append(b)
        return super().uniform(a, b)


class Bench:
    """One agent with its manager and executor; ``again`` starts the daemon anew."""

    def __init__(self) -> None:
        self.manager = FakeManager()
        self.executor = AirExecutor()
        self.newer: dict[str, AirExecutor] = {}
        self.database = MemoryDatabase()
        self.sealer: Sealer | None = None
        self.heard: list[Welcome | NodeChanged] = []
        self.rng = Draws(1)
        self.timing = TIMING
        self.machine: NodeDescription | None = None
        self.looks = 0
        self.unclear = False
        self.agent: Agent | None = None
        self.running: asyncio.Task[None] | None = None

    async def start(self, *tasks: Task) -> None:
        """Start the agent with these tasks assigned, and wait for its session."""
        self.manager.tasks = list(tasks)
        sessions = len(self.manager.hellos)
        self.agent = Agent(
            node_id="node1",
            dial=self.manager.dial,
            data_dir=SOMEWHERE,
            executors={**self.newer, "air": self.executor},
            describe=self._describe,
            node_addr="10.0.0.1",
            on_node=self.heard.append,
            now=now,
            rng=self.rng,
            database=self.database,
            sealer=self.sealer,
            timing=self.timing,
        )
        self.running = asyncio.create_task(self.agent.run())
        if self.manager.up:
            await self.manager.until(lambda: len(self.manager.hellos) > sessions)

    async def stop(self) -> None:
        """Stop the daemon; what it ran goes on."""
        if self.agent is not None and self.running is not None:
            await self.agent.stop()
            await self.running
            await self.agent.close()
            self.agent = None

    async def again(self, *tasks: Task) -> None:
        """Restart the daemon."""
        await self.stop()
        await self.start(*tasks)

    def known(self) -> set[str]:
        """Return the tasks in the database."""
        return set(self.database._records)

    def has_had(self, sessions: int) -> bool:
        """Whether the agent has begun so many sessions."""
        return len(self.manager.hellos) >= sessions

    async def _describe(self) -> NodeDescription:
        self.looks += 1
        if self.unclear:
            raise TemporaryError("the engine hung up")
        return self.machine or await describe()


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for a condition that no frame tells of."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Return an agent's surroundings; nothing is left of them afterwards."""
    monkeypatch.setattr(runner, "RETRY_S", 0.01)
    made = Bench()
    yield made
    await made.stop()
    await made.manager.stop()


async def test_an_assigned_task_comes_to_run_and_complete(bench: Bench):
    """Each state is passed once, in order, with Docker's message; exit 0 is COMPLETE."""
    task = make_task()
    await bench.start(task)
    status = await bench.manager.reported(task, S.RUNNING)
    assert status.message == "started"
    bench.executor.end(task, 0)
    status = await bench.manager.reported(task, S.COMPLETE)
    assert status.message == "finished"
    ranks = [state.rank for state in bench.manager.states(task)]
    assert ranks == sorted(ranks)
    assert [verb for verb, _ in bench.executor.calls] == ["prepare", "start", "healthy"]


async def test_a_failing_task_is_reported_with_its_code(bench: Bench):
    """Another exit code is FAILED."""
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.executor.end(task, 3)
    status = await bench.manager.reported(task, S.FAILED)
    assert (status.message, status.err) == ("started", "task: non-zero exit (3)")


async def test_the_log_tells_a_tasks_life_with_the_ids_to_search_by(bench: Bench):
    """That it runs and how it ended; what is between is for the level debug."""
    task = make_task()
    with structlog.testing.capture_logs() as logs:
        await bench.start(task)
        await bench.manager.reported(task, S.RUNNING)
        bench.executor.end(task, 3)
        await bench.manager.reported(task, S.FAILED)
    told = [entry for entry in logs if entry.get("task") == task.id]
    ids = {"task": task.id, "service": task.service_id, "node": "node1"}
    assert all(entry.items() >= ids.items() for entry in told)
    assert [entry["event"] for entry in told if entry["log_level"] == "info"] == [
        "task running",
        "task failed",
    ]
    assert told[-1]["error"] == "task: non-zero exit (3)"


@pytest.mark.parametrize(
    ("container", "err"),
    [
        ({"image": "none"}, "no executor of this node"),
        ({"env": ["A={{.No.Such}}"]}, "template {{.No.Such}} is unknown"),
    ],
)
async def test_a_task_that_cannot_run_here_is_rejected(
    bench: Bench, container: dict[str, object], err: str
):
    """What is wrong before the start rejects the task, with the reason."""
    task = make_task(**container)
    await bench.start(task)
    status = await bench.manager.reported(task, S.REJECTED)
    assert err in str(status.err)
    assert status.message == "preparing"


async def test_a_task_waits_ready_until_it_is_wanted_running(bench: Bench):
    """Desired READY stops before the start; RUNNING goes on from there."""
    task = make_task(desired_state=S.READY)
    await bench.start(task)
    await bench.manager.reported(task, S.READY)
    assert bench.executor.calls == [("prepare", task.id)]
    bench.manager.assign(replace(task, desired_state=S.RUNNING))
    await bench.manager.reported(task, S.RUNNING)


@pytest.mark.parametrize("desired", [S.SHUTDOWN, S.REMOVE])
async def test_an_unwanted_task_is_stopped_as_its_spec_says(bench: Bench, desired: TaskState):
    """Signal and grace are the spec's, and the end is SHUTDOWN whatever the exit code."""
    task = make_task(stop_signal="SIGINT", stop_grace_period=2_000_000_000)
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.manager.assign(replace(task, desired_state=desired))
    status = await bench.manager.reported(task, S.SHUTDOWN)
    assert status.message == "shutdown"
    assert bench.executor.calls[-1] == ("stop SIGINT 2", task.id)


async def test_a_preparation_that_is_no_longer_wanted_is_broken_off(bench: Bench):
    """A slow pull does not hold up a shutdown."""
    bench.executor.gate.clear()
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.PREPARING)
    bench.manager.assign(replace(task, desired_state=S.SHUTDOWN))
    await bench.manager.reported(task, S.SHUTDOWN)
    assert ("start", task.id) not in bench.executor.calls


class FullDisk(MemoryDatabase):
    """Records that nobody would find again."""

    async def flush(self) -> None:
        """Wait for room that doesn't come."""
        await asyncio.Event().wait()


async def test_a_full_disk_holds_up_no_shutdown(bench: Bench):
    """A task that may not be begun, since it can't be written down, is not waited for."""
    bench.database = FullDisk()
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.PREPARING)
    bench.manager.assign(replace(task, desired_state=S.SHUTDOWN))
    await bench.manager.reported(task, S.SHUTDOWN)
    assert ("prepare", task.id) not in bench.executor.calls


async def test_an_earlier_desired_state_changes_nothing(bench: Bench):
    """A manager's older news cannot bring a task back."""
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.manager.assign(replace(task, desired_state=S.SHUTDOWN))
    await bench.manager.reported(task, S.SHUTDOWN)
    bench.manager.assign(task)
    other = make_task()
    bench.manager.assign(other)
    await bench.manager.reported(other, S.RUNNING)
    assert bench.manager.last(task).state is S.SHUTDOWN
    assert [verb for verb, task_id in bench.executor.calls if task_id == task.id][-1] == (
        "stop SIGTERM 10"
    )


async def test_an_engine_that_is_away_for_a_moment_fails_no_task(bench: Bench):
    """A temporary error is tried again."""
    bench.executor.away = 3
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    assert bench.executor.calls.count(("start", task.id)) == 4


async def test_what_fails_while_it_may_run_is_stopped_before_its_end_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """An engine's error is not the end of the container, and its replacement must be alone."""
    waited, started = make_task(), make_task()
    await bench.start(waited)
    await bench.manager.reported(waited, S.RUNNING)
    bench.executor.running[waited.id].set_exception(TaskError("the engine is out of order"))
    status = await bench.manager.reported(waited, S.FAILED)
    assert status.err == "the engine is out of order"
    assert bench.executor.stopped == {waited.id}

    async def report(work: Work) -> Report:
        del work
        raise TaskError("the engine is out of order")

    monkeypatch.setattr(bench.executor, "report", report)
    bench.manager.assign(started)
    await bench.manager.reported(started, S.FAILED)
    assert bench.executor.stopped == {waited.id, started.id}


async def test_a_failed_task_that_cannot_be_stopped_yet_has_not_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """While the engine is away nobody knows, so the question is asked again."""
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    stop, refusals = bench.executor.stop, iter([True, True])

    async def stop_later(work: Work, signal: str, grace_s: float) -> ContainerStatus:
        if next(refusals, False):
            raise TemporaryError("the engine is away")
        return await stop(work, signal, grace_s)

    monkeypatch.setattr(bench.executor, "stop", stop_later)
    bench.executor.running[task.id].set_exception(TaskError("the engine is out of order"))
    await bench.manager.reported(task, S.FAILED)
    assert next(refusals, None) is None
    assert bench.executor.stopped == {task.id}


@pytest.mark.parametrize("how", ["removed", "complete"])
async def test_what_the_manager_no_longer_lists_is_removed(bench: Bench, how: str):
    """Named as removed, or missing in a complete list: stopped, removed, forgotten."""
    task, kept = make_task(), make_task()
    await bench.start(task, kept)
    await bench.manager.reported(task, S.RUNNING)
    await bench.manager.reported(kept, S.RUNNING)
    if how == "removed":
        bench.manager.assign(removed=[task.id])
    else:
        bench.manager.assign(kept, complete=True)
    await until(lambda: bench.known() == {kept.id})
    verbs = [verb for verb, task_id in bench.executor.calls if task_id == task.id]
    assert verbs[-2:] == ["stop SIGTERM 10", "remove"]
    assert kept.id in bench.executor.running
    assert bench.agent is not None
    assert [t.id for t in bench.agent.tasks()] == [kept.id]


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


async def test_a_restarted_daemon_goes_on_with_its_tasks(bench: Bench):
    """Running tasks are waited for again, and what ended meanwhile is reported."""
    task, other, waiting = make_task(), make_task(), make_task(desired_state=S.READY)
    tasks = (task, other, waiting)
    await bench.start(*tasks)
    await bench.manager.reported(task, S.RUNNING)
    await bench.manager.reported(other, S.RUNNING)
    await bench.manager.reported(waiting, S.READY)
    await bench.stop()
    bench.executor.end(other, 5)
    bench.manager.history.clear()
    await bench.start(*tasks)
    assert (await bench.manager.reported(other, S.FAILED)).err == "task: non-zero exit (5)"
    assert bench.manager.states(task) == [S.RUNNING]
    assert bench.manager.states(waiting) == [S.READY]
    assert bench.executor.calls.count(("start", task.id)) == 1


async def test_tasks_go_on_while_no_manager_answers(bench: Bench):
    """A daemon that starts alone takes its tasks through their lives, and reports later."""
    task = make_task()
    bench.executor.gate.clear()
    await bench.start(task)
    await bench.manager.reported(task, S.PREPARING)
    await bench.stop()
    bench.manager.up = False
    bench.executor.gate.set()
    await bench.start(task)
    await until(lambda: task.id in bench.executor.running)
    bench.executor.end(task, 0)
    bench.manager.up = True
    await bench.manager.reported(task, S.COMPLETE)


async def test_a_removal_survives_a_restart(bench: Bench):
    """A task that was dropped just before the daemon died is removed by the next one."""
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    await bench.stop()
    (record,) = await bench.database.load()
    bench.database.put(replace(record, assigned=False))
    bench.manager.history.clear()
    await bench.start()
    await until(lambda: not bench.known())
    assert task.id not in bench.executor.running
    assert task.id not in bench.manager.history


async def test_a_running_task_that_is_unknown_here_has_failed(bench: Bench):
    """After a lost disk a task that should run does not: it is reported, never started twice."""
    task = make_task()
    task = replace(task, status=replace(task.status, state=S.RUNNING))
    await bench.start(task)
    status = await bench.manager.reported(task, S.FAILED)
    assert status.err
    assert ("start", task.id) not in bench.executor.calls


async def test_leaving_removes_every_task(bench: Bench):
    """On leave all tasks are stopped and removed, and the database is empty."""
    tasks = [make_task(), make_task()]
    await bench.start(*tasks)
    for task in tasks:
        await bench.manager.reported(task, S.RUNNING)
    assert bench.agent is not None
    await bench.agent.remove_tasks()
    assert bench.executor.running == {}
    assert await bench.database.load() == []


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


async def test_a_task_runs_once_it_is_healthy(bench: Bench):
    """STARTING lasts until the executor says so; where it listens is known by then."""
    bench.executor.health.clear()
    bench.executor.warning = "without its limits"
    task = make_task(ports=[PortConfig(target_port=80, published_port=4711)])
    await bench.start(task)
    await bench.manager.until(lambda: ("healthy", task.id) in bench.executor.calls)
    await bench.manager.reported(task, S.STARTING)
    await bench.manager.until(lambda: bench.manager.last(task).port_status.ports)
    assert bench.manager.last(task).state is S.STARTING
    bench.executor.health.set()
    status = await bench.manager.reported(task, S.RUNNING)
    assert status.message == "started, without its limits"
    assert status.port_status.ports == [PortConfig(target_port=80, published_port=4711)]


async def test_a_task_that_starts_unhealthy_fails(bench: Bench):
    """It never was RUNNING, and the error has Docker's words."""
    bench.executor.ill = "dockerexec: unhealthy container"
    task = make_task()
    await bench.start(task)
    status = await bench.manager.reported(task, S.FAILED)
    assert status.err == "task: non-zero exit (143): dockerexec: unhealthy container"
    assert ("stop SIGTERM 10", task.id) in bench.executor.calls
    assert S.RUNNING not in bench.manager.states(task)


async def test_an_unhealthy_task_gets_no_new_connections_while_it_is_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """The swarm hears that it has no ports any more, and then has time to tell every node."""
    monkeypatch.setattr(leaving, "LEAVE_S_MAX", 0.5)
    task = make_task(ports=[PortConfig(target_port=80, published_port=4711)])
    await bench.start(task)
    assert (await bench.manager.reported(task, S.RUNNING)).port_status.ports
    bench.executor.sicken(task, "unhealthy task")
    await bench.manager.until(lambda: not bench.manager.last(task).port_status.ports)
    assert bench.manager.last(task).state is S.RUNNING
    assert bench.executor.calls[-1] == ("healthy", task.id)
    status = await bench.manager.reported(task, S.FAILED)
    assert status.err == "task: non-zero exit (143): unhealthy task"
    assert bench.executor.calls[-1] == ("stop SIGTERM 10", task.id)


async def test_an_unhealthy_task_that_no_table_has_is_stopped_at_once(bench: Bench):
    """Its port in host mode is its own, and is shown until it has ended."""
    port = PortConfig(target_port=80, published_port=4711, publish_mode="host")
    task = make_task(ports=[port])
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.executor.sicken(task, "unhealthy task")
    status = await bench.manager.reported(task, S.FAILED, within_s=leaving.LEAVE_S_MAX / 2)
    assert status.port_status.ports == [port]


async def test_a_daemon_that_dies_before_it_stops_an_unhealthy_task_tests_it_anew(bench: Bench):
    """Whatever comes of that: it is known where the task listens."""
    task = make_task(ports=[PortConfig(target_port=80, published_port=4711)])
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.executor.sicken(task, "unhealthy task")
    await bench.manager.until(lambda: not bench.manager.last(task).port_status.ports)
    await bench.stop()
    bench.executor.running[task.id] = asyncio.get_running_loop().create_future()
    await bench.start(task)
    await bench.manager.until(lambda: bench.manager.last(task).port_status.ports)
    assert bench.manager.last(task).state is S.RUNNING


@pytest.mark.parametrize(
    ("mode", "period_s", "wait_s"),
    [
        ("ingress", 1.0, 0.25),
        ("ingress", 5.0, 1.25),
        ("ingress", 30.0, 2.0),
        ("host", 5.0, 0.0),
    ],
)
def test_the_more_nodes_have_a_table_the_longer_a_task_is_left_running(
    mode: str, period_s: float, wait_s: float
):
    """The heartbeats' period says how many there are; nobody's table has a port in host mode."""
    task = make_task(ports=[PortConfig(target_port=80, publish_mode=mode)])
    assert leaving.leave_s(task, period_s) == wait_s


async def test_a_task_that_is_not_yet_healthy_can_be_stopped(bench: Bench):
    """A shutdown does not wait for health."""
    bench.executor.health.clear()
    task = make_task()
    await bench.start(task)
    await bench.manager.until(lambda: ("healthy", task.id) in bench.executor.calls)
    bench.manager.assign(replace(task, desired_state=S.SHUTDOWN))
    await bench.manager.reported(task, S.SHUTDOWN)


async def test_output_comes_from_what_ran_the_task(bench: Bench):
    """Even where another executor, installed since, would take its image first."""
    task = make_task()
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.newer = {"newer": AirExecutor()}
    bench.newer["newer"].voice = "I know nothing of"
    await bench.again(task)
    assert bench.manager.channel is not None
    bench.manager.channel.say(LogsWanted(1, [task.id], LogQuery(), 1 << 20))
    frames = bench.manager.frames
    await bench.manager.until(lambda: any(isinstance(frame, LogsEnd) for frame in frames))
    (lines,) = [frame for frame in frames if isinstance(frame, LogLines)]
    assert [record.data for record in lines.records] == [f"web.2.{task.id} -1\n".encode()]
