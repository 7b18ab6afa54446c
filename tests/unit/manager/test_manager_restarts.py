"""The restart policy as a pure step over one place's tasks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.restarts import PlaceStep, should_restart, tend
from swarmops.model.base import given
from swarmops.model.node import Availability, Node, NodeSpec, NodeState, NodeStatus
from swarmops.model.service import (
    ContainerSpec,
    RestartPolicy,
    Service,
    ServiceInternal,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import NodeTable

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = TaskState
SHUT = S.SHUTDOWN


def policy(**fields: object) -> TaskSpec:
    """Return a task template with this restart policy; durations in seconds."""
    for name in ("delay", "window"):
        if name in fields:
            fields[name] = int(fields[name] * 1e9)  # type: ignore[operator]
    restart = RestartPolicy(**fields)  # type: ignore[arg-type]
    return TaskSpec(container_spec=ContainerSpec(image="host"), restart_policy=restart)


def task(
    name: str = "a",
    state: TaskState = S.RUNNING,
    desired: TaskState = S.RUNNING,
    *,
    spec: TaskSpec | None = None,
    age_s: float = 100,
    version: int = 1,
    node_id: str = "n1",
    after_s: float | None = None,
) -> Task:
    """Return a task of slot 1, made ``age_s`` ago."""
    after = UNSET if after_s is None else NOW + timedelta(seconds=after_s)
    return Task(
        id=name,
        service_id="web",
        slot=1,
        node_id=node_id or UNSET,
        spec=spec or policy(),
        status=TaskStatus(state=state),
        desired_state=desired,
        created_at=NOW - timedelta(seconds=age_s),
        internal=TaskInternal(spec_version=version, restart_after=after),
    )


def decide(*tasks: Task, node: dict[str, object] | None = None, keep: bool = True) -> PlaceStep:
    """Step the place; n1 is as given, n2 is well."""
    nodes = NodeTable()
    node = node or {}
    state: NodeState = node.get("state", NodeState.READY)  # type: ignore[assignment]
    availability: Availability = node.get("availability", Availability.ACTIVE)  # type: ignore[assignment]
    if node.get("there", True):
        nodes.replace(
            "n1",
            Node(id="n1", spec=NodeSpec(availability=availability), status=NodeStatus(state=state)),
        )
    nodes.replace("n2", Node(id="n2", status=NodeStatus(state=NodeState.READY)))
    service = Service(
        id="web",
        spec=ServiceSpec(name="web", task_template=tasks[0].spec),
        internal=ServiceInternal(spec_version=1),
    )
    return tend(service, "1", tasks, nodes, now=NOW, rng=random.Random(1), keep=keep)


@pytest.mark.parametrize(
    ("condition", "state", "replaced"),
    [
        ("any", S.FAILED, True),
        ("any", S.COMPLETE, True),
        ("any", S.REJECTED, True),
        ("", S.COMPLETE, True),
        ("on-failure", S.FAILED, True),
        ("on-failure", S.REJECTED, True),
        ("on-failure", S.COMPLETE, False),
        ("none", S.FAILED, False),
        ("none", S.COMPLETE, False),
    ],
)
def test_the_condition_decides(condition: str, state: TaskState, replaced: bool) -> None:  # noqa: FBT001
    """An ended task shall be shut down in any case; the condition says whether one follows."""
    step = decide(task(state=state, spec=policy(condition=condition)))
    assert step.desire == [("a", SHUT)]
    assert bool(step.create) is replaced


@pytest.mark.parametrize(
    ("node", "state", "delay_s"),
    [
        ({}, S.FAILED, 5.0),
        ({"availability": Availability.DRAIN}, S.RUNNING, 0.0),
        ({"state": NodeState.DOWN}, S.RUNNING, None),
        ({"there": False}, S.RUNNING, None),
        ({"availability": Availability.DRAIN}, S.ASSIGNED, 0.0),
    ],
)
def test_the_delay_is_skipped_where_the_node_is_the_reason(
    node: dict[str, object], state: TaskState, delay_s: float | None
) -> None:
    """5 s after a failure; none after a drain; none and no waiting when the node is gone."""
    step = decide(task(state=state), node=node)
    [new] = step.create
    assert step.desire == [("a", SHUT)]
    after = given(new.internal, TaskInternal()).restart_after
    if delay_s is None:
        assert (new.desired_state, after) == (S.RUNNING, UNSET)
    else:
        assert new.desired_state is S.READY
        assert after == NOW + timedelta(seconds=delay_s)
    assert (new.slot, new.node_id, new.service_id) == (1, UNSET, "web")


@pytest.mark.parametrize(
    ("node", "state"), [({"availability": Availability.PAUSE}, S.RUNNING), ({}, S.RUNNING)]
)
def test_a_task_that_runs_on_a_living_node_is_left_alone(
    node: dict[str, object], state: TaskState
) -> None:
    """Pause, or nothing at all, changes nothing."""
    assert decide(task(state=state), node=node) == PlaceStep()


def test_condition_none_is_not_replaced_even_when_its_node_is_lost() -> None:
    """As Docker: the task is shut down, and that is all."""
    step = decide(task(spec=policy(condition="none")), node={"state": NodeState.DOWN})
    assert (step.desire, step.create) == ([("a", SHUT)], [])


def test_a_place_that_is_not_wanted_gets_no_replacement() -> None:
    """A global service's task on a node that no longer qualifies just ends."""
    step = decide(task(state=S.FAILED), keep=False)
    assert (step.desire, step.create) == ([("a", SHUT)], [])


