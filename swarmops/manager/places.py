"""The places of a service: the slots of a replicated one, the nodes of a global one.

Pure words and tests that replicated, global, restarts and updates share.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from datetime import datetime

from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.defaults import mode_name, ports, task_spec
from swarmops.model.ids import new_id
from swarmops.model.node import Availability, Node, NodeState
from swarmops.model.object import ObjectVersion
from swarmops.model.service import JobStatus, Service, ServiceInternal
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import NodeTable, place_of

Places = dict[str, list[Task]]
"""A service's tasks by place, each place's in the order in which they were made."""


def by_place(tasks: Iterable[Task]) -> Places:
    """Sort a service's tasks into its places."""
    places: Places = {}
    for task in tasks:
        places.setdefault(place_of(task), []).append(task)
    for each in places.values():
        if len(each) > 1:
            each.sort(key=made)
    return places


def made(task: Task) -> tuple[datetime, int, str]:
    """Order tasks by when they were made."""
    return task.created_at, spec_version(task), task.id


def live(task: Task) -> bool:
    """Whether the task is wanted to run, now or after its delay; a job's, to its end."""
    desired = task.desired_state
    # Most are, and this is asked most of all.
    return desired is TaskState.RUNNING or desired.rank <= TaskState.COMPLETE.rank


def spec_version(task: Task) -> int:
    """Return the version of the service's spec that the task was made from."""
    return given(task.internal, TaskInternal()).spec_version


def moved_by(task: Task) -> str:
    """Return the ID of the task in whose stead it starts, empty for most."""
    return given(task.internal, TaskInternal()).moves


def service_version(service: Service) -> int:
    """Return the version of the service's present spec."""
    return given(service.internal, ServiceInternal()).spec_version


def is_job(service: Service) -> bool:
    """Whether the service's tasks run once, to completion."""
    return mode_name(service.spec).endswith("-job")


def service_run(service: Service) -> int:
    """Return the number of a job's present run."""
    return given(service.job_status, JobStatus()).job_iteration.index


def run_of(task: Task) -> int:
    """Return the number of the job's run that the task was made for."""
    return given(task.job_iteration, ObjectVersion()).index


def wanted_state(service: Service) -> TaskState:
    """Return what is desired of a task that shall run."""
    return TaskState.COMPLETE if is_job(service) else TaskState.RUNNING


def unfit(node: Node | None) -> bool:
    """Whether a node must not keep its tasks: gone, down or drained."""
    return (
        node is None
        or node.status.state is NodeState.DOWN
        or node.spec.availability is Availability.DRAIN
    )


def stranded(task: Task, nodes: NodeTable) -> bool:
    """Whether the task is bound to a node that must not keep it."""
    return task.node_id is not UNSET and unfit(nodes.get(task.node_id))


def may_run(task: Task, nodes: NodeTable) -> bool:
    """Whether the task's work may still be going on somewhere that answers."""
    if not TaskState.ASSIGNED.rank <= task.status.state.rank <= TaskState.RUNNING.rank:
        return False
    node = nodes.get(given(task.node_id, ""))
    return node is not None and node.status.state is not NodeState.DOWN


def stopping(tasks: Collection[Task], nodes: NodeTable) -> bool:
    """Whether a task that shall stop may still be running."""
    return any(not live(task) and may_run(task, nodes) for task in tasks)


def new_task(
    service: Service,
    place: str,
    rng: random.Random,
    now: datetime,
    *,
    desired: TaskState = TaskState.RUNNING,
    restart_after: datetime | None = None,
    node_id: str = "",
    moves: str = "",
) -> Task:
    """Make a task of the service's present spec; a place that is a number is a slot.

    ``node_id``: it shall go to this node alone. ``moves``: see ``TaskInternal``.
    """
    slot = place.isdecimal() and len(place) < _NODE_ID_LENGTH
    return Task(
        id=new_id(rng),
        spec=task_spec(service.spec),
        service_id=service.id,
        slot=int(place) if slot else UNSET,
        node_id=(node_id or UNSET) if slot else place,
        status=TaskStatus(timestamp=now, state=TaskState.NEW, message="created"),
        desired_state=desired,
        job_iteration=ObjectVersion(index=service_run(service)) if is_job(service) else UNSET,
        internal=TaskInternal(
            spec_version=service_version(service),
            service_name=given(service.spec.name, ""),
            service_labels=given(service.spec.labels, {}),
            restart_after=UNSET if restart_after is None else restart_after,
            ports=ports(service.spec),
            moves=moves,
        ),
    )


_NODE_ID_LENGTH = 25
