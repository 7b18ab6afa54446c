"""An agent and its tasks: what is assigned runs as it is wanted, and goes on over restarts."""

# ruff: noqa: F811 - arguments are the fixtures of the same names

from __future__ import annotations

import asyncio

import pytest
import structlog
from msgspec.structs import replace

from swarmops.agent.executors.base import Report, TaskError, TemporaryError
from swarmops.agent.records import MemoryDatabase
from swarmops.agent.work import Work
from swarmops.model.session import LogLines, LogQuery, LogsEnd, LogsWanted
from swarmops.model.task import ContainerStatus, TaskState
from tests.unit.agent.agent_bench import (
    Bench,
    bench,  # noqa: F401 - a fixture
    until,
)
from tests.unit.agent.conftest import make_task
from tests.unit.agent.fake_manager import AirExecutor

S = TaskState


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
