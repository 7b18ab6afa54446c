"""What a rolling update finds in the places of its service: old tasks, new ones, how these fare.

Pure. The orchestrator shows it one place after another, as many at a time as it likes, and again
each place in which something changed; ``updates`` decides on the whole, without a look at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import UNSET

from swarmops.errors import InputError
from swarmops.manager import constraints, extensions
from swarmops.manager.moments import Moments
from swarmops.manager.places import live, made, service_version, spec_version
from swarmops.manager.restarts import should_restart
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS, placement, ports, task_spec
from swarmops.model.node import Node
from swarmops.model.service import Service, UpdateConfig, UpdateStatus
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import NodeTable

MONITOR_S = 5.0
BY_ITSELF = (TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED)
_ROLLBACK = "rollback_"
_IN_PROGRESS = ("updating", "rollback_started")

Difference = Literal["none", "placement", "any"]
"""In what two specs differ: in the placement alone, or in more than that."""


class UpdateSurvey:
    """What was found so far."""

    def __init__(self, service: Service, nodes: NodeTable) -> None:
        self._service = service
        self._nodes = nodes
        self._version = service_version(service)
        self._deadline_s = extensions.read(service.spec).progress_deadline_s
        self.config = config_of(service)
        self._horizon = timedelta(seconds=max(monitor_s(self.config), delay_s(self.config)))
        self.dirty: dict[str, None] = {}
        """Places all of whose tasks that count are of an old spec, in the order of the survey."""
        self.tried: dict[str, Sequence[Task]] = {}
        """The tasks of those that had a new one already."""
        self.failed: dict[str, Task] = {}
        """New tasks that ended by themselves, too early, and were the first to end, by places."""
        self.waiting: dict[str, Sequence[Task]] = {}
        """The tasks of places of whose new task nobody knows yet how it does."""
        self.due = Moments()
        """By when those shall run that must not take any time they like."""
        self.tried_since = Moments()
        """Since when it is known how new tasks do, of those that began lately."""
        self._replaced: set[str] = set()
        self._differences: dict[int, Difference] = {}
        """How former specs of the service, by their versions, differ from the present one."""

    @property
    def replaced(self) -> int:
        """How many places got a new task in this update."""
        return len(self._replaced)

    def add(self, place: str, tasks: Sequence[Task], now: datetime) -> None:
        """Take note of one place in use, in place of what was noted of it before."""
        if place in self._replaced:
            self._replaced.discard(place)
            for found in (self.tried, self.failed, self.waiting):
                found.pop(place, None)
            self.due.set(place, None)
            self.tried_since.set(place, None)
        if not self._is_dirty(place, tasks, now):
            self.dirty.pop(place, None)
        else:
            self.dirty[place] = None

    def _is_dirty(self, place: str, tasks: Sequence[Task], now: datetime) -> bool:
        """Say whether the place is dirty, and note how its new task does if it has one."""
        version = self._version
        if all(spec_version(task) == version for task in tasks):
            return False
        old = {task.id for task in tasks if self._is_old(task)}
        if not old:
            return False
        dirty = _dirty(tasks, old)
        if not any(spec_version(task) == version for task in tasks):
            return dirty
        self._replaced.add(place)
        first = first_shown(self._service, tasks)
        if first is not None and failed(self._service, first):
            self.failed[place] = first
        if dirty and not self._is_given_up(tasks, now):
            self.tried[place] = tasks
            return True
        since = self._tried_since(tasks)
        if since is None:
            self.waiting[place] = tasks
            self.due.set(place, self._due(tasks))
        elif since + self._horizon > now:
            self.tried_since.set(place, min(since, now))  # later if the clock was set back
        return False

    def _is_old(self, task: Task) -> bool:
        """As ``is_dirty``, but each spec is compared once for all tasks that were made from it."""
        version = spec_version(task)
        found = self._differences.get(version)
        if found is None:
            found = self._differences[version] = difference(self._service, task)
        return _is_dirty(found, self._service, task, self._nodes)

    def _is_given_up(self, tasks: Sequence[Task], now: datetime) -> bool:
        """Whether the restart policy has no further task for a place that tried a new one.

        As in Docker, a place that keeps its old task beside a new one that failed gets another by
        the policy's condition and attempts; after that the old task is what it has.
        """
        newest = max((t for t in tasks if spec_version(t) == self._version), key=made)
        return newest.status.state in BY_ITSELF and not should_restart(newest, tasks, now)

    def _tried_since(self, tasks: Sequence[Task]) -> datetime | None:
        """Return when a new task of the place first ran, or ended by itself; None before that.

        What became of it later is the restart policy's business, and that of the monitor: a
        failure that the update bears, in a place that is not restarted, must not hold it up.
        """
        moments = [
            _tried_at(task)
            for task in tasks
            if spec_version(task) == self._version
            and (task.status.state is TaskState.RUNNING or task.status.state in BY_ITSELF)
        ]
        return min(moments, default=None)

    def _due(self, tasks: Sequence[Task]) -> datetime | None:
        made_at = [task.created_at for task in tasks if spec_version(task) == self._version]
        if not made_at or self._deadline_s <= 0:
            return None
        return min(made_at) + timedelta(seconds=self._deadline_s)


def is_dirty(service: Service, task: Task, nodes: NodeTable) -> bool:
    """Whether a task differs from what the service's present spec says, of its ports too.

    As in Docker, another placement alone is no difference while the task's node fulfils it.
    """
    return _is_dirty(difference(service, task), service, task, nodes)


def difference(service: Service, task: Task) -> Difference:
    """Say in what the spec that a task was made from differs from the service's present one."""
    if spec_version(task) == service_version(service):
        return "none"
    if given(task.internal, TaskInternal()).ports != ports(service.spec):
        return "any"
    wanted = task_spec(service.spec)
    if task.spec == wanted:
        return "none"
    if msgspec.structs.replace(task.spec, placement=wanted.placement) != wanted:
        return "any"
    return "placement"


