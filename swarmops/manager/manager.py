"""The manager part of a node: the dispatcher always, the control loops while it leads.

The runtime makes one when the node's role is manager, starts it once its Raft member runs, tells it
who leads, hands it the agents' channels, and stops it when the role is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

from swarmops.manager import extensions
from swarmops.manager.dispatcher import Dispatcher
from swarmops.manager.events import EventHistory
from swarmops.manager.group import RaftGroup
from swarmops.manager.keep import end, keep_running
from swarmops.manager.logs import LogCollector
from swarmops.manager.loop import LoopContext
from swarmops.manager.registry import LOOPS
from swarmops.manager.supervisor import NotLeading, Supervisor
from swarmops.manager.timing import ManagerTiming
from swarmops.model.figures import Figures, LoopFigures
from swarmops.model.service import ServiceSpec
from swarmops.store import Store


class Manager:
    """Composes the parts; has no logic of its own."""

    def __init__(
        self,
        store: Store,
        raft: RaftGroup,
        *,
        node_id: str,
        now: Callable[[], datetime],
        rng: random.Random,
        timing: ManagerTiming | None = None,
    ) -> None:
        self._store = store
        self._raft = raft
        self._node_id = node_id
        self._now = now
        self._rng = rng
        self._timing = timing or ManagerTiming()
        self._running: list[asyncio.Task[None]] = []
        self.dispatcher = Dispatcher(store, raft, node_id=node_id, now=now, timing=self._timing)
        self.events = EventHistory(store, now)
        self.logs = LogCollector(store, node_id, self.dispatcher.logs_of)
        self._supervisor = Supervisor(LOOPS, self._take_lead, self._timing)

    async def start(self) -> None:
        """Begin to serve agents, and to lead when told so."""
        self.dispatcher.start()
        self._running = [
            asyncio.create_task(self._supervisor.run(), name="supervisor"),
            asyncio.create_task(keep_running("events", self.events.run, self._timing)),
        ]

    async def stop(self) -> None:
        """End every loop and session; when it returns, nothing of it runs any more."""
        self._supervisor.set_leading(False)
        await end(self._running)
        await self.dispatcher.stop()

    def on_leadership(self, leading: bool) -> None:  # noqa: FBT001 - Raft calls it back so
        """Take note that this manager leads now, or does no more."""
        self._supervisor.set_leading(leading)

    @property
    def running_loops(self) -> frozenset[str]:
        """Names of the control loops that run now: all of them, or none."""
        return frozenset(self._supervisor.running)

    def check_service(self, spec: ServiceSpec) -> None:
        """Raise InputError for a label that asks for something of ours and means nothing."""
        extensions.check_service(spec)

    def figures(self) -> Figures:
        """Return this manager in numbers."""
        status = self._raft.status()
        return Figures(
            leads=status.is_leader,
            leader_known=status.leader is not None,
            disk_refuses=status.disk_error is not None,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            voters=len(status.voters),
            learners=len(status.learners),
            reachable=len(status.reachable),
            loops={name: self._loop_figures(name) for name, _ in LOOPS},
            sessions=self.dispatcher.sessions,
            log_streams=self.dispatcher.log_streams,
            events=self.events.count,
        )

    def _loop_figures(self, name: str) -> LoopFigures:
        work = self._supervisor.work[name]
        return LoopFigures(
            runs=name in self._supervisor.running,
            steps=work.steps,
            step_s=work.step_s,
            changes=work.changes,
        )

    async def _take_lead(self) -> LoopContext:
        """Fence off earlier leaders. Raises NotLeading where Raft says that another leads."""
        if not self._raft.status().is_leader:
            raise NotLeading
        fence = await self._store.seize()
        return LoopContext(
            store=self._store,
            raft=self._raft,
            node_id=self._node_id,
            fence=fence,
            now=self._now,
            rng=self._rng,
            timing=self._timing,
            settled_s=lambda: self.dispatcher.settled_s,
        )
