"""A drain is over when nothing runs there; in vain, it says what still runs and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from swarmops.errors import SwarmopsError
from swarmops.fleet.drain import drain
from swarmops.fleet.waiting import Patience
from swarmops.model.node import Availability, NodeState
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.task import Task, TaskState, TaskStatus
from tests.unit.fleet_apply.test_oneoff import way

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

NOW_ONLY = Patience(bound_s=0)


@pytest.fixture
def two(fake: FakeSwarm) -> FakeSwarm:
    """Return a swarm of a manager and a worker with a service."""
    fake.add("h1", manager=True)
    fake.add("h2")
    fake.services["web"] = Service(id="s", spec=ServiceSpec(name="web"))
    return fake


def task(state: TaskState, node: str = "h2", slot: int = 1, err: str = "") -> Task:
    """Make a task."""
    status = TaskStatus(state=state, err=err)
    return Task(id=f"{node}{slot}", service_id="s", slot=slot, node_id=f"id-{node}", status=status)


@pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.STARTING, TaskState.ASSIGNED])
def test_in_vain(two: FakeSwarm, state: TaskState) -> None:
    """A node is not drained while a task of it has not ended, and the task is named."""
    two.tasks = [task(state), task(TaskState.SHUTDOWN, slot=2)]
    with pytest.raises(
        SwarmopsError,
        match=rf"after 0 s h2 still has web.1 \({state.value}\); the swarm goes on draining",
    ):
        drain(way(two, "h1"), ["h2"], NOW_ONLY)


def test_in_vain_for_want_of_another_node(two: FakeSwarm) -> None:
    """A task that stays until its replacement runs is told with what that one waits for."""
    two.tasks = [task(TaskState.RUNNING), task(TaskState.PENDING, "", err="no suitable node")]
    with pytest.raises(
        SwarmopsError, match=r"web.1 \(running\); web.1 waits for its replacement: no suitable node"
    ):
        drain(way(two, "h1"), ["h2"], NOW_ONLY)


def test_done(two: FakeSwarm) -> None:
    """All nodes are drained at once, and what had to go and runs nowhere is named."""
    node = two.add("h3", availability=Availability.DRAIN)
    two.tasks = [task(TaskState.SHUTDOWN), task(TaskState.FAILED, slot=2)]
    two.tasks += [
        task(TaskState.PENDING, "", slot=2, err="no suitable node (1 node not available)")
    ]
    first, second = drain(way(two, "h1"), ["h2", "h3"], NOW_ONLY)
    assert (first.name, first.changed) == ("h2", True)
    assert first.warnings == ["web.2 runs nowhere: no suitable node (1 node not available)"]
    assert (second.name, second.changed) == ("h3", False)
    assert two.nodes[node.id].spec.availability is Availability.DRAIN


def test_of_a_dead_node_nothing_is_waited_for(two: FakeSwarm) -> None:
    """Nobody knows what it does; that is said."""
    two.add("h2", state=NodeState.DOWN)
    two.tasks = [task(TaskState.RUNNING)]
    [done] = drain(way(two, "h1"), ["h2"], NOW_ONLY)
    assert done.changed
    assert "h2 is down" in done.warnings[0]


def test_without_waiting(two: FakeSwarm) -> None:
    """The wish alone is enough."""
    two.tasks = [task(TaskState.RUNNING)]
    [done] = drain(way(two, "h1"), ["h2"], None)
    assert (done.changed, done.warnings) == (True, [])


def test_progress_is_told_when_it_changes(two: FakeSwarm) -> None:
    """Each state of the wait is said once."""
    said: list[str] = []
    two.tasks = [task(TaskState.RUNNING), task(TaskState.RUNNING, slot=2)]

    def sleep(_: float) -> None:
        if len(said) == 1 and len(two.tasks) == 2:
            two.tasks = two.tasks[:1]
        elif len(said) == 2:
            two.tasks = []

    looking: Any = Patience(bound_s=5, period_s=0, sleep=sleep)
    drain(way(two, "h1"), ["h2"], looking, said.append)
    assert said == ["h2 still has web.1 (running), web.2 (running)", "h2 still has web.1 (running)"]
