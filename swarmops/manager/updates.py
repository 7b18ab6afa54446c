"""Rolling updates: which places get a task of the new spec now, and what to say of the progress.

Pure. Docker's update config: parallelism (0: all at once), delay after each place, monitor, failure
ratio and action, order. Everything is read from the service and its tasks; the restart policy
brings the replacements to life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from swarmops.errors import InputError
from swarmops.manager import constraints, extensions
from swarmops.manager.places import Places, live, made, service_version, spec_version
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS, placement, ports, restart_delay_s, task_spec
from swarmops.model.node import Node
from swarmops.model.service import Service, ServiceInternal, UpdateConfig, UpdateStatus
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import NodeTable

MONITOR_S = 5.0
_ROLLBACK = "rollback_"
_ENDED = {"completed": "update completed", "rollback_completed": "rollback completed"}
_BY_ITSELF = (TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED)


@dataclass
class UpdateStep:
    """What an update does next."""

    replace: list[str] = field(default_factory=list)
    """Places whose task is replaced now."""
    start_first: bool = False
    service: Service | None = None
    """The service with new progress, or rolled back."""
    wake: datetime | None = None


def plan(service: Service, places: Places, now: datetime, nodes: NodeTable) -> UpdateStep:
    """Decide about the places in use of one service."""
    old = outdated(service, places, nodes)
    dirty = [place for place, tasks in places.items() if _dirty(tasks, old)] if old else []
    going = _going(service)
    config = _config(service)
    step = UpdateStep(start_first=given(config.order, "stop-first") == "start-first")
    if going == "paused" or (not dirty and not going):
        return step
    if not going:
        step.service = _say(service, "updating", "update in progress", now)
        going = "updating"
    fresh = {place: tasks for place, tasks in places.items() if _replaced(service, tasks, old)}
    failed = [task for tasks in fresh.values() for task in tasks if _failed(service, task, config)]
    action = given(config.failure_action, "pause") or "pause"
    if failed and len(failed) / (len(fresh) + len(dirty)) > given(config.max_failure_ratio, 0.0):
        reason = f"failure or early termination of task {failed[0].id}"
        if action != "continue":
            step.service = _give_up(service, action, reason, now)
            return step
    deadline_s = extensions.read(service.spec).progress_deadline_s
    started = [
        _Place(tasks, _tried_since(service, tasks), _due(service, tasks, deadline_s))
        for place, tasks in fresh.items()
        if place not in set(dirty)
    ]
    stalled = [each for each in started if each.stalled(now)]
    if stalled and action != "continue":
        newest = max(stalled[0].tasks, key=made)
        reason = f"no progress of task {newest.id} for {deadline_s:g} s"
        step.service = _give_up(service, action, reason, now)
        return step
    moving = [each for each in started if each not in stalled]
    _advance(step, service, config, dirty, {d: fresh.get(d, []) for d in dirty}, moving, now)
    return step


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A place that has a task of the new spec."""

    tasks: Sequence[Task]
    tried_since: datetime | None
    """Since when it is known how the new task does; None: not yet."""
    due: datetime | None
    """By when the new task shall run; None: no matter."""

    def stalled(self, now: datetime) -> bool:
        return self.tried_since is None and self.due is not None and self.due <= now


def _advance(  # noqa: PLR0917 - the parts of one decision
    step: UpdateStep,
    service: Service,
    config: UpdateConfig,
    dirty: list[str],
    tried: Places,
    started: Sequence[_Place],
    now: datetime,
) -> None:
    """Fill the free workers with dirty places; with none left, finish after the monitor time."""
    done = [each.tried_since for each in started]
    delay = timedelta(seconds=given(config.delay, 0) / NANOSECONDS)
    rests = [since + delay for since in done if since is not None and since + delay > now]
    busy = done.count(None) + len(rests)
    parallelism = given(config.parallelism, 1) if _has_config(service) else 1
    room = len(dirty) if parallelism <= 0 else max(parallelism - busy, 0)
    retries = {place: _again_at(service, tried.get(place, ()), now) for place in dirty}
    ready = sorted((place for place in dirty if retries[place] <= now), key=_numeric)
    step.replace = ready[:room]
    moments = [*rests, *(moment for moment in retries.values() if moment > now)]
    moments += [each.due for each in started if each.tried_since is None and each.due]
    if not dirty and None not in done:
        monitor = timedelta(seconds=_monitor_s(config))
        moments = [since + monitor for since in done if since and since + monitor > now]
        if not moments:
            state = "rollback_completed" if _rolling_back(service) else "completed"
            step.service = _say(service, state, _ENDED[state], now)
    step.wake = min(moments, default=None)


def outdated(service: Service, places: Places, nodes: NodeTable) -> frozenset[str]:
    """Return the IDs of the tasks that differ from what the service's present spec says."""
    version = service_version(service)
    return frozenset(
        task.id
        for tasks in places.values()
        for task in tasks
        if spec_version(task) != version and is_dirty(service, task, nodes)
    )


def is_dirty(service: Service, task: Task, nodes: NodeTable) -> bool:
    """Whether a task differs from what the service's present spec says, of its ports too.

    As in Docker, another placement alone is no difference while the task's node fulfils it.
    """
    if spec_version(task) == service_version(service):
        return False
    if given(task.internal, TaskInternal()).ports != ports(service.spec):
        return True
    wanted = task_spec(service.spec)
    if task.spec == wanted:
        return False
    if msgspec.structs.replace(task.spec, placement=wanted.placement) != wanted:
        return True
    return not _fulfils(nodes.get(given(task.node_id, "")), service)


