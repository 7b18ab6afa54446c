"""Jobs: services whose tasks run once to completion, in runs that are counted. Pure.

A run (Docker's iteration) begins with the service, and again with every update of it. Slots count
from 0; a global job's places are nodes. A place is done when a task of this run completed there;
one that failed is tried again by the restart policy, whose ``any`` means ``on-failure`` here.
Other than Docker's, jobs move: a task whose node is drained, down or gone is replaced elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from swarmops.manager.places import (
    Places,
    live,
    made,
    run_of,
    service_run,
    stranded,
    unfit,
)
from swarmops.manager.restarts import PlaceStep, most_advanced, promote, replace, should_restart
from swarmops.model.base import given
from swarmops.model.defaults import mode_name
from swarmops.model.service import ReplicatedJobMode, Service, ServiceMode
from swarmops.model.task import Task, TaskState
from swarmops.store import NodeTable


@dataclass
class JobStep:
    """What a job as a whole needs."""

    free: list[str] = field(default_factory=list)
    """Slots that get their first task of this run now."""
    tend: list[str] = field(default_factory=list)
    """Places to look at, each for itself."""
    surplus: list[str] = field(default_factory=list)
    """Slots of earlier runs that this one doesn't have."""


def totals(service: Service) -> tuple[int, int]:
    """Return how many tasks may run at once, and how many shall complete."""
    mode = given(service.spec.mode, ServiceMode())
    job = given(mode.replicated_job, ReplicatedJobMode())
    concurrent = given(job.max_concurrent, 1)
    return concurrent, given(job.total_completions, concurrent)


def state(service: Service, tasks: Sequence[Task], now: datetime) -> str:
    """Return a place's state in this run: ``open``, ``active``, ``failed``, ``done``, ``spent``.

    ``failed`` will be tried again; ``spent`` not any more, by the restart policy.
    """
    mine = _mine(service, tasks)
    if not mine:
        return "open"
    if any(task.status.state is TaskState.COMPLETE for task in mine):
        return "done"
    if any(live(task) and not task.status.state.terminal for task in mine):
        return "active"
    return "failed" if should_restart(mine[-1], mine, now) else "spent"


def finished(service: Service, places: Places, nodes: NodeTable, now: datetime) -> bool:
    """Whether nothing of the present run is left to do."""
    states = {place: state(service, tasks, now) for place, tasks in places.items()}
    if "active" in states.values():
        return False
    failed = [place for place, found in states.items() if found == "failed"]
    if mode_name(service.spec) == "global-job":
        return all(unfit(nodes.get(place)) for place in failed)
    over = sum(found in {"done", "spent"} for found in states.values())
    return not failed and over >= totals(service)[1]


def needs_tending(service: Service, tasks: Sequence[Task], now: datetime) -> bool:
    """Whether a place may have something to do besides what its own changes tell."""
    if any(outdated(service, task) for task in tasks):
        return True
    return state(service, tasks, now) == "failed"


def plan(service: Service, places: Places, now: datetime) -> JobStep:
    """Decide which slots of a replicated job begin now: the lowest, as many as may run at once."""
    concurrent, total = totals(service)
    step = JobStep()
    busy = over = 0
    taken = set()
    for place, tasks in places.items():
        found = state(service, tasks, now)
        if int(place) >= total:
            step.surplus.append(place)
        if found != "open":
            taken.add(place)
        busy += found in {"active", "failed"}
        over += found in {"done", "spent"}
        if needs_tending(service, tasks, now):
            step.tend.append(place)
    wanted = max(min(concurrent - busy, total - over - busy), 0)
    if wanted:
        free = (str(slot) for slot in range(total) if str(slot) not in taken)
        step.free = [slot for slot, _ in zip(free, range(wanted), strict=False)]
    return step


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
    """Decide about one place. ``keep``: whether the job may still have its task there."""
    step = PlaceStep()
    step.desire += [(task.id, TaskState.REMOVE) for task in tasks if outdated(service, task)]
    mine = _mine(service, tasks)
    active = [task for task in mine if live(task) and task.status.state is not TaskState.COMPLETE]
    done = any(task.status.state is TaskState.COMPLETE for task in mine)
    lost = [
        task
        for task in active
        if done or not keep or task.status.state.terminal or stranded(task, nodes)
    ]
    rest = [task for task in active if task not in lost]
    if len(rest) > 1:
        lost += [task for task in rest if task is not most_advanced(rest)]
        rest = [most_advanced(rest)]
    step.desire += [(task.id, TaskState.SHUTDOWN) for task in lost]
    if mine and not rest and not done and keep and should_restart(mine[-1], mine, now):
        replace(step, service, place, mine[-1], tasks, nodes, now, rng)
    for task in rest:
        if task.desired_state is TaskState.READY:
            promote(step, service, task, tasks, nodes, now)
    return step


def _mine(service: Service, tasks: Sequence[Task]) -> list[Task]:
    run = service_run(service)
    mine = [
        task for task in tasks if run_of(task) == run and task.desired_state is not TaskState.REMOVE
    ]
    return sorted(mine, key=made) if len(mine) > 1 else mine


def outdated(service: Service, task: Task) -> bool:
    """Whether a task of an earlier run is still at work; those that ended are history."""
    return (
        run_of(task) != service_run(service)
        and not task.status.state.terminal
        and task.desired_state is not TaskState.REMOVE
    )
