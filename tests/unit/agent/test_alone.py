"""While no manager answers: what ended is attempted again by its policy, and told as one life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.agent import alone
from swarmops.agent.alone import PATIENCE_S, next_attempt
from swarmops.agent.database import SqliteDatabase
from swarmops.agent.records import Attempts, Record
from swarmops.agent.vault import KEY_FILE, KeyFile
from swarmops.model.backoff import BACKOFF, BACKOFF_MAX
from swarmops.model.secret import Secret, SecretSpec
from swarmops.model.service import FileTarget, RestartPolicy, SecretReference
from swarmops.model.session import Assignments
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from tests.unit.agent.agent_bench import Bench, until
from tests.unit.agent.conftest import make_task, now

S = TaskState
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000
SOON = RestartPolicy(condition="any", delay=0)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Return an agent's surroundings, in which patience is short."""
    monkeypatch.setattr(alone, "PATIENCE_S", 0.05)
    made = Bench()
    yield made
    await made.stop()
    await made.manager.stop()


def record(state: TaskState, policy: dict[str, Any], **fields: Any) -> Record:
    """Return a task in a state, with its policy."""
    desired = fields.pop("desired_state", S.RUNNING)
    task = make_task(restart_policy=RestartPolicy(**policy), desired_state=desired)
    internal = TaskInternal(service_labels=fields.pop("labels", {}))
    task = replace(task, internal=internal)
    return Record(task, TaskStatus(state=state), "air", **fields)


AGO = Attempts([NOW - timedelta(seconds=30), NOW - timedelta(seconds=10)])


@pytest.mark.parametrize(
    ("state", "policy", "fields", "delay_s"),
    [
        (S.FAILED, {}, {}, PATIENCE_S),
        (S.COMPLETE, {}, {}, PATIENCE_S),
        (S.REJECTED, {"delay": 0}, {}, PATIENCE_S),
        (S.FAILED, {"delay": 9 * SECOND}, {}, 9),
        (S.FAILED, {"condition": "none"}, {}, None),
        (S.COMPLETE, {"condition": "on-failure"}, {}, None),
        (S.FAILED, {"condition": "on-failure"}, {}, PATIENCE_S),
        (S.COMPLETE, {}, {"desired_state": S.COMPLETE}, None),
        (S.FAILED, {}, {"desired_state": S.COMPLETE}, PATIENCE_S),
        (S.FAILED, {}, {"desired_state": S.SHUTDOWN}, None),
        (S.SHUTDOWN, {}, {}, None),
        (S.RUNNING, {}, {}, None),
        (S.FAILED, {}, {"assigned": False}, None),
        (S.FAILED, {"max_attempts": 2}, {"attempts": AGO}, None),
        (S.FAILED, {"max_attempts": 3}, {"attempts": AGO}, PATIENCE_S),
        (S.FAILED, {"max_attempts": 2, "window": 20 * SECOND}, {"attempts": AGO}, PATIENCE_S),
    ],
)
def test_the_policy_decides(
    state: TaskState, policy: dict[str, Any], fields: dict[str, Any], delay_s: float | None
):
    """Condition, delay, attempts and window, for services and jobs, as a manager would."""
    planned = next_attempt(record(state, policy, **fields), NOW)
    due = None if delay_s is None else NOW + timedelta(seconds=delay_s)
    assert (planned and planned.due) == due


@pytest.mark.parametrize(
    ("labels", "policy", "lives_s", "delays_s"),
    [
        ({}, {}, [1, 1, 1], [5, 5, 5, 5]),
        ({BACKOFF: "2"}, {}, [1, 1, 1], [5, 10, 20, 40]),
        ({BACKOFF: "3", BACKOFF_MAX: "1m"}, {}, [1, 1, 1], [5, 15, 45, 60]),
        ({BACKOFF: "2"}, {"delay": 8 * SECOND}, [1, 1], [8, 16, 32]),
        ({BACKOFF: "2", BACKOFF_MAX: "1m"}, {}, [1, 59, 61, 1], [5, 10, 20, 5, 10]),
        ({BACKOFF: "2"}, {"window": 2 * SECOND}, [3, 3], [5, 10, 20]),
        ({BACKOFF: "nonsense"}, {}, [1, 1], [5, 5, 5]),
    ],
)
def test_a_backoff_grows_without_managers_too(
    labels: dict[str, str], policy: dict[str, Any], lives_s: list[int], delays_s: list[int]
):
    """Up to its cap; what lived for longer than that begins anew."""
    known, now, seen = record(S.FAILED, policy, labels=labels), NOW, []
    for life_s in [*lives_s, None]:
        planned = next_attempt(known, now)
        assert planned is not None
        assert planned.due is not None
        seen.append((planned.due - now).total_seconds())
        attempts = Attempts([*planned.restarted, planned.due], delay_s=planned.delay_s)
        known = replace(known, attempts=attempts)
        now = planned.due + timedelta(seconds=life_s or 0)
    assert seen == delays_s


