"""One look at a service as a whole: which places there shall be, and which get the new spec.

Made by the orchestrator, which gives it a turn in each of its steps until it is done: a service may
have a hundred thousand tasks, and no step may hold the event loop for long. So it looks at the
tasks as they were when it began, and looks again at a place before it touches it. It writes into
the steps, and never reads what it has written: whatever it changed is looked at once more.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import TypeVar

from msgspec import UNSET

from swarmops.manager import global_, jobs, rebalance, replicated, restarts, updates
from swarmops.manager.loop import Step
from swarmops.manager.places import (
    Places,
    is_job,
    live,
    made,
    may_run,
    new_task,
    run_of,
    service_run,
    stopping,
    unfit,
    wanted_state,
)
from swarmops.manager.update_survey import UpdateSurvey, still_dirty
from swarmops.model.base import given
from swarmops.model.defaults import mode_name, replicas
from swarmops.model.service import Service, UpdateStatus
from swarmops.model.task import Task, TaskState
from swarmops.store import Store, place_of

Key = tuple[str, str]
"""A service's ID and one of its places; an empty place is the whole service."""

LOOKED_PER_STEP = 1_500
"""Tasks, places or nodes that are passed in one step."""
CHANGED_PER_STEP = 200

Slices = Generator[None, None, None]
T = TypeVar("T")


@dataclass
class Turn:
    """What one step of the orchestrator lets a look do."""

    step: Step[Key]
    now: datetime
    left: int = LOOKED_PER_STEP

    @property
    def over(self) -> bool:
        """Whether others shall have their turn now."""
        return self.left <= 0 or len(self.step.tx) >= CHANGED_PER_STEP


