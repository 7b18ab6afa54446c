"""Tasks of nodes that are down for a day, or gone, are given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from swarmops.manager.orphans import Orphans
from swarmops.manager.timing import ManagerTiming
from swarmops.model.node import Node, NodeInternal, NodeState, NodeStatus
from swarmops.model.task import ContainerStatus, Task, TaskState, TaskStatus
from swarmops.store import Store, Transaction

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(hours=24)
MINUTE = timedelta(minutes=1)
RAN = ContainerStatus(container_id="c")
STATES = (TaskState.ASSIGNED, TaskState.RUNNING, TaskState.FAILED, TaskState.COMPLETE)
GIVEN_UP = [TaskState.ORPHANED, TaskState.ORPHANED, TaskState.FAILED, TaskState.COMPLETE]


def down_for(time: timedelta, *, state: NodeState = NodeState.DOWN) -> Store:
    """Return a store with a node in that state, and four tasks on it."""
    store = Store(now=lambda: NOW)
    tx = Transaction()
    internal = NodeInternal(down_since=NOW - time)
    tx.put(Node(id="n", status=NodeStatus(state=state), internal=internal))
    for number, each in enumerate(STATES):
        status = TaskStatus(state=each, container_status=RAN)
        tx.put(Task(id=f"t{number}", service_id="web", node_id="n", status=status))
    store.apply(1, tx.encode(NOW))
    return store


def step(store: Store, keys: list[str], now: datetime = NOW) -> datetime | None:
    """Let a leader that has just begun decide; return when it wants to look again."""
    found = Orphans(ManagerTiming()).step(store, keys, now)
    store.apply(store.applied + 1, found.tx.encode(now))
    return found.wake.get("n")


def states(store: Store) -> list[TaskState]:
    """Return the states of the tasks."""
    return [store.tasks[f"t{number}"].status.state for number in range(len(STATES))]


@pytest.mark.parametrize(
    ("time", "wake", "after"),
    [
        (MINUTE, NOW + DAY - MINUTE, [*STATES]),
        (DAY - MINUTE, NOW + MINUTE, [*STATES]),
        (DAY, None, GIVEN_UP),
        (2 * DAY, None, GIVEN_UP),
    ],
)
def test_a_day_of_silence_ends_what_had_not_ended(
    time: timedelta, wake: datetime | None, after: list[TaskState]
) -> None:
    """Not a minute earlier; whoever leads by then finds the node, and the time, in the store."""
    store = down_for(time)
    found = [key for key in Orphans(ManagerTiming()).reset(store) if key]
    assert found == ["n"]
    assert step(store, found) == wake
    assert states(store) == after
    if wake is not None:
        step(store, found, wake)
        assert states(store) == GIVEN_UP


def test_a_node_that_came_back_keeps_its_tasks() -> None:
    """The alarm that was set while it was down finds it well."""
    store = down_for(2 * DAY, state=NodeState.READY)
    assert [key for key in Orphans(ManagerTiming()).reset(store) if key] == []
    assert step(store, ["n"]) is None
    assert states(store) == [*STATES]


def test_tasks_of_a_removed_node_are_given_up_at_once() -> None:
    """Whether its removal is seen, or a task that names it is found later."""
    store = down_for(MINUTE)
    tx = Transaction()
    tx.delete(store.nodes["n"])
    with store.watch("nodes", "tasks") as watch:
        store.apply(store.applied + 1, tx.encode(NOW))
        [event] = watch.take()[0]
    loop = Orphans(ManagerTiming())
    assert list(loop.observe(store, event)) == ["n"]
    assert set(filter(None, loop.reset(store))) == {"n"}
    step(store, ["n"])
    assert states(store) == GIVEN_UP


def test_what_an_orphans_container_was_stays_known() -> None:
    """Its status says that nobody knows what became of it, and keeps what was last known."""
    store = down_for(DAY)
    step(store, ["n"])
    status = store.tasks["t1"].status
    assert status.container_status == RAN
    assert "nobody can say" in str(status.message)
