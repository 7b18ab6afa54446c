"""The enforcer: takes tasks off nodes that no longer fulfil what they were placed for.

A control loop; a key is a node. When an active node loses a label, a role or resources, tasks whose
constraints or reservations no longer hold there are written REJECTED, as Docker does, and the
orchestrator replaces them like any task that failed. It writes nothing else, and leaves nodes alone
that are paused, drained or not heard of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from swarmops.errors import InputError
from swarmops.manager import constraints
from swarmops.manager.filters import available
from swarmops.manager.load import amounts, reservations
from swarmops.manager.loop import Step
from swarmops.manager.places import made, service_version, spec_version
from swarmops.manager.update_survey import unfinished
from swarmops.model.base import given
from swarmops.model.defaults import placement, task_spec
from swarmops.model.node import Node, NodeInternal
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Event, Store

MESSAGE = "task rejected by constraint enforcer"
REASON = "assigned node no longer meets constraints"
TASKS_PER_STEP = 1_000
"""Tasks looked at, after which a step begins with no other node."""


class Enforcer:
    """The loop; it remembers nothing between steps."""

    tables = ("nodes",)

    def reset(self, store: Store) -> Iterable[str]:
        """Return every node."""
        return [node.id for node in store.nodes]

    def observe(self, store: Store, event: Event) -> Iterable[str]:
        """Return the node, if it changed in what tasks may ask for."""
        del store
        old, new = event.old, event.new
        if not isinstance(new, Node):
            return ()
        return [new.id] if not isinstance(old, Node) or _matters(old, new) else ()

    def step(self, store: Store, keys: Sequence[str], now: datetime) -> Step[str]:
        """Reject what must not stay on these nodes."""
        step: Step[str] = Step()
        wanted = Wanted(store)
        status = TaskStatus(timestamp=now, state=TaskState.REJECTED, message=MESSAGE, err=REASON)
        looked = 0
        for node_id in keys:
            node = store.nodes.get(node_id)
            if looked >= TASKS_PER_STEP:
                step.again.append(node_id)
            elif node is not None and available(node):
                looked += len(store.tasks.by_node(node_id))
                for task in misplaced(node, store.tasks.by_node(node_id), wanted):
                    step.tx.patch_task(task.id, status=status)
        return step


def misplaced(node: Node, tasks: Iterable[Task], wanted: Wanted) -> Iterator[Task]:
    """Yield those of its tasks that the node must not keep: of too many, the newest."""
    greedy = []
    for task in tasks:
        if not _held(task):
            continue
        if not constraints.matches(wanted.of(task), node):
            yield task
        elif needs := reservations(task):
            greedy.append((task, needs))
    if not greedy:
        return
    free = dict(amounts(given(node.description.resources, None)))
    for task, needs in sorted(greedy, key=lambda pair: made(pair[0])):
        if not all(free.get(kind, 0) >= amount for kind, amount in needs.items()):
            yield task
            continue
        for kind, amount in needs.items():
            free[kind] -= amount


def _held(task: Task) -> bool:
    state = task.status.state
    wanted = task.desired_state.rank <= TaskState.COMPLETE.rank
    return wanted and TaskState.ASSIGNED.rank <= state.rank <= TaskState.RUNNING.rank


class Wanted:
    """What tasks ask of their nodes: the service's present constraints, once these are for them.

    A task that an update has not come to, or that it stopped before, is the update's alone:
    rejected by constraints that it was not made with, all of them would go at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[tuple[str, int], Sequence[constraints.Constraint]] = {}

    def of(self, task: Task) -> Sequence[constraints.Constraint]:
        """Return a task's; none where they can't be read. A version of a service is one spec."""
        key = task.service_id, spec_version(task)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._read(task, key[1])
        return found

    def _read(self, task: Task, version: int) -> Sequence[constraints.Constraint]:
        service = self._store.services.get(task.service_id)
        spec = task.spec
        if service is not None and (version == service_version(service) or not unfinished(service)):
            spec = task_spec(service.spec)
        try:
            return constraints.parse(given(placement(spec).constraints, []))
        except InputError:
            return ()


def _matters(old: Node, new: Node) -> bool:
    roles = [given(node.internal, NodeInternal()).role for node in (old, new)]
    return (
        old.spec != new.spec
        or roles[0] is not roles[1]
        or old.status.state is not new.status.state
        or old.status.addr != new.status.addr
        or (old.description is not new.description and old.description != new.description)
    )