class ServiceLook:
    """A look that is going on."""

    def __init__(self, store: Store, service_id: str, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self._id = service_id
        self._service = store.services.get(service_id)
        self._turn: Turn
        self._before = 0
        self._work = self._removed() if self._service is None else self._run(self._service)
        self.changed = False
        """Whether it wrote anything."""

    def go_on(self, turn: Turn) -> bool:
        """Use one turn; return whether the look is over.

        It ends early where the service is not what it was when the look began.
        """
        self._turn = turn
        self._before = len(turn.step.tx)  # the step has other services' changes too
        if self._store.services.get(self._id) is not self._service:
            self.changed = True
            return True
        over = next(self._work, self) is self
        self.changed = self.changed or len(turn.step.tx) > self._before
        return over

    def _pause(self, cost: int = 1) -> Slices:
        self._turn.left -= cost
        while self._turn.over:
            yield

    def _sliced(self, work: Generator[None, None, T]) -> Generator[None, None, T]:
        """Do what pauses by itself, and return its result."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            yield from self._pause()

    def _removed(self) -> Slices:
        """Let all tasks of a service that is gone go."""
        for task in list(self._store.tasks.by_service(self._id)):
            self._remove([task])
            yield from self._pause()

    def _run(self, service: Service) -> Slices:
        places: Places = {}
        for task in list(self._store.tasks.by_service(service.id)):
            places.setdefault(place_of(task), []).append(task)
            yield from self._pause()
        for tasks in places.values():
            if len(tasks) > 1:
                tasks.sort(key=made)
                yield from self._pause()
        if is_job(service):
            yield from self._job(service, places)
            return
        is_global = mode_name(service.spec) == "global"
        find = self._global if is_global else self._replicated
        kept = yield from find(service, places)
        if self.changed or len(self._turn.step.tx) > self._before:
            return
        yield from self._update(service, kept)

    # Which places there shall be ------------------------------------------------------------------

    def _replicated(self, service: Service, places: Places) -> Generator[None, None, Places]:
        """Add or remove slots; return those that stay."""
        used: Places = {}
        for slot, tasks in places.items():
            if replicated.in_use(tasks, self._turn.now):
                used[slot] = tasks
            yield from self._pause()
        wanted = replicas(service.spec)
        missing = wanted - len(used)
        slots = count(1)
        while missing > 0:
            slot = str(next(slots))
            if slot not in used:
                self._fill(service, slot)
                missing -= 1
            yield from self._pause()
        surplus = len(used) - wanted
        gone = replicated.victims(used) if surplus > 0 else iter(())
        doomed: list[str] = []
        while len(doomed) < surplus:
            found = next(gone)
            if found is not None:
                doomed.append(found)
            yield from self._pause()
        for slot in doomed:
            del used[slot]
            self._remove(self._store.tasks.by_place(service.id, slot))
            yield from self._pause()
        for slot in places:
            if slot not in used and int(slot) > wanted:
                self._remove(self._store.tasks.by_place(service.id, slot))
            yield from self._pause()
        return used

    def _global(self, service: Service, places: Places) -> Generator[None, None, Places]:
        """Add tasks for nodes that lack them, shut down those of nodes that don't qualify."""
        used: Places = {}
        for node_id, tasks in places.items():
            if global_.keeps(service, self._store.nodes.get(node_id)):
                if replicated.in_use(tasks, self._turn.now):
                    used[node_id] = tasks
            else:
                for task in tasks:
                    if live(task):
                        self._desire(task, TaskState.SHUTDOWN)
            yield from self._pause()
        yield from self._fill_nodes(service, used)
        return used

    def _job(self, service: Service, places: Places) -> Slices:
        """Begin what may begin of a job's present run; its places go on by themselves."""
        if mode_name(service.spec) == "global-job":
            begun = set()
            for node_id, tasks in places.items():
                keep = global_.keeps(service, self._store.nodes.get(node_id))
                if not keep or jobs.needs_tending(service, tasks, self._turn.now):
                    self._turn.step.again.append((service.id, node_id))
                if jobs.state(service, tasks, self._turn.now) != "open":
                    begun.add(node_id)
                yield from self._pause()
            yield from self._fill_nodes(service, begun)
            return
        found = jobs.JobSurvey(service)
        for slot, tasks in places.items():
            found.add(slot, tasks, self._turn.now)
            yield from self._pause()
        self._turn.step.again.extend((service.id, slot) for slot in found.tend)
        for slot in found.surplus:
            self._remove(self._store.tasks.by_place(service.id, slot))
            yield from self._pause()
        for slot in found.free():
            self._fill(service, slot)
            yield from self._pause()

    def _fill_nodes(self, service: Service, used: Iterable[str]) -> Slices:
        have = set(used)
        for node in list(self._store.nodes):
            if node.id not in have and global_.wants(service, self._store.nodes.get(node.id)):
                self._fill(service, node.id)
            yield from self._pause()

    # Which of them change -------------------------------------------------------------------------

    def _update(self, service: Service, kept: Places) -> Slices:
        survey = UpdateSurvey(service, self._store.nodes)
        tend: list[str] = []
        is_global = mode_name(service.spec) == "global"
        for place, tasks in kept.items():
            # As in Docker: a paused node keeps the task that it has until it is active again.
            if not is_global or global_.takes_new(self._store.nodes.get(place)):
                survey.add(place, tasks, self._turn.now)
            if _needs_tending(self._store, tasks):
                tend.append(place)
            yield from self._pause(2)
        update = updates.UpdateStep()
        if survey.dirty or not rebalance.wished(service):
            update = updates.plan(service, survey, self._turn.now)
        for place in update.replace:
            self._update_place(service, place, start_first=update.start_first)
            yield from self._pause()
        if update.service is not None:
            self._turn.step.tx.put(update.service)
        if update.wake is not None:
            self._turn.step.wake[service.id, ""] = update.wake
        replaced = set(update.replace)
        self._turn.step.again.extend((service.id, place) for place in tend if place not in replaced)
        if rebalance.wanted(service) and not update.replace and update.service is None:
            yield from self._rebalance(service, kept)

    def _update_place(self, service: Service, place: str, *, start_first: bool) -> None:
        """Put a task of the new spec into the place: after the old one stops, or before."""
        store = self._store
        tasks = sorted(store.tasks.by_place(service.id, place), key=made)
        if not still_dirty(service, tasks, store.nodes):
            return
        wanted = [task for task in tasks if live(task)]
        staying = [restarts.most_advanced(wanted)] if wanted and start_first else []
        for task in wanted:
            if task not in staying:
                self._desire(task, TaskState.SHUTDOWN)
        busy = not staying and any(may_run(task, store.nodes) for task in tasks)
        desired = TaskState.READY if busy else TaskState.RUNNING
        self._turn.step.tx.put(new_task(service, place, self._rng, self._turn.now, desired=desired))

    def _rebalance(self, service: Service, kept: Places) -> Slices:
        """Let one task of a service that has nothing else to do move to a better node."""
        wished = rebalance.wished(service)
        if mode_name(service.spec) != "replicated" or (_in_update(service) and not wished):
            return
        found = yield from self._sliced(
            rebalance.next_move(service, kept, self._store, self._turn.now)
        )
        turn = self._turn
        if found is not None:
            place, node_id = found
            wanted = [t for t in self._store.tasks.by_place(service.id, place) if live(t)]
            if wanted == [task for task in kept[place] if live(task)]:
                [old] = wanted
                turn.step.tx.put(
                    new_task(service, place, self._rng, turn.now, node_id=node_id, moves=old.id)
                )
        elif wished:
            ended = yield from self._sliced(rebalance.fulfilled(service, kept, turn.now))
            if ended is not None:
                self._turn.step.tx.put(ended)
            else:
                self._turn.step.wake[service.id, ""] = rebalance.give_up_at(service, turn.now)
        elif (later := rebalance.retry_at(kept, turn.now)) is not None:
            turn.step.wake[service.id, ""] = later

    # What is written ------------------------------------------------------------------------------

    def _fill(self, service: Service, place: str) -> None:
        """Put a task into a place that has none; it waits for a former one that still stops."""
        store = self._store
        tasks = store.tasks.by_place(service.id, place)
        if _begun(service, tasks):
            return
        busy = stopping(tasks, store.nodes)
        if is_job(service):
            busy = any(may_run(task, store.nodes) for task in tasks)
            # With it go those of earlier runs: runs may follow each other faster than looks.
            self._remove([task for task in tasks if jobs.outdated(service, task)])
        desired = TaskState.READY if busy else wanted_state(service)
        self._turn.step.tx.put(new_task(service, place, self._rng, self._turn.now, desired=desired))

    def _remove(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            if task.desired_state is not TaskState.REMOVE:
                self._desire(task, TaskState.REMOVE)

    def _desire(self, task: Task, state: TaskState) -> None:
        self._turn.step.tx.patch_task(task.id, desired_state=state)


def _begun(service: Service, tasks: Iterable[Task]) -> bool:
    """Whether a place that was free has got its task meanwhile."""
    run = service_run(service)
    return any(live(task) and (run_of(task) == run or not is_job(service)) for task in tasks)


def _in_update(service: Service) -> bool:
    """Whether an update is going on, or stands still and waits for someone."""
    state = given(given(service.update_status, UpdateStatus()).state, "completed")
    return not state.endswith("completed")


def _needs_tending(store: Store, tasks: Sequence[Task]) -> bool:
    """Whether a place may have something to do besides what its own changes tell."""
    return any(
        live(task)
        and (
            task.status.state.terminal
            or task.desired_state is TaskState.READY
            or (task.node_id is not UNSET and unfit(store.nodes.get(task.node_id)))
        )
        for task in tasks
    )
