"""Task statuses on their way into the store: many agents' reports in few entries.

The dispatcher of each manager has one writer. A report is done when the store has it; without a
leader it waits, and a newer report of the same task takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from swarmops.errors import SwarmopsError
from swarmops.manager.timing import ManagerTiming
from swarmops.model.session import StatusOf
from swarmops.model.task import TaskStatus
from swarmops.store import Store, TooLarge, Transaction

log = structlog.get_logger(__name__)


class StatusWriter:
    """Collects statuses and commits them together."""

    def __init__(self, store: Store, timing: ManagerTiming) -> None:
        self._store = store
        self._timing = timing
        self._waiting: dict[str, TaskStatus] = {}
        self._done: asyncio.Future[None] | None = None
        self._awake = asyncio.Event()

    async def write(self, statuses: Iterable[StatusOf]) -> None:
        """Return once the store has these statuses, or later ones of the same tasks."""
        news = [each for each in statuses if self._is_news(each)]
        if not news:
            return
        for each in news:
            former = self._waiting.get(each.task_id)
            if former is None or each.status.state.rank >= former.state.rank:
                self._waiting[each.task_id] = each.status
        if self._done is None:
            self._done = asyncio.get_running_loop().create_future()
        self._awake.set()
        await asyncio.shield(self._done)

    def _is_news(self, report: StatusOf) -> bool:
        task = self._store.tasks.get(report.task_id)
        return (
            task is not None
            and report.status.state.rank >= task.status.state.rank
            and report.status != task.status
        )

    async def run(self) -> None:
        """Commit what comes, until cancelled."""
        while True:
            await self._awake.wait()
            await asyncio.sleep(self._timing.statuses_s)
            self._awake.clear()
            waiting, self._waiting = self._waiting, {}
            done, self._done = self._done, None
            try:
                await self._commit(waiting)
            except BaseException:  # what was not written is not confirmed: it will come again
                if done is not None:
                    done.cancel()
                raise
            if done is not None:
                done.set_result(None)

    async def _commit(self, waiting: dict[str, TaskStatus]) -> None:
        tx = Transaction(partial=True)
        for task_id, status in waiting.items():
            tx.patch_task(task_id, status=status)
        for batch in tx.batches():
            await self._commit_surely(batch)

    async def _commit_surely(self, batch: Transaction) -> None:
        """Commit these statuses, however long there is no leader; one no entry holds is left."""
        while True:
            try:
                await self._store.commit(batch)
            except TooLarge:
                if len(batch) == 1:
                    log.warning("a status is too large to be kept", tasks=1)
                    return
                for half in batch.halves():
                    await self._commit_surely(half)
                return
            except SwarmopsError as error:
                log.warning("statuses wait", tasks=len(batch), error=str(error))
                await asyncio.sleep(self._timing.retry_s)
            else:
                return