async def alone_with(bench: Bench, *tasks: Task) -> None:
    """Run the tasks, then take the manager away."""
    await bench.start(*tasks)
    for task in tasks:
        await bench.manager.reported(task, S.RUNNING)
    bench.manager.up = False
    bench.manager.cut()
    agent = bench.agent
    assert agent is not None
    await until(lambda: not agent.session_up)


def starts(bench: Bench, task: Task) -> int:
    """Return how often the task was started."""
    return bench.executor.calls.count(("start", task.id))


def running(bench: Bench, task: Task) -> Callable[[], bool]:
    """Return whether the agent sees the task run."""
    agent = bench.agent
    assert agent is not None
    return lambda: {each.id: each.status.state for each in agent.tasks()}[task.id] is S.RUNNING


async def test_a_task_that_ends_without_a_manager_is_attempted_again(bench: Bench):
    """Its former attempt is removed first; the manager never hears of the end."""
    task = make_task(restart_policy=SOON)
    await alone_with(bench, task)
    bench.executor.end(task, 3)
    await until(lambda: starts(bench, task) == 2)
    await until(running(bench, task))
    verbs = [verb for verb, _ in bench.executor.calls]
    assert verbs.index("remove") > verbs.index("start")
    bench.manager.up = True
    await bench.manager.until(lambda: bench.has_had(2))
    await bench.manager.until(lambda: len(bench.manager.history[task.id]) > 1)
    assert S.FAILED not in bench.manager.states(task)
    assert bench.manager.last(task).state is S.RUNNING
    bench.executor.end(task, 4)
    status = await bench.manager.reported(task, S.FAILED)
    assert status.err == "task: non-zero exit (4)"
    assert starts(bench, task) == 2


async def test_a_manager_that_returns_decides_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """An attempt whose turn has not come is given up, and the end reported."""
    monkeypatch.setattr(alone, "PATIENCE_S", 600.0)
    task = make_task(restart_policy=SOON)
    await alone_with(bench, task)
    bench.executor.end(task, 3)
    await until(lambda: bench.database._records[task.id].attempts.due is not None)
    bench.manager.up = True
    await bench.manager.reported(task, S.FAILED)
    assert bench.database._records[task.id].attempts.due is None
    assert starts(bench, task) == 1


async def test_what_a_manager_has_replaced_is_stopped(bench: Bench):
    """It thought the node dead: the attempt ends when it says so."""
    task = make_task(restart_policy=SOON)
    await alone_with(bench, task)
    bench.executor.end(task, 3)
    await until(lambda: starts(bench, task) == 2)
    bench.manager.tasks = [replace(task, desired_state=S.SHUTDOWN)]
    bench.manager.up = True
    await bench.manager.reported(task, S.SHUTDOWN)
    assert task.id not in bench.executor.running


async def test_attempts_are_limited(bench: Bench):
    """After max_attempts the task stays as it ended."""
    task = make_task(restart_policy=replace(SOON, max_attempts=1))
    await alone_with(bench, task)
    bench.executor.end(task, 3)
    await until(lambda: starts(bench, task) == 2)
    await until(running(bench, task))
    bench.executor.end(task, 3)
    await until(lambda: bench.database._records[task.id].status.state is S.FAILED)
    assert bench.database._records[task.id].attempts.due is None
    assert len(bench.database._records[task.id].attempts.restarted) == 1


async def test_a_restarted_daemon_without_a_manager_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """What was due is attempted; a task whose process was lost with the machine as well."""
    monkeypatch.setattr(alone, "PATIENCE_S", 600.0)
    task, other = make_task(restart_policy=SOON), make_task(restart_policy=SOON)
    await alone_with(bench, task, other)
    bench.executor.end(task, 3)
    await until(lambda: bench.database._records[task.id].attempts.due is not None)
    await bench.stop()
    known = bench.database._records[task.id]
    past = replace(known.attempts, due=NOW)
    bench.database._records[task.id] = replace(known, attempts=past)
    monkeypatch.setattr(alone, "PATIENCE_S", 0.05)
    bench.executor.end(other, 9)
    await bench.start()
    await until(lambda: starts(bench, task) == 2)
    await until(lambda: starts(bench, other) == 2)


