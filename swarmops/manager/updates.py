"""Rolling updates: which places get a task of the new spec now, and what to say of the progress.

Pure. Docker's update config: parallelism (0: all at once), delay after each place, monitor, failure
ratio and action, order. Everything is read from the service and its tasks; the restart policy
brings the replacements to life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import msgspec
from msgspec import UNSET

from swarmops.manager import extensions
from swarmops.manager.places import made, service_version, spec_version
from swarmops.manager.update_survey import (
    BY_ITSELF,
    UpdateSurvey,
    delay_s,
    has_config,
    monitor_s,
    rolling_back,
)
from swarmops.model.base import given
from swarmops.model.defaults import restart_delay_s, task_spec
from swarmops.model.service import Service, ServiceInternal, UpdateStatus
from swarmops.model.task import Task, TaskInternal

_ENDED = {"completed": "update completed", "rollback_completed": "rollback completed"}


@dataclass
class UpdateStep:
    """What an update does next."""

    replace: list[str] = field(default_factory=list)
    """Places whose task is replaced now."""
    start_first: bool = False
    service: Service | None = None
    """The service with new progress, or rolled back."""
    wake: datetime | None = None


def plan(service: Service, found: UpdateSurvey, now: datetime) -> UpdateStep:
    """Decide about one service, by what was found in its places in use."""
    going = _going(service)
    config = found.config
    step = UpdateStep(start_first=given(config.order, "stop-first") == "start-first")
    # Places that were tried, when the update is over, are the restart policy's.
    if going == "paused" or (not going and len(found.dirty) == len(found.tried)):
        return step
    if not going:
        step.service = _say(service, "updating", "update in progress", now)
    action = given(config.failure_action, "pause") or "pause"
    places = found.replaced + len(found.dirty) - len(found.tried)
    if found.failed and len(found.failed) / places > given(config.max_failure_ratio, 0.0):
        reason = f"failure or early termination of task {next(iter(found.failed.values())).id}"
        if action != "continue":
            step.service = _give_up(service, action, reason, now)
            return step
    stalled = next(found.due.until(now), None)
    if stalled is not None and action != "continue":
        newest = max(found.waiting[stalled], key=made)
        deadline_s = extensions.read(service.spec).progress_deadline_s
        reason = f"no progress of task {newest.id} for {deadline_s:g} s"
        step.service = _give_up(service, action, reason, now)
        return step
    _advance(step, service, found, now)
    return step


def _advance(step: UpdateStep, service: Service, found: UpdateSurvey, now: datetime) -> None:
    """Fill the free workers with dirty places; with none left, finish after the monitor time."""
    config, dirty = found.config, found.dirty
    waiting = len(found.waiting) - found.due.count_until(now)
    delay = timedelta(seconds=delay_s(config))
    busy = waiting + found.tried_since.count_after(now - delay)
    parallelism = given(config.parallelism, 1) if has_config(service) else 1
    room = len(dirty) if parallelism <= 0 else max(parallelism - busy, 0)
    tried = {place: _again_at(service, tasks, now) for place, tasks in found.tried.items()}
    later = {place: moment for place, moment in tried.items() if moment > now}
    step.replace = list(islice((place for place in dirty if place not in later), room))
    moments = [*later.values()]
    if (rests := found.tried_since.first_after(now - delay)) is not None:
        moments.append(rests + delay)
    if (due := found.due.first_after(now)) is not None:
        moments.append(due)
    if not dirty and not waiting:
        monitor = timedelta(seconds=monitor_s(config))
        watched = found.tried_since.first_after(now - monitor)
        moments = [] if watched is None else [watched + monitor]
        if not moments:
            state = "rollback_completed" if rolling_back(service) else "completed"
            step.service = _say(service, state, _ENDED[state], now)
    step.wake = min(moments, default=None)


def _again_at(service: Service, tasks: Sequence[Task], now: datetime) -> datetime:
    """Return when a place may get (another) new task: one that failed beside the old one waits."""
    ended = [
        given(given(task.internal, TaskInternal()).ended_at, now)
        for task in tasks
        if spec_version(task) == service_version(service) and task.status.state in BY_ITSELF
    ]
    delay = timedelta(seconds=restart_delay_s(task_spec(service.spec)))
    return max(ended) + delay if ended else now


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
    if rolling_back(service):
        return _say(service, "rollback_paused", f"rollback paused due to {reason}", now)
    previous = given(service.previous_spec, None)
    if action != "rollback" or previous is None:
        return _say(service, "paused", f"update paused due to {reason}", now)
    said = _say(service, "rollback_started", f"update rolled back due to {reason}", now)
    internal = given(said.internal, ServiceInternal())
    internal = msgspec.structs.replace(internal, registry_auth=internal.previous_registry_auth)
    return msgspec.structs.replace(said, spec=previous, previous_spec=UNSET, internal=internal)
