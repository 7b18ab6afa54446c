"""What looks at services have in common: their turns, and what they write.

A service may have a hundred thousand tasks, and no step may hold the event loop for long. So a look
is a generator that pauses whenever its turn is over. It looks at the tasks as they were when it
began, and looks again at a place before it touches it. It writes into the steps, and never reads
what it has written.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from swarmops.manager import jobs
from swarmops.manager.loop import Step
from swarmops.manager.places import (
    is_job,
    live,
    may_run,
    new_task,
    run_of,
    service_run,
    stopping,
    wanted_state,
)
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskState
from swarmops.store import Store

Key = tuple[str, str]
"""A service's ID and one of its places; an empty place is the whole service."""

LOOKED_PER_STEP = 1_000
"""Tasks, places or nodes that are passed in one step."""
CHANGED_PER_STEP = 200

SPAN = 20
"""Tasks or places that are passed before it is asked whether the turn is over."""

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


class Look:
    """A look's store and turn."""

    turn: Turn

    def __init__(self, store: Store, service_id: str, rng: random.Random) -> None:
        self.store = store
        self.rng = rng
        self.id = service_id

    def pause(self, cost: int = 1) -> Slices:
        """Let others have their turn if this one is over."""
        self.turn.left -= cost
        while self.turn.over:
            yield

    def sliced(self, work: Generator[None, None, T]) -> Generator[None, None, T]:
        """Do what pauses by itself, and return its result."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            yield from self.pause()

    def fill(self, service: Service, place: str) -> None:
        """Put a task into a place that has none; it waits for a former one that still stops."""
        store = self.store
        tasks = store.tasks.by_place(service.id, place)
        if _begun(service, tasks):
            return
        busy = stopping(tasks, store.nodes)
        if is_job(service):
            busy = any(may_run(task, store.nodes) for task in tasks)
            # With it go those of earlier runs: runs may follow each other faster than looks.
            self.remove([task for task in tasks if jobs.outdated(service, task)])
        desired = TaskState.READY if busy else wanted_state(service)
        self.turn.step.tx.put(new_task(service, place, self.rng, self.turn.now, desired=desired))

    def remove(self, tasks: Iterable[Task]) -> None:
        """Let tasks stop and be deleted."""
        for task in tasks:
            if task.desired_state is not TaskState.REMOVE:
                self.desire(task, TaskState.REMOVE)

    def desire(self, task: Task, state: TaskState) -> None:
        """Say what shall become of a task."""
        self.turn.step.tx.patch_task(task.id, desired_state=state)


def spans(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield some items at a time: pausing after each would take longer than looking at it."""
    for at in range(0, len(items), SPAN):
        yield items[at : at + SPAN]


def _begun(service: Service, tasks: Iterable[Task]) -> bool:
    """Whether a place that was free has got its task meanwhile."""
    run = service_run(service)
    return any(live(task) and (run_of(task) == run or not is_job(service)) for task in tasks)
