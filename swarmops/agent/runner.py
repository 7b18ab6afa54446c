"""Advances one task: asks ``steps`` what comes next, has the executor do it, records the result.

The worker makes one runner for each task and tells it when the desired state changes. A runner
holds an asyncio task only while there is something to do or to wait for. It never decides whether
a task should run, and starts one a second time only where ``alone`` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from swarmops.agent import task_log
from swarmops.agent.executors.base import (
    Executor,
    Exit,
    TaskError,
    TemporaryError,
    UnhealthyError,
    choose,
)
from swarmops.agent.leaving import leave_s, out_of_tables, unhealthy_leave_s
from swarmops.agent.records import Attempts, Database, Record
from swarmops.agent.steps import (
    Action,
    Verb,
    ended,
    failed,
    moved,
    next_step,
    started,
    with_container,
    with_report,
)
from swarmops.agent.task_files import Dependencies
from swarmops.agent.work import NodeFacts, Work, make_work, plain_work
from swarmops.errors import SwarmopsError
from swarmops.model import defaults
from swarmops.model.task import TaskState, TaskStatus

RETRY_S = 1.0
log = structlog.get_logger(__name__)
T = TypeVar("T")


class _InterruptedError(Exception):
    """The task shall stop, so what was waited for is of no interest any more."""


class Surroundings(msgspec.Struct, frozen=True):
    """What a runner needs of its node.

    ``changed`` is told of each change of a record. ``heartbeat_period_s`` is the managers' last.
    """

    executors: Mapping[str, Executor]
    facts: Callable[[], NodeFacts]
    held: Callable[[], Dependencies]
    database: Database
    changed: Callable[[Record], None]
    now: Callable[[], datetime]
    heartbeat_period_s: Callable[[], float]


class Runner:
    """One task's runner. ``record`` is what is known of the task; nobody else changes it."""

    def __init__(self, record: Record, around: Surroundings) -> None:
        self.record = record
        self._around = around
        self._work: Work | None = None
        self._loop: asyncio.Task[None] | None = None
        self._verb: asyncio.Task[Any] | None = None

    def poke(self) -> None:
        """See whether there is something to do, and do it in the background."""
        if self._loop is None or self._loop.done():
            if next_step(self.record.status.state, self.record.task.desired_state) is not None:
                self._loop = asyncio.create_task(self._advance(), name=f"task {self.record.id}")
        elif self._shall_stop and self._verb is not None:
            self._verb.cancel()

    def want(self, desired: TaskState) -> None:
        """Take note of a later desired state; an earlier one is ignored."""
        if desired.rank > self.record.task.desired_state.rank:
            task = replace(self.record.task, desired_state=desired)
            self._set(replace(self.record, task=task))
            self.poke()

    def plan(self, attempts: Attempts) -> None:
        """Take note of the attempts that no manager hears of."""
        self._set(replace(self.record, attempts=attempts))

    def again(self) -> None:
        """Attempt the ended task once more, after everything of its former attempt is removed."""
        self._loop = asyncio.create_task(self._again(), name=f"task {self.record.id} again")

    def unassign(self) -> None:
        """Take note that the manager has dropped the task."""
        self._set(replace(self.record, assigned=False))

    async def leave(self) -> None:
        """Stop looking after the task, which runs on."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def remove(self) -> None:
        """Stop the task as its spec says, then remove all that was made for it."""
        await self.leave()
        await self._remove()

    async def _remove(self) -> None:
        if (executor := self._around.executors.get(self.record.executor)) is None:
            return
        while True:
            try:
                if not self.record.status.state.terminal:
                    await self._stop(executor)
                await executor.remove(plain_work(self.record.task, self._around.facts()))
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing may stay
                log.warning("a task could not be removed", task=self.record.id, error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    @property
    def _shall_stop(self) -> bool:
        return self.record.task.desired_state.rank >= TaskState.SHUTDOWN.rank

    def _set(self, record: Record) -> None:
        task_log.tell(self.record.status, record, self._around.facts().id)
        self.record = record
        self._around.database.put(record)
        self._around.changed(record)

    async def _again(self) -> None:
        await self._remove()
        now = self._around.now()
        status = TaskStatus(timestamp=now, state=TaskState.ASSIGNED, message="attempted again")
        former = self.record.attempts
        attempts = Attempts([*former.restarted, now], delay_s=former.delay_s)
        self._work = None
        self._set(replace(self.record, status=status, attempts=attempts))
        await self._advance()

    async def _advance(self) -> None:
        while step := next_step(self.record.status.state, self.record.task.desired_state):
            status = await self._attempt(step)
            if status is not None:
                self._set(replace(self.record, status=status))

    async def _attempt(self, step: Action) -> TaskStatus | None:
        """Return the status that the step led to, None where it has to be tried again."""
        status = self.record.status
        try:
            return await self._do(step)
        except _InterruptedError:
            return None
        except TemporaryError as error:
            log.info("a task waits", task=self.record.id, verb=step.verb.value, error=str(error))
        except (SwarmopsError, OSError) as error:
            if step.verb is not Verb.STOP:
                return await self._fail(step, status, str(error))
            log.warning("a task does not stop", task=self.record.id, error=str(error))
        except Exception as error:  # an executor's bug costs its task, not the node
            log.exception("an executor failed", task=self.record.id, verb=step.verb.value)
            if step.verb is not Verb.STOP:
                text = f"executor error: {type(error).__name__}: {error}"
                return await self._fail(step, status, text)
        await asyncio.sleep(RETRY_S)
        return None

    async def _fail(self, step: Action, status: TaskStatus, error: str) -> TaskStatus | None:
        """Return the status after an error, once nothing of the task runs any more.

        What failed may be the question how the task is, and not the task: it must not run on beside
        its replacement. None where it can't be stopped for now.
        """
        executor = self._around.executors.get(self.record.executor)
        if executor is not None and step.verb in {Verb.START, Verb.WAIT}:
            try:
                await self._stop(executor)
            except (TemporaryError, OSError) as trouble:
                log.info("a failed task waits to be stopped", task=self.record.id, why=str(trouble))
                await asyncio.sleep(RETRY_S)
                return None
            except Exception as trouble:  # noqa: BLE001 - its end is told all the same
                log.warning("a failed task may run on", task=self.record.id, why=str(trouble))
        return failed(status, error, self._around.now())

    async def _unless_stopped(self, doing: Coroutine[Any, Any, T]) -> T:
        """Return its result; it is cancelled, and nothing returned, once the task shall stop."""
        if self._shall_stop:
            doing.close()
            raise _InterruptedError
        self._verb = verb = asyncio.create_task(doing)
        try:
            await asyncio.wait([verb])
        except asyncio.CancelledError:
            verb.cancel()
            await asyncio.wait([verb])
            raise
        finally:
            self._verb = None
        if verb.cancelled():
            raise _InterruptedError
        result: T = verb.result()
        return result

    async def _do(self, step: Action) -> TaskStatus:
        at = self._around.now
        match step.verb:
            case Verb.NOTHING:
                return moved(self.record.status, step, at())
            case Verb.STOP:
                status = self.record.status
                if status.state is TaskState.RUNNING:
                    period_s = self._around.heartbeat_period_s()
                    await asyncio.sleep(leave_s(self.record.task, period_s))
                if executor := self._around.executors.get(self.record.executor):
                    status = await self._stop(executor)
                return moved(status, step, at())
            case Verb.PREPARE:
                work = self._make_work()
                executor = self._choose(work.image)
                await self._unless_stopped(self._around.database.flush())
                await self._unless_stopped(executor.prepare(work))
                return moved(self.record.status, step, at())
            case Verb.START:
                return await self._start(step)
            case Verb.WAIT:
                self._work = None  # what it holds of secrets is not needed any more
                work = plain_work(self.record.task, self._around.facts())
                executor = self._executor()
                try:
                    end = await self._unless_stopped(executor.wait(work))
                except UnhealthyError as error:
                    await self._leave_tables()
                    end = await self._stop_unhealthy(executor, error)
                return ended(self.record.status, end, at())

    async def _start(self, step: Action) -> TaskStatus:
        """Start the task and wait until it is healthy."""
        work, executor = self._make_work(), self._executor()
        await self._unless_stopped(self._around.database.flush())
        container = await executor.start(work)
        report = await executor.report(work)
        status = with_report(with_container(self.record.status, container), report)
        self._set(replace(self.record, status=status))
        try:
            end: Exit | None = await self._unless_stopped(executor.healthy(work))
        except UnhealthyError as error:
            end = await self._stop_unhealthy(executor, error)
        if end is not None and (end.code or end.error):
            return ended(status, end, self._around.now())
        return started(status, step, report, self._around.now())

    async def _leave_tables(self) -> None:
        """Have no node pass connections on to the task while it is being stopped.

        This isn't written to the database: a daemon that comes back has the task tested anew.
        """
        wait_s = unhealthy_leave_s(self.record.task)
        if wait_s <= 0:
            return
        self.record = replace(self.record, status=out_of_tables(self.record.status))
        self._around.changed(self.record)
        await asyncio.sleep(wait_s)

    async def _stop_unhealthy(self, executor: Executor, cause: UnhealthyError) -> Exit:
        await self._stop(executor)
        end = await executor.wait(plain_work(self.record.task, self._around.facts()))
        return Exit(end.code, end.container, str(cause))

    def _make_work(self) -> Work:
        if self._work is None:
            around = self._around
            self._work = make_work(self.record.task, around.facts(), around.held())
        return self._work

    def _choose(self, image: str) -> Executor:
        if not self.record.executor:
            chosen = choose(self._around.executors.values(), image)
            self._set(replace(self.record, executor=chosen.name))
        return self._executor()

    def _executor(self) -> Executor:
        executor = self._around.executors.get(self.record.executor)
        if executor is None:
            raise TaskError(
                f'the task was begun by the executor "{self.record.executor}", '
                "which is no longer installed on this node."
            )
        return executor

    async def _stop(self, executor: Executor) -> TaskStatus:
        work = plain_work(self.record.task, self._around.facts())
        grace_s = defaults.stop_grace_s(self.record.task.spec)
        container = await executor.stop(work, work.stop_signal, grace_s)
        return with_container(self.record.status, container)