async def test_a_clock_that_was_set_back_delays_no_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """A machine without a clock of its own begins in the past; only the delay is waited for."""
    monkeypatch.setattr(alone, "PATIENCE_S", 600.0)
    task = make_task(restart_policy=SOON)
    await alone_with(bench, task)
    bench.executor.end(task, 3)
    await until(lambda: bench.database._records[task.id].attempts.due is not None)
    await bench.stop()
    known = bench.database._records[task.id]
    planned = replace(known.attempts, due=now() + timedelta(days=1), delay_s=0.05)
    bench.database._records[task.id] = replace(known, attempts=planned)
    monkeypatch.setattr(alone, "PATIENCE_S", 0.05)
    await bench.start()
    await until(lambda: starts(bench, task) == 2)


async def test_an_end_that_nobody_decided_about_is_not_forgotten(bench: Bench):
    """Managers and daemon died together, after the task ended and before it was replaced."""
    task, over = make_task(restart_policy=SOON), make_task(restart_policy=SOON)
    await bench.start(task, over)
    for each in (task, over):
        await bench.manager.reported(each, S.RUNNING)
        bench.executor.end(each, 3)
        await bench.manager.reported(each, S.FAILED)
    bench.manager.up = False
    await bench.stop()
    records = bench.database._records
    assert records[task.id].attempts.due is None
    replaced = replace(records[over.id].task, desired_state=S.SHUTDOWN)
    records[over.id] = replace(records[over.id], task=replaced)
    await bench.start()
    await until(lambda: starts(bench, task) == 2)
    assert starts(bench, over) == 1


async def test_an_end_that_was_confirmed_is_the_managers(bench: Bench):
    """History is not brought back to life when the manager goes away."""
    task, end = make_task(restart_policy=SOON), make_task(restart_policy=SOON)
    await bench.start(task, end)
    await bench.manager.reported(task, S.RUNNING)
    await bench.manager.reported(end, S.RUNNING)
    bench.executor.end(end, 3)
    await bench.manager.reported(end, S.FAILED)
    agent = bench.agent
    assert agent is not None
    await until(lambda: not agent._outbox.holds(end.id))
    bench.manager.up = False
    bench.manager.cut()
    bench.executor.end(task, 3)
    await until(lambda: starts(bench, task) == 2)
    assert starts(bench, end) == 1


async def test_a_task_with_a_secret_is_attempted_again_after_a_restart(
    bench: Bench, tmp_path: Path
):
    """The daemon opens what it kept sealed: no manager is needed."""
    reference = SecretReference(secret_id="s1", secret_name="pw", file=FileTarget(name="pw"))
    task = make_task(restart_policy=SOON, secrets=[reference])
    secret = Secret(id="s1", spec=SecretSpec(name="pw", data="aHVudGVyMg=="))
    bench.sealer = KeyFile(tmp_path / KEY_FILE)
    await bench.start()
    channel = bench.manager.channel
    assert channel is not None
    channel.say(
        Assignments(
            complete=True,
            tasks=[task],
            removed=[],
            secrets=[secret],
            configs=[],
            dropped_dependencies=[],
        )
    )
    await bench.manager.reported(task, S.RUNNING)
    assert b"aHVudGVyMg" not in b"".join(bench.database._sealed.values())
    bench.manager.up = False
    await bench.stop()
    bench.executor.end(task, 9)
    await bench.start()
    await until(lambda: starts(bench, task) == 2)
    assert bench.executor.files[task.id] == [b"hunter2", b"hunter2"]


async def test_attempts_are_kept_in_the_database(tmp_path: Path):
    """With their times, for the window and the next turn."""
    database = SqliteDatabase(tmp_path / "tasks.db")
    await database.load()
    kept = replace(record(S.FAILED, {}), attempts=Attempts([NOW], NOW))
    database.put(kept)
    await database.close()
    database = SqliteDatabase(tmp_path / "tasks.db")
    assert await database.load() == [kept]
    await database.close()