OLD_RUNS = task("old", S.RUNNING, SHUT)
OLD_ENDED = task("old", S.SHUTDOWN, SHUT)


@pytest.mark.parametrize(
    ("old", "after_s", "age_s", "node", "promoted", "wake_s"),
    [
        (OLD_ENDED, 3.0, 2, {}, False, 3.0),
        (OLD_ENDED, 0.0, 5, {}, True, None),
        (OLD_ENDED, None, 0, {}, True, None),
        (OLD_RUNS, -1.0, 6, {}, False, 54.0),
        (OLD_RUNS, -1.0, 60, {}, True, None),
        (OLD_RUNS, -1.0, 6, {"state": NodeState.DOWN}, True, None),
        (OLD_RUNS, -1.0, 6, {"there": False}, True, None),
        (OLD_ENDED, 3605.0, -3600, {}, True, None),
        (OLD_RUNS, 3605.0, -3600, {}, False, 3660.0),
    ],
)
def test_a_replacement_waits_for_its_delay_and_for_the_old_task(  # noqa: PLR0917 - a table
    old: Task,
    after_s: float | None,
    age_s: float,
    node: dict[str, object],
    promoted: bool,  # noqa: FBT001
    wake_s: float | None,
) -> None:
    """It is promoted once both are over: at most 60 s for the old one, none for a dead node.

    One that was made an hour from now has waited for its delay: the clock was set back.
    """
    new = task("new", S.READY, S.READY, after_s=after_s, age_s=age_s, node_id="n2")
    step = decide(old, new, node=node)
    assert step.desire == ([("new", S.RUNNING)] if promoted else [])
    assert step.wake == (None if wake_s is None else NOW + timedelta(seconds=wake_s))


def moving(found: Task) -> Task:
    """Return the task as one that moved the task before it to another node."""
    return replace(found, internal=replace(given(found.internal, TaskInternal()), moves="before"))


def history(*ages_s: float, version: int = 1, **fields: object) -> list[Task]:
    """Return failed tasks of these ages, the oldest first."""
    return [
        task(f"t{i}", S.FAILED, SHUT, age_s=age_s, version=version, spec=policy(**fields))
        for i, age_s in enumerate(ages_s)
    ]


@pytest.mark.parametrize(
    ("tasks", "again"),
    [
        (history(9, max_attempts=2), True),
        (history(9, 5, max_attempts=2), True),
        (history(9, 5, 1, max_attempts=2), False),
        (history(9, 5, 1, max_attempts=0), True),
        (history(900, 500, 1, max_attempts=2, window=10), True),
        (history(900, 5, 1, max_attempts=2, window=10), False),
        ([*history(9, 8, 7), *history(1, version=2, max_attempts=2)], True),
    ],
)
def test_attempts_are_counted_within_the_window(tasks: Sequence[Task], again: bool) -> None:  # noqa: FBT001
    """The first task is no attempt; old ones and those of another spec don't count."""
    assert should_restart(tasks[-1], tasks, NOW) is again


@pytest.mark.parametrize(
    ("moved", "again"), [((), False), ((3,), True), ((1, 2, 3), True), ((0,), False)]
)
def test_a_move_is_no_attempt(moved: Sequence[int], again: bool) -> None:  # noqa: FBT001
    """Three attempts are used up by failures alone; the first task is none, whatever it did."""
    tasks = history(9, 5, 3, 1, max_attempts=3)
    tasks = [moving(each) if number in moved else each for number, each in enumerate(tasks)]
    assert should_restart(tasks[-1], tasks, NOW) is again


def test_of_two_live_tasks_in_a_slot_one_stays() -> None:
    """Whatever made the second one, the more advanced of equals is kept."""
    step = decide(task("a", S.PENDING, node_id=""), task("b", S.RUNNING))
    assert step.desire == [("a", SHUT)]
    assert not step.create


def test_start_first_keeps_the_old_task_until_the_new_one_runs() -> None:
    """Both live while the new one starts; then the old one goes."""
    old, new = task("old", version=1), task("new", S.STARTING, version=2, node_id="n2")
    assert decide(old, new) == PlaceStep()
    running = replace(new, status=TaskStatus(state=S.RUNNING))
    assert decide(old, running).desire == [("old", SHUT)]


def test_a_failed_newcomer_leaves_the_old_task_in_place() -> None:
    """Start-first: while the old task runs, the slot isn't empty, and nothing is added."""
    step = decide(task("old", version=1), task("new", S.FAILED, version=2))
    assert (step.desire, step.create) == ([("new", SHUT)], [])
