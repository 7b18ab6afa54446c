"""Replicated services: which slots there shall be. Pure.

Slots are numbered from 1, the lowest free one first. Scaling down takes Docker's victims: slots
without a node first, then those of the most crowded node, not running, with the highest number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from swarmops.manager.places import Places, live
from swarmops.manager.restarts import should_restart
from swarmops.model.base import given
from swarmops.model.task import Task, TaskState


def in_use(tasks: Sequence[Task], now: datetime) -> bool:
    """Whether a slot counts: a task of it is wanted, or it is done by its restart policy."""
    if any(live(task) for task in tasks):
        return True
    newest = tasks[-1]
    return newest.desired_state is not TaskState.REMOVE and not should_restart(newest, tasks, now)


def victims(used: Places) -> Iterator[str | None]:
    """Yield the slots that go, one after another, when some are too many; before, None for each.

    The Nones let the caller do other things while slots are sorted. Of a node, its first slot is on
    level 0, its second on level 1; the highest level goes first.
    """
    homeless: list[Order] = []
    on_node: defaultdict[str, list[Order]] = defaultdict(list)
    for slot, tasks in used.items():
        node_id = _node(tasks)
        (on_node[node_id] if node_id else homeless).append((not _running(tasks), int(slot)))
        yield None
    yield from (str(slot) for _, slot in sorted(homeless, reverse=True))
    levels: list[list[Order]] = []
    for orders in on_node.values():
        for level, order in enumerate(sorted(orders)):
            if level == len(levels):
                levels.append([])
            levels[level].append(order)
    for orders in reversed(levels):
        yield from (str(slot) for _, slot in sorted(orders, reverse=True))


Order = tuple[bool, int]
"""Whether a slot does not run, and its number."""


def _running(tasks: Sequence[Task]) -> bool:
    return any(live(task) and task.status.state is TaskState.RUNNING for task in tasks)


def _node(tasks: Sequence[Task]) -> str:
    """Return the node of the slot's wanted task, of its newest where none is wanted."""
    chosen = next((task for task in reversed(tasks) if live(task)), tasks[-1])
    return given(chosen.node_id, "")
