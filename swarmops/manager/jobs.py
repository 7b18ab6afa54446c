"""Jobs: services whose tasks run once to completion, in runs that are counted. Pure.

A run (Docker's iteration) begins with the service, and again with every update of it. Slots count
from 0; a global job's places are nodes. A place is done when a task of this run completed there;
one that failed is tried again by the restart policy, whose ``any`` means ``on-failure`` here.
Other than Docker's, jobs move: a task whose node is drained, down or gone is replaced elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

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
    if any(outdated(service, task) or _forgotten(service, task) for task in tasks):
        return True
    return state(service, tasks, now) == "failed"


class JobSurvey:
    """What is found in the slots of a replicated job, shown one after another."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._concurrent, self._total = totals(service)
        self._busy = self._over = 0
        self._taken: set[str] = set()
        self.tend: list[str] = []
        """Slots to look at, each for itself."""
        self.surplus: list[str] = []
        """Slots of earlier runs that this one doesn't have."""

    def add(self, place: str, tasks: Sequence[Task], now: datetime) -> None:
        """Take note of one slot."""
        found = state(self._service, tasks, now)
        if int(place) >= self._total:
            self.surplus.append(place)
        if found != "open":
            self._taken.add(place)
        self._busy += found in {"active", "failed"}
        self._over += found in {"done", "spent"}
        if needs_tending(self._service, tasks, now):
            self.tend.append(place)

    def free(self) -> Iterator[str]:
        """Yield the slots that begin now: the lowest, as many as may run at once."""
        wanted = min(self._concurrent - self._busy, self._total - self._over - self._busy)
        if wanted > 0:
            slots = (str(slot) for slot in range(self._total))
            yield from islice((slot for slot in slots if slot not in self._taken), wanted)


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
    step.desire += [(task.id, TaskState.SHUTDOWN) for task in tasks if _forgotten(service, task)]
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


def _forgotten(service: Service, task: Task) -> bool:
    """Whether a task failed in an earlier run that ended before it could be tried again.

    It is history, and bounded as such, only once nobody wants it any more.
    """
    failed = task.status.state.terminal and task.status.state is not TaskState.COMPLETE
    return failed and live(task) and run_of(task) != service_run(service)


def outdated(service: Service, task: Task) -> bool:
    """Whether a task of an earlier run is still at work; those that ended are history."""
    return (
        run_of(task) != service_run(service)
        and not task.status.state.terminal
        and task.desired_state is not TaskState.REMOVE
    )
