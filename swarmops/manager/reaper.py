"""The reaper: deletes tasks that are of no use any more.

A control loop; a key is one place of a service. Of a place it keeps as many tasks as the swarm's
history limit says, the newest, and what an update that goes on still reads; tasks that shall be
removed it deletes once they have ended, were never assigned, or their node can't answer for them.
It alone deletes tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import UNSET

from swarmops.manager.loop import Step
from swarmops.manager.places import (
    is_job,
    live,
    made,
    moved_by,
    run_of,
    service_run,
    spec_version,
)
from swarmops.manager.update_history import read_by_update, update_ended
from swarmops.model.base import given
from swarmops.model.defaults import TASK_HISTORY_LIMIT, restart_max_attempts
from swarmops.model.node import Node, NodeState
from swarmops.model.service import Service
from swarmops.model.swarm import Cluster, OrchestrationConfig
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, place_of

Key = tuple[str, str]


class Reaper:
    """The loop; it remembers nothing between steps."""

    tables = ("tasks", "nodes", "clusters", "services")

    def reset(self, store: Store) -> Iterator[Key | None]:
        """Yield every place but those with one task that stays."""
        for task in list(store.tasks):
            place = place_of(task)
            stays = store.tasks.stands_alone(task, place) and not _removable(store, task)
            yield None if stays else (task.service_id, place)

    def observe(self, store: Store, event: Event) -> Iterable[Key | None]:
        """Return the places whose tasks came, ended or shall be removed."""
        new = event.new
        if isinstance(new, Task):
            ended = new.status.state.terminal or new.desired_state is TaskState.REMOVE
            return [(new.service_id, place_of(new))] if ended or event.old is None else ()
        if event.table == "nodes":
            node = new if isinstance(new, Node) else event.old
            gone = new is None or (isinstance(new, Node) and new.status.state is NodeState.DOWN)
            tasks = store.tasks.by_node(node.id) if gone and node is not None else ()
            return [(task.service_id, place_of(task)) for task in tasks]
        if isinstance(new, Service):
            return _history(store, new.id) if update_ended(event.old, new) else ()
        if isinstance(new, Cluster) and (
            not isinstance(event.old, Cluster) or event.old.spec != new.spec
        ):
            return self.reset(store)
        return ()

    def step(self, store: Store, keys: Sequence[Key], now: datetime) -> Step[Key]:
        """Delete what these places have too much."""
        del now
        step: Step[Key] = Step()
        limit = _history_limit(store.cluster)
        for service_id, place in keys:
            tasks = sorted(store.tasks.by_place(service_id, place), key=made)
            doomed = [task for task in tasks if _removable(store, task)]
            rest = [task for task in tasks if task not in doomed]
            for task in doomed + _surplus(store.services.get(service_id), rest, limit):
                step.tx.delete(task)
        return step


def _removable(store: Store, task: Task) -> bool:
    """Whether a task that shall be removed needs no more word from its node."""
    state = task.status.state
    if task.desired_state is not TaskState.REMOVE:
        if state is TaskState.ORPHANED and task.service_id not in store.services:
            return True
        # Nobody looks again at a place that was a node which is gone for good.
        node_id = given(task.node_id, "") if task.slot is UNSET else ""
        return bool(node_id) and state.terminal and node_id not in store.nodes
    if state.terminal or state.rank < TaskState.ASSIGNED.rank or task.node_id is UNSET:
        return True
    node = store.nodes.get(task.node_id)
    return node is None or node.status.state is NodeState.DOWN


def _history(store: Store, service_id: str) -> Iterator[Key | None]:
    """Yield the places of a service that have any."""
    for task in list(store.tasks.by_service(service_id)):
        yield (service_id, place_of(task)) if task.status.state.terminal else None


def _surplus(service: Service | None, tasks: Sequence[Task], limit: int) -> list[Task]:
    """Return the oldest ended tasks beyond the limit, which counts the live ones too.

    The newest stays, whatever the limit: what becomes of its place is read from it. Where attempts
    are counted, what doesn't count as one goes first: tasks of former specs, then moves.
    """
    if not tasks or limit < 0:
        return []
    read = read_by_update(service, tasks) if service is not None else frozenset[str]()
    attempts = restart_max_attempts(tasks[-1].spec)
    keep = attempts + 1 if attempts else limit
    most = max(len(tasks) - keep, 0)
    ended = [task for task in tasks[:-1] if _is_history(service, task) and task.id not in read]
    if not attempts:
        return ended[:most]
    counted = {task.id for task in tasks if _is_attempt(task, tasks[-1])}
    others = [task for task in ended if task.id not in counted]
    others.sort(key=lambda task: spec_version(task) == spec_version(tasks[-1]))
    # What neither counts nor has ended yet must not take an attempt's place.
    spare = max(len(counted) - keep, 0)
    return (others + [task for task in ended if task.id in counted][:spare])[:most]


def _is_attempt(task: Task, newest: Task) -> bool:
    return spec_version(task) == spec_version(newest) and not moved_by(task)


def _is_history(service: Service | None, task: Task) -> bool:
    """Whether a task is done with: a job's completed one only once another run has begun."""
    if task.status.state is TaskState.COMPLETE and service is not None and is_job(service):
        return run_of(task) != service_run(service)
    return not live(task) and _over(task)


def _over(task: Task) -> bool:
    return task.status.state.terminal or task.status.state.rank < TaskState.ASSIGNED.rank


def _history_limit(cluster: Cluster | None) -> int:
    if cluster is None:
        return TASK_HISTORY_LIMIT
    orchestration = given(cluster.spec.orchestration, OrchestrationConfig())
    return given(orchestration.task_history_retention_limit, TASK_HISTORY_LIMIT)
