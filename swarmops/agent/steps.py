"""The life of a task, as a table: which verb brings it to the next state, and what that is called.

Pure; asked by ``runner``, which does what is decided here. A task moves by exactly one state a
step, never backwards, and is never started a second time. Rules and messages are Docker's.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.agent.executors.base import Exit, Report
from swarmops.model.task import ContainerStatus, PortStatus, TaskState, TaskStatus


class Verb(Enum):
    """What has to be done before the next state is reached."""

    NOTHING = "nothing"
    PREPARE = "prepare"
    START = "start"
    WAIT = "wait"
    STOP = "stop"


class Action(msgspec.Struct, frozen=True):
    """One step: do the verb; if that succeeds, the task is in the state ``to``."""

    verb: Verb
    to: TaskState
    message: str


ERROR_CHARS_MAX = 4096
"""Of a task's error: a command or an engine's answer may be a megabyte."""

_STOP = Action(Verb.STOP, TaskState.SHUTDOWN, "shutdown")
_ACCEPT = Action(Verb.NOTHING, TaskState.ACCEPTED, "accepted")
_STEPS = {
    TaskState.NEW: _ACCEPT,
    TaskState.PENDING: _ACCEPT,
    TaskState.ASSIGNED: _ACCEPT,
    TaskState.ACCEPTED: Action(Verb.NOTHING, TaskState.PREPARING, "preparing"),
    TaskState.PREPARING: Action(Verb.PREPARE, TaskState.READY, "prepared"),
    TaskState.READY: Action(Verb.NOTHING, TaskState.STARTING, "starting"),
    TaskState.STARTING: Action(Verb.START, TaskState.RUNNING, "started"),
    TaskState.RUNNING: Action(Verb.WAIT, TaskState.COMPLETE, "finished"),
}
_BUSY = {TaskState.PREPARING, TaskState.STARTING, TaskState.RUNNING}
"""What was begun is brought to its end, even where the desired state has been reached."""


def next_step(observed: TaskState, desired: TaskState) -> Action | None:
    """Return the one step to take now, or None while there is nothing to do."""
    if observed.terminal:
        return None
    if desired.rank >= TaskState.SHUTDOWN.rank:
        return _STOP
    if observed.rank > desired.rank or (observed is desired and observed not in _BUSY):
        return None
    return _STEPS[observed]


def moved(status: TaskStatus, action: Action, at: datetime) -> TaskStatus:
    """Return the status once the action succeeded."""
    return replace(status, state=action.to, message=action.message, err=UNSET, timestamp=at)


def failed(status: TaskStatus, error: str, at: datetime) -> TaskStatus:
    """Return the status after an error: REJECTED before STARTING, FAILED from there on."""
    early = status.state.rank < TaskState.STARTING.rank
    state = TaskState.REJECTED if early else TaskState.FAILED
    if len(error) > ERROR_CHARS_MAX:
        error = f"{error[:ERROR_CHARS_MAX]}…"
    return replace(status, state=state, err=error, timestamp=at)


def ended(status: TaskStatus, end: Exit, at: datetime) -> TaskStatus:
    """Return the status after the task's process ended by itself: COMPLETE if it exited with 0."""
    status = with_container(status, end.container)
    if end.code == 0 and not end.error:
        return moved(status, _STEPS[TaskState.RUNNING], at)
    cause = f": {end.error}" if end.error else ""
    return failed(status, f"task: non-zero exit ({end.code}){cause}", at)


def with_container(status: TaskStatus, container: ContainerStatus) -> TaskStatus:
    """Return the status with what the executor says of the container."""
    return replace(status, container_status=container)


def with_report(status: TaskStatus, report: Report) -> TaskStatus:
    """Return the status with the ports that the task has on its node."""
    return replace(status, port_status=PortStatus(ports=report.ports)) if report.ports else status


def started(status: TaskStatus, action: Action, report: Report, at: datetime) -> TaskStatus:
    """Return the status of a task that runs; its message says what it has to do without."""
    status = moved(status, action, at)
    if not report.warning:
        return status
    return replace(status, message=f"{action.message}, {report.warning}")