def _is_dirty(found: Difference, service: Service, task: Task, nodes: NodeTable) -> bool:
    if found != "placement":
        return found == "any"
    return not _fulfils(nodes.get(given(task.node_id, "")), service)


def still_dirty(service: Service, tasks: Sequence[Task], nodes: NodeTable) -> bool:
    """Whether every task of the place that counts is of an old spec."""
    old = {task.id for task in tasks if is_dirty(service, task, nodes)}
    return _dirty(tasks, old)


def first_shown(service: Service, tasks: Sequence[Task]) -> Task | None:
    """Return the first ended task of a place that shows how the present spec does there, if any.

    It ended by itself, or was stopped after the monitor time. As in Docker, what the restart policy
    brings after it is none of the update's failures. ``tasks``: the oldest first.
    """
    monitored_s = monitor_s(config_of(service))
    for task in tasks:
        if spec_version(task) != service_version(service) or not task.status.state.terminal:
            continue
        if task.status.state in BY_ITSELF or _ran_s(task) >= monitored_s:
            return task
    return None


def failed(service: Service, task: Task) -> bool:
    """Whether a task of the present spec ended by itself before it ran for the monitor time."""
    if spec_version(task) != service_version(service) or task.status.state not in BY_ITSELF:
        return False
    return _ran_s(task) < monitor_s(config_of(service))


def _ran_s(task: Task) -> float:
    """Return for how long an ended task ran; less than nothing if it never did."""
    internal = given(task.internal, TaskInternal())
    if internal.running_at is UNSET or internal.ended_at is UNSET:
        return -1.0
    return (internal.ended_at - internal.running_at).total_seconds()


def updating(service: Service) -> bool:
    """Whether an update, or a rollback, goes on."""
    return given(given(service.update_status, UpdateStatus()).state, "") in _IN_PROGRESS


def unfinished(service: Service) -> bool:
    """Whether an update, or a rollback, goes on, or stands still and waits for someone."""
    state = given(given(service.update_status, UpdateStatus()).state, "completed")
    return not state.endswith("completed")


def rolling_back(service: Service) -> bool:
    """Whether the service's update is one back to its former spec."""
    return given(given(service.update_status, UpdateStatus()).state, "").startswith(_ROLLBACK)


def has_config(service: Service) -> bool:
    """Whether the spec says how such an update proceeds."""
    return _chosen(service) is not None


def config_of(service: Service) -> UpdateConfig:
    """Return the config that holds; a parallelism that a given config leaves out means all."""
    config = _chosen(service) or UpdateConfig()
    return msgspec.structs.replace(config, parallelism=given(config.parallelism, 0))


def monitor_s(config: UpdateConfig) -> float:
    """Return for how long a new task is watched."""
    wanted_s = given(config.monitor, 0) / NANOSECONDS or MONITOR_S
    return wanted_s if delay_s(config) < wanted_s else delay_s(config) + 1


def delay_s(config: UpdateConfig) -> float:
    """Return the pause after each place."""
    return given(config.delay, 0) / NANOSECONDS


def _chosen(service: Service) -> UpdateConfig | None:
    spec = service.spec
    return given(spec.rollback_config if rolling_back(service) else spec.update_config, None)


def _fulfils(node: Node | None, service: Service) -> bool:
    try:
        wanted = constraints.parse(given(placement(task_spec(service.spec)).constraints, []))
    except InputError:
        return False
    return node is not None and constraints.matches(wanted, node)


def _dirty(tasks: Sequence[Task], old: set[str]) -> bool:
    wanted = [task for task in tasks if live(task)] or list(tasks[-1:])
    return bool(wanted) and all(task.id in old for task in wanted)


def _tried_at(task: Task) -> datetime:
    internal = given(task.internal, TaskInternal())
    ended_at = given(internal.ended_at, task.updated_at)
    running = task.status.state is TaskState.RUNNING
    return given(internal.running_at, task.updated_at if running else ended_at)
