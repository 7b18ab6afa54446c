"""Tasks of nodes that will not answer for them any more.

A control loop; a key is a node. When a node is removed, or DOWN for a day, nobody will ever say
what became of its tasks: they are given up as ORPHANED. Only then does it write their status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import UNSET

from swarmops.manager.loop import Step
from swarmops.manager.timing import ManagerTiming
from swarmops.model.base import given
from swarmops.model.node import Node, NodeInternal, NodeState
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Event, Store

TASKS_PER_STEP = 1_000
"""Tasks looked at, after which a step begins with no other node."""


class Orphans:
    """The loop; it remembers nothing between steps."""

    tables = ("nodes", "tasks")

    def __init__(self, timing: ManagerTiming) -> None:
        self._after = timedelta(seconds=timing.orphan_s)

    def reset(self, store: Store) -> Iterator[str | None]:
        """Yield every node that is down, and every one that is only named by tasks."""
        for node in list(store.nodes):
            yield node.id if node.status.state is NodeState.DOWN else None
        known = {node.id for node in store.nodes}  # one that goes after this is observed
        for task in list(store.tasks):
            lost = task.node_id is not UNSET and task.node_id not in known
            yield given(task.node_id, "") if lost else None

    def observe(self, store: Store, event: Event) -> Iterable[str]:
        """Return the node that went, or that a task names in vain."""
        new, old = event.new, event.old
        if isinstance(new, Task):
            lost = new.node_id is not UNSET and new.node_id not in store.nodes
            return [given(new.node_id, "")] if lost else ()
        if isinstance(new, Node):
            return [new.id] if new.status.state is NodeState.DOWN else ()
        return [old.id] if isinstance(old, Node) else ()

    def step(self, store: Store, keys: Sequence[str], now: datetime) -> Step[str]:
        """Give up the tasks of these nodes, if it is time."""
        step: Step[str] = Step()
        looked = 0
        for node_id in keys:
            if looked >= TASKS_PER_STEP:
                step.again.append(node_id)
                continue
            due = self._due(store.nodes.get(node_id), now)
            if due is None:
                continue
            if due > now:
                step.wake[node_id] = due
                continue
            looked += len(store.tasks.by_node(node_id))
            for task in store.tasks.by_node(node_id):
                if not task.status.state.terminal:
                    step.tx.patch_task(task.id, status=_orphaned(task, now))
        return step

    def _due(self, node: Node | None, now: datetime) -> datetime | None:
        if node is None:
            return now
        if node.status.state is not NodeState.DOWN:
            return None
        return given(given(node.internal, NodeInternal()).down_since, now) + self._after


def _orphaned(task: Task, now: datetime) -> TaskStatus:
    return TaskStatus(
        timestamp=now,
        state=TaskState.ORPHANED,
        message="the node is gone: nobody can say what became of the task",
        container_status=task.status.container_status,
    )