def _fulfils(node: Node | None, service: Service) -> bool:
    try:
        wanted = constraints.parse(given(placement(task_spec(service.spec)).constraints, []))
    except InputError:
        return False
    return node is not None and constraints.matches(wanted, node)


def _dirty(tasks: Sequence[Task], old: frozenset[str]) -> bool:
    """Whether every task of the place that counts is of an old spec."""
    wanted = [task for task in tasks if live(task)] or list(tasks[-1:])
    return bool(wanted) and all(task.id in old for task in wanted)


def _replaced(service: Service, tasks: Sequence[Task], old: frozenset[str]) -> bool:
    """Whether the place got a new task in this update."""
    version = service_version(service)
    return any(spec_version(task) == version for task in tasks) and any(
        task.id in old for task in tasks
    )


def _due(service: Service, tasks: Sequence[Task], deadline_s: float) -> datetime | None:
    """Return when a place whose new task does not run holds up the update for too long."""
    version = service_version(service)
    made_at = [task.created_at for task in tasks if spec_version(task) == version]
    return min(made_at) + timedelta(seconds=deadline_s) if made_at and deadline_s > 0 else None


def _again_at(service: Service, tasks: Sequence[Task], now: datetime) -> datetime:
    """Return when a place may get (another) new task: one that failed beside the old one waits."""
    ended = [
        given(given(task.internal, TaskInternal()).ended_at, now)
        for task in tasks
        if spec_version(task) == service_version(service) and task.status.state in _BY_ITSELF
    ]
    delay = timedelta(seconds=restart_delay_s(task_spec(service.spec)))
    return max(ended) + delay if ended else now


def _failed(service: Service, task: Task, config: UpdateConfig) -> bool:
    """Whether a new task ended by itself before it ran for the monitor time."""
    if spec_version(task) != service_version(service) or task.status.state not in _BY_ITSELF:
        return False
    internal = given(task.internal, TaskInternal())
    if internal.running_at is UNSET or internal.ended_at is UNSET:
        return True
    return (internal.ended_at - internal.running_at).total_seconds() < _monitor_s(config)


def _tried_since(service: Service, tasks: Sequence[Task]) -> datetime | None:
    """Return when a new task of the place first ran, or ended by itself; None before that.

    What became of it later is the restart policy's business, and that of the monitor: a failure
    that the update bears, in a place that is not restarted, must not hold it up.
    """
    version = service_version(service)
    moments = [
        _tried_at(task)
        for task in tasks
        if spec_version(task) == version
        and (task.status.state is TaskState.RUNNING or task.status.state in _BY_ITSELF)
    ]
    return min(moments, default=None)


def _tried_at(task: Task) -> datetime:
    internal = given(task.internal, TaskInternal())
    ended_at = given(internal.ended_at, task.updated_at)
    running = task.status.state is TaskState.RUNNING
    return given(internal.running_at, task.updated_at if running else ended_at)


def _going(service: Service) -> str:
    """Return ``updating`` or ``paused`` for the present spec, empty if nothing goes on."""
    status = given(service.update_status, UpdateStatus())
    state = given(status.state, "")
    if state == "rollback_started":
        return "updating"
    if given(service.internal, ServiceInternal()).update_version != service_version(service):
        return ""
    if state in ("paused", "rollback_paused"):
        return "paused"
    return "updating" if state == "updating" else ""


def _rolling_back(service: Service) -> bool:
    return given(given(service.update_status, UpdateStatus()).state, "").startswith(_ROLLBACK)


def _has_config(service: Service) -> bool:
    chosen = service.spec.rollback_config if _rolling_back(service) else service.spec.update_config
    return given(chosen, None) is not None


def _config(service: Service) -> UpdateConfig:
    """Return the config that holds; a parallelism that a given config leaves out means all."""
    chosen = service.spec.rollback_config if _rolling_back(service) else service.spec.update_config
    config = given(chosen, UpdateConfig())
    return msgspec.structs.replace(config, parallelism=given(config.parallelism, 0))


def _monitor_s(config: UpdateConfig) -> float:
    monitor_s = given(config.monitor, 0) / NANOSECONDS or MONITOR_S
    delay_s = given(config.delay, 0) / NANOSECONDS
    return monitor_s if delay_s < monitor_s else delay_s + 1


def _say(service: Service, state: str, message: str, now: datetime) -> Service:
    former = given(service.update_status, UpdateStatus())
    ended = state not in ("updating", "rollback_started")
    status = UpdateStatus(
        state=state,
        started_at=given(former.started_at, now) if ended else now,
        completed_at=now if ended else UNSET,
        message=message,
    )
    internal = msgspec.structs.replace(
        given(service.internal, ServiceInternal()), update_version=service_version(service)
    )
    return msgspec.structs.replace(service, update_status=status, internal=internal)


def _give_up(service: Service, action: str, reason: str, now: datetime) -> Service:
    if _rolling_back(service):
        return _say(service, "rollback_paused", f"rollback paused due to {reason}", now)
    previous = given(service.previous_spec, None)
    if action != "rollback" or previous is None:
        return _say(service, "paused", f"update paused due to {reason}", now)
    said = _say(service, "rollback_started", f"update rolled back due to {reason}", now)
    internal = given(said.internal, ServiceInternal())
    internal = msgspec.structs.replace(internal, registry_auth=internal.previous_registry_auth)
    return msgspec.structs.replace(said, spec=previous, previous_spec=UNSET, internal=internal)


def _numeric(place: str) -> tuple[int, str]:
    return len(place), place
