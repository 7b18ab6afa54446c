"""A task's life is a table: one state a step, only forward, Docker's words."""

from __future__ import annotations

import pytest

from swarmops.agent.executors.base import Exit
from swarmops.agent.steps import ERROR_CHARS_MAX, Verb, ended, failed, moved, next_step
from swarmops.model.task import ContainerStatus, TaskState, TaskStatus
from tests.unit.agent.conftest import now

S = TaskState
ALL = [(observed, desired) for observed in S for desired in S]
LIFE = [
    (S.ASSIGNED, Verb.NOTHING, S.ACCEPTED, "accepted"),
    (S.ACCEPTED, Verb.NOTHING, S.PREPARING, "preparing"),
    (S.PREPARING, Verb.PREPARE, S.READY, "prepared"),
    (S.READY, Verb.NOTHING, S.STARTING, "starting"),
    (S.STARTING, Verb.START, S.RUNNING, "started"),
    (S.RUNNING, Verb.WAIT, S.COMPLETE, "finished"),
]


@pytest.mark.parametrize(("observed", "verb", "to", "message"), LIFE)
@pytest.mark.parametrize("desired", [S.RUNNING, S.COMPLETE])
def test_a_wanted_task_takes_each_step_of_its_life(
    observed: TaskState, verb: Verb, to: TaskState, message: str, desired: TaskState
):
    """Towards RUNNING (services) and COMPLETE (jobs) the steps are the same."""
    step = next_step(observed, desired)
    assert step is not None
    assert (step.verb, step.to, step.message) == (verb, to, message)


@pytest.mark.parametrize("observed", [S.ASSIGNED, S.ACCEPTED, S.PREPARING, S.READY])
def test_a_replacement_in_waiting_stops_at_ready(observed: TaskState):
    """While the desired state is READY the task is prepared, but not started."""
    step = next_step(observed, S.READY)
    assert (step is None) == (observed is S.READY)


@pytest.mark.parametrize("observed", [S.ASSIGNED, S.PREPARING, S.READY, S.STARTING, S.RUNNING])
@pytest.mark.parametrize("desired", [S.SHUTDOWN, S.REMOVE])
def test_an_unwanted_task_is_stopped_from_any_state(observed: TaskState, desired: TaskState):
    """SHUTDOWN and REMOVE stop a task wherever it is."""
    step = next_step(observed, desired)
    assert step is not None
    assert (step.verb, step.to) == (Verb.STOP, S.SHUTDOWN)


@pytest.mark.parametrize(("observed", "desired"), ALL)
def test_no_step_leads_backwards_and_an_ended_task_takes_none(
    observed: TaskState, desired: TaskState
):
    """Whatever is wanted, states only go forward, and the end is the end."""
    step = next_step(observed, desired)
    if observed.terminal:
        assert step is None
    elif step is not None:
        assert step.to.rank > observed.rank


@pytest.mark.parametrize(
    ("observed", "to"),
    [
        (S.ASSIGNED, S.REJECTED),
        (S.PREPARING, S.REJECTED),
        (S.READY, S.REJECTED),
        (S.STARTING, S.FAILED),
        (S.RUNNING, S.FAILED),
    ],
)
def test_an_error_rejects_before_the_start_and_fails_after_it(observed: TaskState, to: TaskState):
    """Docker's rule, by which the orchestrator tells bad nodes from bad tasks."""
    status = failed(TaskStatus(state=observed, message="as it was"), "boom", now())
    assert (status.state, status.err, status.message) == (to, "boom", "as it was")


@pytest.mark.parametrize(
    ("code", "error", "state", "err"),
    [
        (0, "", S.COMPLETE, None),
        (3, "", S.FAILED, "task: non-zero exit (3)"),
        (137, "OOM", S.FAILED, "task: non-zero exit (137): OOM"),
    ],
)
def test_the_exit_code_decides_how_a_task_ended(
    code: int, error: str, state: TaskState, err: str | None
):
    """0 is COMPLETE also for services; anything else FAILED, in Docker's words."""
    end = Exit(code, ContainerStatus(exit_code=code), error)
    status = ended(TaskStatus(state=S.RUNNING, message="started"), end, now())
    assert (status.state, status.err or None) == (state, err)
    assert status.container_status == end.container


def test_an_error_is_told_up_to_a_bound():
    """A command of a megabyte that isn't found need not be told in full."""
    status = failed(TaskStatus(state=S.RUNNING), "x" * 1_000_000, now())
    assert status.err == "x" * ERROR_CHARS_MAX + "…"
    assert failed(status, "x" * ERROR_CHARS_MAX, now()).err == "x" * ERROR_CHARS_MAX


def test_progress_clears_an_old_error():
    """A step that succeeds leaves no error of an earlier attempt."""
    step = next_step(S.PREPARING, S.RUNNING)
    assert step is not None
    status = moved(TaskStatus(state=S.PREPARING, err="old"), step, now())
    assert (status.state, bool(status.err)) == (S.READY, False)
