"""Restarts by policy while no manager answers: the task is attempted again under its own ID.

Called by the worker. To the swarm such a task has never ended: its end is not reported while it is
attempted again, and when a manager returns it hears RUNNING, with the new process or container. If
the attempt's turn has not come by then the end is reported instead, and the manager replaces the
task as usual. If the manager has replaced it meanwhile, because this node was DOWN, it says so and
the attempt is stopped. Thus states only go forward for everyone, and nobody runs a task twice that
could know better. Output of the former attempt goes with it. ``max_attempts`` counts the attempts
made here, and a backoff grows with them: those of the manager's time are not known to this node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from msgspec.structs import replace

from swarmops.agent.records import Attempts, Record
from swarmops.agent.runner import Runner
from swarmops.model import defaults
from swarmops.model.backoff import backoff_of
from swarmops.model.base import given
from swarmops.model.task import TaskInternal, TaskState

PATIENCE_S = 5.0
"""A manager that is only being changed comes back within this time: its own restart is awaited."""
log = structlog.get_logger(__name__)
_ENDS = {TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED}


def next_attempt(record: Record, now: datetime) -> Attempts | None:
    """Return when the policy has the ended task attempted again, None if it doesn't."""
    spec, state, desired = record.task.spec, record.status.state, record.task.desired_state
    if not record.assigned or state not in _ENDS:
        return None
    if desired not in {TaskState.RUNNING, TaskState.COMPLETE}:
        return None
    condition = defaults.restart_condition(spec)
    is_job = desired is TaskState.COMPLETE
    if condition == "none" or (
        state is TaskState.COMPLETE and (is_job or condition == "on-failure")
    ):
        return None
    most = defaults.restart_max_attempts(spec)
    counted = _counted(record, now)
    if most and len(counted) >= most:
        return None
    delay_s = _delay_s(record, now)
    kept = counted or record.attempts.restarted[-1:]
    return Attempts(kept, now + timedelta(seconds=delay_s), delay_s)


def _delay_s(record: Record, now: datetime) -> float:
    """Return the policy's delay; with a backoff it grows with each attempt that is made here."""
    least_s = max(defaults.restart_delay_s(record.task.spec), PATIENCE_S)
    backoff = backoff_of(given(record.task.internal, TaskInternal()).service_labels)
    former = record.attempts
    if backoff.factor <= 1 or not former.restarted:
        return least_s
    ran_s = (now - former.restarted[-1]).total_seconds()
    return backoff.delay_s(former.delay_s, ran_s, least_s)


def _counted(record: Record, now: datetime) -> list[datetime]:
    """Return the attempts that count: those within the policy's window."""
    window_s = defaults.restart_window_s(record.task.spec)
    since = now - timedelta(seconds=window_s)
    return [at for at in record.attempts.restarted if not window_s or at > since]


class Alone:
    """Waits for the turn of each task that ended while there was no manager."""

    def __init__(self, runners: Mapping[str, Runner], now: Callable[[], datetime]) -> None:
        self._runners = runners
        self._now = now
        self._alone = True
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def restore(self) -> None:
        """Go on with what the former daemon was about to do, unless a manager answers soon.

        A task that ended while a manager was there, and is wanted all the same, ended just before
        the two were killed.
        """
        for runner in list(self._runners.values()):
            if runner.record.attempts.due is not None:
                self._wait(runner.record, PATIENCE_S)
            else:
                self.ended(runner.record)

    def ended(self, record: Record) -> None:
        """Hear of a task's end, and have it attempted again if there is nobody else to decide."""
        if not self._alone or record.attempts.due is not None:
            return
        attempts = next_attempt(record, self._now())
        if attempts is not None:
            self._runners[record.id].plan(attempts)
            self._wait(self._runners[record.id].record)

    def met(self) -> None:
        """Hear that a manager answers: it decides about what has ended."""
        self._alone = False
        for task_id in list(self._timers):
            runner = self._runners[task_id]
            self.forget(task_id)
            runner.plan(replace(runner.record.attempts, due=None))

    def parted(self, unconfirmed: Callable[[str], bool]) -> None:
        """Hear that no manager answers any more; it may not have heard of the last ends."""
        self._alone = True
        for task_id, runner in list(self._runners.items()):
            if runner.record.status.state.terminal and unconfirmed(task_id):
                self.ended(runner.record)

    def forget(self, task_id: str) -> None:
        """Attempt nothing more of the task."""
        if timer := self._timers.pop(task_id, None):
            timer.cancel()

    def close(self) -> None:
        """Wait for nothing; what was due is found again."""
        for task_id in list(self._timers):
            self.forget(task_id)

    def _wait(self, record: Record, least_s: float = 0.0) -> None:
        due = record.attempts.due or self._now()
        # The clock may have been set back since then: no longer than the delay, in any case.
        left_s = min((due - self._now()).total_seconds(), record.attempts.delay_s)
        wait_s = max(left_s, least_s)
        loop = asyncio.get_running_loop()
        self._timers[record.id] = loop.call_later(wait_s, self._begin, record.id)

    def _begin(self, task_id: str) -> None:
        del self._timers[task_id]
        log.info("no manager answers: a task is attempted again", task=task_id)
        self._runners[task_id].again()
