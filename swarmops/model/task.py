"""Tasks: one attempt to run a service's work on one node, never restarted, only replaced."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from msgspec import UNSET

from swarmops.model.base import ZERO_TIME, Labels, Model, Opt
from swarmops.model.network import NetworkAttachment
from swarmops.model.object import Object, ObjectVersion
from swarmops.model.service import GenericResource, PortConfig, TaskSpec


class TaskState(Enum):
    """A task's states; ``rank`` orders them, and a task only ever moves to a higher rank."""

    # Of each state, not looked up: managers ask for them several times with each change of a task.
    rank: int
    """The state's place in the order."""
    terminal: bool
    """Whether a task observed in this state will never run again."""

    NEW = "new"
    PENDING = "pending"
    ASSIGNED = "assigned"
    ACCEPTED = "accepted"
    PREPARING = "preparing"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    COMPLETE = "complete"
    SHUTDOWN = "shutdown"
    FAILED = "failed"
    REJECTED = "rejected"
    REMOVE = "remove"
    ORPHANED = "orphaned"

    def __init__(self, _value: str) -> None:
        before = type(self).__members__
        self.rank = len(before)
        self.terminal = "RUNNING" in before


class ContainerStatus(Model, frozen=True):
    """The container, or for the process executor the process, behind a task."""

    container_id: str | Opt = UNSET
    pid: int | Opt = UNSET
    exit_code: int | Opt = UNSET


class PortStatus(Model, frozen=True):
    """Ports that the task has on its node."""

    ports: list[PortConfig] | Opt = UNSET


class TaskStatus(Model, frozen=True):
    """What was last observed of a task. Written by the agent once the task is assigned."""

    timestamp: datetime = ZERO_TIME
    state: TaskState = TaskState.NEW
    message: str | Opt = UNSET
    err: str | Opt = UNSET
    container_status: ContainerStatus | Opt | None = UNSET
    port_status: PortStatus = PortStatus()


class TaskInternal(Model, frozen=True):
    """What managers keep about a task and the API never shows."""

    spec_version: int = 0
    """``ServiceInternal.spec_version`` of the spec that the task was made from."""
    service_name: str = ""
    service_labels: Labels = {}
    """The service's labels when the task was made, for its templates."""
    restart_after: datetime | Opt = UNSET
    """A replacement that waits for its restart delay is started at this time."""
    running_at: datetime | Opt = UNSET
    """When the swarm first knew that it runs; the store alone writes it."""
    ended_at: datetime | Opt = UNSET
    """When the swarm first knew that it ended; the store alone writes it."""
    moves: str = ""
    """The task that stops once this one runs: it is well, but shall stand on another node."""
    ports: list[PortConfig] = []
    """What the task publishes, with the ports that the swarm has allocated; never changes."""


class Task(Object, frozen=True):
    """A task as stored and served. ``slot`` is absent for tasks of global services."""

    labels: Labels = {}
    spec: TaskSpec = TaskSpec()
    service_id: str = ""
    slot: int | Opt = UNSET
    node_id: str | Opt = UNSET
    assigned_generic_resources: list[GenericResource] | Opt = UNSET
    status: TaskStatus = TaskStatus()
    desired_state: TaskState = TaskState.RUNNING
    networks_attachments: list[NetworkAttachment] | Opt = UNSET
    job_iteration: ObjectVersion | Opt = UNSET
    internal: TaskInternal | Opt = UNSET


def task_name(task: Task) -> str:
    """Docker's name of a task: ``service.slot.id``, or ``service.node.id`` of a global service."""
    service = task.internal.service_name if task.internal is not UNSET else task.service_id
    place = task.slot if task.slot is not UNSET else task.node_id
    return f"{service}.{place}.{task.id}"
