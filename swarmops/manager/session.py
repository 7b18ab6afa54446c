"""One agent's session, from its manager's side.

Made by the dispatcher for each agent that connects. It reads the agent's frames, and sends what the
dispatcher tells it has changed. It decides nothing about the node: the dispatcher does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from swarmops.errors import SwarmopsError
from swarmops.manager.absences import AWAY_MAX, heartbeat_period_s, mark_away
from swarmops.manager.assignments import AssignmentSet
from swarmops.manager.ingress import IngressTable, Key
from swarmops.manager.keep import end
from swarmops.manager.log_intake import LogIntake
from swarmops.manager.pace import Pace
from swarmops.manager.statuses import StatusWriter
from swarmops.manager.timing import ManagerTiming
from swarmops.model.base import given
from swarmops.model.defaults import HEARTBEAT_GRACE, HEARTBEAT_PERIOD_S
from swarmops.model.node import Node
from swarmops.model.session import (
    Ack,
    Away,
    Channel,
    Described,
    Frame,
    Hello,
    LogLines,
    LogsEnd,
    NodeChanged,
    NodeTrouble,
    Statuses,
    Welcome,
    decode_agent_frame,
    encode,
)
from swarmops.model.swarm import ClusterInternal, Peer
from swarmops.store import NotFound, Store

log = structlog.get_logger(__name__)


class Session:
    """A channel to an agent, and what it has been told."""

    def __init__(
        self,
        channel: Channel,
        node_id: str,
        session_id: str,
        *,
        store: Store,
        statuses: StatusWriter,
        pace: Pace,
        managers: Callable[[], list[Peer]],
        ingress: IngressTable,
        timing: ManagerTiming,
        now: Callable[[], datetime],
    ) -> None:
        self.node_id = node_id
        self.session_id = session_id
        self.heard_s = asyncio.get_running_loop().time()
        """When the agent was last heard of, by the event loop's clock."""
        self._period_s = self._told_period_s = HEARTBEAT_PERIOD_S
        self.logs = LogIntake(self._send)
        """The output of the node's tasks, for whoever asks."""
        self._channel = channel
        self._store = store
        self._statuses = statuses
        self._pace = pace
        self._managers = managers
        self._ingress = ingress
        self._timing = timing
        self._now = now
        self._assigned = AssignmentSet(store, node_id)
        self._changed: dict[str, None] = {}
        self._ports: dict[Key, None] = {}
        self._node_news = False
        self._complete = False
        self._welcomed = self._telling = False
        self._reason: Exception | None = None
        """Why it is ended from this side."""
        self._writes: dict[asyncio.Task[None], None] = {}

    def task_changed(self, task_id: str) -> None:
        """Tell the agent soon about this task."""
        self._changed[task_id] = None
        self._tell_soon()

    def ports_changed(self, keys: Iterable[Key]) -> None:
        """Tell the agent soon about these published ports."""
        self._ports.update(dict.fromkeys(keys))
        self._tell_soon()

    def node_changed(self) -> None:
        """Tell the agent soon about its node, the managers and the period."""
        self._node_news = True
        self._tell_soon()

    def resync(self) -> None:
        """Tell the agent everything again."""
        self._complete = self._node_news = True
        self._tell_soon()

    def is_silent(self, now_s: float) -> bool:
        """Whether nothing was heard for too long, by the period that the agent goes by.

        That is the one that it was told before it was last heard: a shorter one may be on its way.
        """
        return now_s - self.heard_s > HEARTBEAT_GRACE * self._period_s

    def give_up(self) -> None:
        """End the session as one whose agent is silent."""
        self._hang_up(TimeoutError("the agent is silent"))

    async def close(self) -> None:
        """End the session from this side."""
        await self._channel.close()

    async def run(self) -> None:
        """Serve until the agent is gone or given up: ends with ConnectionError or TimeoutError."""
        try:
            await self._pace.turn()
            await self._send(Welcome(*self._news()))
            self._period_s = self._told_period_s
            await self._ingress.settled()
            await self._send(self._ingress.complete())
            await self._send(self._assigned.complete())
            self._welcomed = True
            self._tell_soon()
            await self._read()
        except ConnectionError:
            if self._reason is not None:
                raise self._reason from None
            raise
        finally:
            self._welcomed = False
            self.logs.fail()
            await end(list(self._writes))

    async def _read(self) -> None:
        clock = asyncio.get_running_loop()
        while True:
            data = await self._channel.receive()
            self.heard_s, self._period_s = clock.time(), self._told_period_s
            frame = decode_agent_frame(data)
            if isinstance(frame, Statuses):
                self._check_own(frame)
                self._background(self._take(frame))
            elif isinstance(frame, Described):
                self._background(self._describe(frame))
            elif isinstance(frame, LogLines | LogsEnd):
                self.logs.take(frame)
            elif isinstance(frame, Away):
                self._background(self._let_go(frame))
            elif isinstance(frame, NodeTrouble):
                self._background(self._note(frame))
            elif isinstance(frame, Hello):
                raise ConnectionError("the agent said Hello twice")

    def _check_own(self, frame: Statuses) -> None:
        """Refuse a report about another node's task, and with it the session."""
        for each in frame.statuses:
            task = self._store.tasks.get(each.task_id)
            if task is not None and task.node_id != self.node_id:
                raise PermissionError(f"node {self.node_id} reports on task {task.id} of another")

    async def _take(self, frame: Statuses) -> None:
        await self._statuses.write(frame.statuses)
        await self._pace.turn()
        with contextlib.suppress(ConnectionError):
            await self._send(Ack(frame.seq))

    async def _describe(self, frame: Described) -> None:
        def change(node: Node) -> Node:
            if node.description == frame.description:
                return node
            return msgspec.structs.replace(node, description=frame.description)

        with contextlib.suppress(NotFound):
            await self._store.modify(self._store.nodes, self.node_id, change)

    async def _let_go(self, frame: Away) -> None:
        """Have all managers know, so that whoever leads then waits; then answer by hanging up."""
        within_s = min(max(frame.within_s, 0.0), AWAY_MAX.total_seconds())
        within = timedelta(seconds=within_s)
        await mark_away(self._store, self.node_id, self.session_id, self._now() + within)
        await self.close()

    async def _note(self, frame: NodeTrouble) -> None:
        def change(node: Node) -> Node:
            if given(node.status.message, "") == frame.text:
                return node
            message = frame.text or msgspec.UNSET
            return msgspec.structs.replace(
                node, status=msgspec.structs.replace(node.status, message=message)
            )

        with contextlib.suppress(NotFound):
            await self._store.modify(self._store.nodes, self.node_id, change)

    def _tell_soon(self) -> None:
        """See to it that what changed is told, in a task that ends when it is: most are idle."""
        if self._welcomed and not self._telling and self._has_news():
            self._telling = True
            self._background(self._tell())

    def _has_news(self) -> bool:
        return bool(self._changed or self._ports or self._node_news or self._complete)

    async def _tell(self) -> None:
        try:
            while self._has_news():
                await asyncio.sleep(self._timing.assignments_s)
                await self._pace.turn()
                await self._ingress.settled()
                await self._tell_now()
        except Exception as error:  # noqa: BLE001 - the session ends with it
            self._hang_up(error)
        finally:
            self._telling = False

    async def _tell_now(self) -> None:
        changed, self._changed = self._changed, {}
        complete, self._complete = self._complete, False
        node_news, self._node_news = self._node_news, False
        ports, self._ports = self._ports, {}
        if ports:  # ahead of the assignments: who shall stop gets no more connections
            await self._send(self._ingress.changes(ports))
        if node_news:
            await self._send(NodeChanged(*self._news()))
        frame = self._assigned.complete() if complete else self._assigned.changes(changed)
        if frame is not None:
            await self._send(frame)

    def _news(self) -> tuple[Node, list[Peer], float, str, str]:
        store = self._store
        node = store.nodes.get(self.node_id)
        if node is None:
            raise ConnectionError(f"node {self.node_id} was removed from the swarm")
        cluster = store.cluster
        internal = given(cluster.internal, ClusterInternal()) if cluster else ClusterInternal()
        period_s = heartbeat_period_s(cluster, len(store.nodes))
        self._told_period_s = period_s
        issuer = given(cluster.tls_info.cert_issuer_public_key, "") if cluster else ""
        return node, self._managers(), period_s, internal.ca_cert, issuer

    async def _send(self, frame: Frame) -> None:
        await self._channel.send(encode(frame))

    def _hang_up(self, reason: Exception) -> None:
        self._reason = self._reason or reason
        self._background(self._channel.close())

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a write go on while the next frames are read."""
        task = asyncio.create_task(work)
        self._writes[task] = None
        task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SwarmopsError):
            log.warning("write for an agent failed", node=self.node_id, error=str(error))
        elif error is not None:
            log.error("write for an agent crashed", node=self.node_id, exc_info=error)
