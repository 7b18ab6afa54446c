"""Starts every control loop when this manager begins to lead, and stops every one when it ends.

There is one list of loops (``registry``) and this one place that walks it: no loop can be forgotten
in one of the two directions. A loop that raises is logged with its traceback and started again
after a growing pause; it never takes another loop, or the manager, with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from swarmops.errors import SwarmopsError
from swarmops.manager.keep import end, keep_running
from swarmops.manager.loop import LoopContext, LoopWork
from swarmops.manager.timing import ManagerTiming

RunLoop = Callable[[LoopContext], Awaitable[None]]
"""Runs until cancelled."""
Lead = Callable[[], Awaitable[LoopContext]]
"""Takes the lead in the store; returns what the loops of this term get."""

log = structlog.get_logger(__name__)


class NotLeading(SwarmopsError):  # noqa: N818 - a state, not a mistake
    """Raft's leader is another one, or not ready to act yet."""

    def __init__(self) -> None:
        super().__init__("this manager is not the leader, or not ready to lead yet")


class Supervisor:
    """Keeps the loops running exactly while this manager leads."""

    def __init__(
        self, loops: Sequence[tuple[str, RunLoop]], take_lead: Lead, timing: ManagerTiming
    ) -> None:
        self._loops = tuple(loops)
        self._take_lead = take_lead
        self._timing = timing
        self._leading = False
        self._changed = asyncio.Event()
        self._term: asyncio.Task[None] | None = None
        self.running: set[str] = set()
        """Names of the loops that run now."""
        self.work = {name: LoopWork() for name, _ in self._loops}
        """What each has done, over all terms."""

    def set_leading(self, leading: bool) -> None:  # noqa: FBT001 - Raft calls it back so
        """Begin or end a term; returns at once."""
        self._leading = leading
        self._changed.set()
        if self._term is not None and not leading:
            self._term.cancel()

    async def run(self) -> None:
        """Follow ``set_leading`` until cancelled; then stop every loop."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._leading:
                    await self._lead()
        finally:
            if self._term is not None:
                await end([self._term])

    async def _lead(self) -> None:
        """Run terms for as long as this manager leads."""
        while self._leading:
            self._term = asyncio.create_task(self._run_term(), name="term")
            await asyncio.wait([self._term])
            term, self._term = self._term, None
            error = None if term.cancelled() else term.exception()
            if isinstance(error, SwarmopsError):
                log.info("not leading", reason=str(error))
            elif error is not None:
                log.error("leading crashed", exc_info=error)
            if self._leading:
                await asyncio.sleep(self._timing.retry_s)

    async def _run_term(self) -> None:
        """Take the lead, run all loops; end when another manager has taken it."""
        context = await self._take_lead()
        log.info("leading", fence=context.fence)
        tasks = [
            asyncio.create_task(self._keep(name, run, context), name=name)
            for name, run in self._loops
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(tasks)
            log.info("not leading any more", fence=context.fence)

    async def _keep(self, name: str, run: RunLoop, context: LoopContext) -> None:
        """Run one loop, again whenever it fails; return only when it was fenced off."""
        self.running.add(name)
        counted = replace(context, work=self.work[name])
        try:
            await keep_running(name, lambda: run(counted), self._timing)
        finally:
            self.running.discard(name)
