"""The tasks of this node: takes assignments, keeps a runner for each task, remembers them all.

The agent feeds it what a manager says and reports what it puts into the outbox; between the two no
manager is needed. What is restarted while no manager answers is decided by ``alone``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from msgspec.structs import replace

from swarmops.agent.alone import Alone
from swarmops.agent.executors.base import Executor
from swarmops.agent.outbox import Outbox
from swarmops.agent.records import Database, Record
from swarmops.agent.runner import Runner, Surroundings
from swarmops.agent.vault import Vault
from swarmops.agent.work import NodeFacts
from swarmops.model.session import Assignments
from swarmops.model.task import Task

log = structlog.get_logger(__name__)


class Worker:
    """All tasks of one node."""

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        executors: Mapping[str, Executor],
        facts: Callable[[], NodeFacts],
        outbox: Outbox,
        now: Callable[[], datetime],
        heartbeat_period_s: Callable[[], float],
    ) -> None:
        self._database = database
        self._vault = vault
        self._executors = executors
        self._outbox = outbox
        self._runners: dict[str, Runner] = {}
        self._removals: dict[str, asyncio.Task[None]] = {}
        self._alone = Alone(self._runners, now)
        self._around = Surroundings(
            executors=executors,
            facts=facts,
            held=lambda: vault.held,
            database=database,
            changed=self._changed,
            now=now,
            heartbeat_period_s=heartbeat_period_s,
        )

    async def restore(self) -> None:
        """Take up the tasks of the time before the daemon started, and look for what they run.

        Raises ``SwarmopsError`` if the database is damaged.
        """
        records = await self._database.load()
        ids = {record.id for record in records}
        await self._vault.restore(ids)
        for executor in self._executors.values():
            await executor.reattach(ids)
        for record in records:
            self._runners[record.id] = Runner(record, self._around)
            if record.assigned:
                self._runners[record.id].poke()
            else:
                self._drop(record.id)
        self._alone.restore()

    def met(self) -> None:
        """Hear that a manager answers."""
        self._alone.met()

    def parted(self) -> None:
        """Hear that no manager answers any more."""
        self._alone.parted(self._outbox.holds)

    def assign(self, frame: Assignments) -> None:
        """Run, change or drop tasks as a manager says."""
        self._vault.take(frame)
        for task in frame.tasks:
            self._take(task)
        dropped = set(frame.removed)
        if frame.complete:
            dropped |= self._runners.keys() - {task.id for task in frame.tasks}
        for task_id in dropped & self._runners.keys():
            self._drop(task_id)

    def report_all(self) -> None:
        """Put every task's status into the outbox: a new session begins."""
        for task_id, runner in self._runners.items():
            if task_id not in self._removals:
                self._outbox.put(task_id, runner.record.status)

    def tasks(self) -> list[Task]:
        """Return the tasks that are assigned here, with their observed status."""
        records = [runner.record for runner in self._runners.values()]
        return [replace(r.task, status=r.status) for r in records if r.assigned]

    def executor_of(self, task_id: str) -> Executor | None:
        """Return what runs or ran the task; None if it never began, or is not installed."""
        runner = self._runners.get(task_id)
        return self._executors.get(runner.record.executor) if runner else None

    async def leave(self) -> None:
        """Stop looking after the tasks; they run on."""
        self._alone.close()
        for removal in self._removals.values():
            removal.cancel()
        if self._removals:
            await asyncio.wait(self._removals.values())
        await asyncio.gather(*(runner.leave() for runner in self._runners.values()))

    async def remove_all(self) -> None:
        """Stop and remove every task; returns when nothing is left of them."""
        for task_id in list(self._runners):
            self._drop(task_id)
        while self._removals:
            await asyncio.wait(self._removals.values())
        await self._database.flush()

    def _take(self, task: Task) -> None:
        known = self._runners.get(task.id)
        if known is None:
            record = Record(task=task, status=task.status)
            known = self._runners[task.id] = Runner(record, self._around)
            self._database.put(record)
            known.poke()
        elif task.id not in self._removals:
            known.want(task.desired_state)

    def _drop(self, task_id: str) -> None:
        if task_id in self._removals:
            return
        self._outbox.forget(task_id)
        self._alone.forget(task_id)
        self._runners[task_id].unassign()
        removal = asyncio.create_task(self._remove(task_id), name=f"remove {task_id}")
        self._removals[task_id] = removal
        removal.add_done_callback(lambda _: self._removals.pop(task_id, None))

    async def _remove(self, task_id: str) -> None:
        await self._runners[task_id].remove()
        del self._runners[task_id]
        self._vault.forget_task(task_id)
        self._database.forget(task_id)

    def _changed(self, record: Record) -> None:
        if record.assigned:
            self._outbox.put(record.id, record.status)
            if record.status.state.terminal:
                self._alone.ended(record)
