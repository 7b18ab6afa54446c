"""Replicated services: which slots there shall be. Pure.

Slots are numbered from 1, the lowest free one first. Scaling down takes Docker's victims: slots
without a node first, then those of the most crowded node, not running, with the highest number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import count, islice

from swarmops.manager.places import Places, live
from swarmops.manager.restarts import should_restart
from swarmops.model.base import given
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskState


def in_use(tasks: Sequence[Task], now: datetime) -> bool:
    """Whether a slot counts: a task of it is wanted, or it is done by its restart policy."""
    if any(live(task) for task in tasks):
        return True
    newest = tasks[-1]
    return newest.desired_state is not TaskState.REMOVE and not should_restart(newest, tasks, now)


def free_slots(used: Places, wanted: int) -> list[str]:
    """Return the lowest ``wanted`` slots that are not used."""
    free = (str(slot) for slot in count(1) if str(slot) not in used)
    return list(islice(free, max(wanted, 0)))


def victims(service: Service, used: Places, surplus: int) -> list[str]:
    """Return the slots that go when ``surplus`` are too many."""
    del service
    if not surplus:
        return []
    order = sorted(used, key=lambda slot: (not _running(used[slot]), int(slot)))
    crowd: Counter[str] = Counter()
    ranks: dict[str, tuple[bool, int, int]] = {}
    for place, slot in enumerate(order):
        node_id = _node(used[slot])
        ranks[slot] = (not node_id, crowd[node_id], place)
        crowd[node_id] += 1
    return sorted(order, key=lambda slot: ranks[slot], reverse=True)[:surplus]


def _running(tasks: Sequence[Task]) -> bool:
    return any(live(task) and task.status.state is TaskState.RUNNING for task in tasks)


def _node(tasks: Sequence[Task]) -> str:
    """Return the node of the slot's wanted task, of its newest where none is wanted."""
    chosen = next((task for task in reversed(tasks) if live(task)), tasks[-1])
    return given(chosen.node_id, "")
