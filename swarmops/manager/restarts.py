"""The restart policy: what happens in one place when its task ended or lost its node.

Pure; the orchestrator applies it to places of replicated and global services alike. A task is never
restarted: it is told to shut down, and a new one takes its place, after the policy's delay and once
the old one has stopped. All of it is read from the tasks themselves, so a new leader goes on
exactly where the old one stopped.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from swarmops.manager import backoff, extensions
from swarmops.manager.extensions import PROGRESS_DEADLINE_S
from swarmops.manager.places import (
    live,
    made,
    may_run,
    moved_by,
    new_task,
    service_version,
    spec_version,
    stopping,
    stranded,
    wanted_state,
)
from swarmops.model.base import given
from swarmops.model.defaults import (
    restart_condition,
    restart_max_attempts,
    restart_window_s,
)
from swarmops.model.service import Service, UpdateConfig, UpdateStatus
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import NodeTable

STOP_WAIT = timedelta(seconds=60)
"""A replacement waits no longer than this for the task before it to stop."""

_PAIR = 2


@dataclass
class PlaceStep:
    """What one place needs."""

    desire: list[tuple[str, TaskState]] = field(default_factory=list)
    """Tasks, and the states that they shall be in."""
    create: list[Task] = field(default_factory=list)
    wake: datetime | None = None


def tend(
    service: Service,
    place: str,
    tasks: Sequence[Task],
    nodes: NodeTable,
    *,
    now: datetime,
    rng: random.Random,
    keep: bool = True,
) -> PlaceStep:
    """Decide about one place. ``keep``: whether the service still wants the place."""
    step = PlaceStep()
    wanted = sorted((task for task in tasks if live(task)), key=made)
    if keep and len(wanted) <= _PAIR:
        wanted = _move(step, service, place, wanted, tasks, nodes, now, rng)
    lost = [task for task in wanted if task.status.state.terminal or stranded(task, nodes)]
    step.desire += [(task.id, TaskState.SHUTDOWN) for task in lost]
    rest = [task for task in wanted if task not in lost]
    again = not rest or (bool(lost) and _tried_beside(service, lost[-1], rest))
    if lost and again and keep and should_restart(lost[-1], tasks, now):
        replace(step, service, place, lost[-1], tasks, nodes, now, rng)
    rest = _one(step, rest)
    for task in rest:
        if task.desired_state is TaskState.READY:
            promote(step, service, task, tasks, nodes, now)
    return step


def _move(  # noqa: PLR0911, PLR0917 - one decision: its parts, and its ends
    step: PlaceStep,
    service: Service,
    place: str,
    wanted: list[Task],
    tasks: Sequence[Task],
    nodes: NodeTable,
    now: datetime,
    rng: random.Random,
) -> list[Task]:
    """Let a task that is well stay until the one that moves it runs; return the others.

    That is so for one that is rebalanced, and on a drained node if the service says start-first.
    Where nothing comes of it within the progress deadline, the new task goes, or with a drained
    node the old one.
    """
    old = next((task for task in wanted if task.status.state is TaskState.RUNNING), None)
    if old is None or not may_run(old, nodes):
        return wanted
    new = next((task for task in wanted if moved_by(task) == old.id), None)
    drained = stranded(old, nodes)
    if new is None:
        first = drained and starts_first(service) and len(wanted) == 1
        if first and should_restart(old, tasks, now):
            step.create.append(new_task(service, place, rng, now, moves=old.id))
            return []
        return wanted
    if new.status.state.terminal or stranded(new, nodes):
        return wanted
    if new.status.state is TaskState.RUNNING:
        step.desire.append((old.id, TaskState.SHUTDOWN))
        return [new]
    deadline_s = extensions.read(service.spec).progress_deadline_s or PROGRESS_DEADLINE_S
    due = new.created_at + timedelta(seconds=deadline_s)
    if now >= due:
        step.desire.append((old.id if drained else new.id, TaskState.SHUTDOWN))
        return [new if drained else old]
    step.wake = due
    return []


def _tried_beside(service: Service, failed: Task, rest: Sequence[Task]) -> bool:
    """Whether a start-first update tried the present spec beside the old task, which goes on.

    As in Docker the policy then tries again, whether the update still goes on or is over; but not
    in one that is paused: what it does next is decided by whoever looks after it. A task that
    failed to move another one is no update's.
    """
    version = service_version(service)
    state = given(given(service.update_status, UpdateStatus()).state, "")
    spec = service.spec
    config = spec.rollback_config if state.startswith("rollback") else spec.update_config
    return (
        given(given(config, UpdateConfig()).order, "") == "start-first"
        and spec_version(failed) == version
        and failed.status.state.terminal
        and not moved_by(failed)
        and all(spec_version(task) < version for task in rest)
        and not state.endswith("paused")
    )


def starts_first(service: Service) -> bool:
    """Whether the service would rather have a task too many than one too few."""
    return given(given(service.spec.update_config, UpdateConfig()).order, "") == "start-first"


def should_restart(task: Task, tasks: Sequence[Task], now: datetime) -> bool:
    """Whether the policy replaces a task that ended, or that lost its node."""
    condition = restart_condition(task.spec)
    if condition == "none":
        return False
    if condition == "on-failure" and task.status.state is TaskState.COMPLETE:
        return False
    most = restart_max_attempts(task.spec)
    return most == 0 or _attempts(task, tasks, now) < most


def _attempts(task: Task, tasks: Sequence[Task], now: datetime) -> int:
    """Count the replacements of the place within the window, for this version of the spec.

    A task that moved another was no attempt: the one before it was well.
    """
    version = spec_version(task)
    same = sorted((each for each in tasks if spec_version(each) == version), key=made)
    window_s = restart_window_s(task.spec)
    since = now - timedelta(seconds=window_s)
    later = (each for each in same[1:] if not moved_by(each))
    return sum(1 for each in later if not window_s or each.created_at > since)


def replace(  # noqa: PLR0917 - the parts of one decision
    step: PlaceStep,
    service: Service,
    place: str,
    old: Task,
    tasks: Sequence[Task],
    nodes: NodeTable,
    now: datetime,
    rng: random.Random,
) -> None:
    """Put a new task in the old one's place: at once, or after its delay and the old one's end."""
    delay_s = 0.0 if stranded(old, nodes) else backoff.delay_s(service, old)
    busy = may_run(old, nodes) or stopping(tasks, nodes)
    if delay_s <= 0 and not busy:
        step.create.append(new_task(service, place, rng, now, desired=wanted_state(service)))
        return
    after = now + timedelta(seconds=delay_s)
    step.create.append(
        new_task(service, place, rng, now, desired=TaskState.READY, restart_after=after)
    )


def _one(step: PlaceStep, rest: list[Task]) -> list[Task]:
    """Keep one live task; a start-first update's old one stays until the new one runs."""
    if len(rest) < 2:  # noqa: PLR2004 - one is what a place has
        return rest
    newest = max(spec_version(task) for task in rest)
    best = most_advanced([task for task in rest if spec_version(task) == newest])
    kept = [best]
    older = [task for task in rest if spec_version(task) != newest]
    if older and best.status.state is not TaskState.RUNNING:
        kept.append(most_advanced(older))
    step.desire += [(task.id, TaskState.SHUTDOWN) for task in rest if task not in kept]
    return kept


def most_advanced(tasks: Sequence[Task]) -> Task:
    """Return the task that is nearest to running, or runs."""
    return max(tasks, key=lambda task: (task.desired_state.rank, task.status.state.rank, task.id))


def promote(  # noqa: PLR0917 - the parts of one decision
    step: PlaceStep,
    service: Service,
    task: Task,
    tasks: Sequence[Task],
    nodes: NodeTable,
    now: datetime,
) -> None:
    """Let a replacement start once its delay is over and the task before it has stopped."""
    after = given(given(task.internal, TaskInternal()).restart_after, now)
    patience = max(after, task.created_at + STOP_WAIT)
    # Made later than now: the clock was set back, and how long the task has waited isn't known.
    if task.created_at <= now < after:
        step.wake = after
    elif now < patience and stopping(tasks, nodes):
        step.wake = patience
    else:
        step.desire.append((task.id, wanted_state(service)))
