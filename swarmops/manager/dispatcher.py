"""The dispatcher: every manager's side of the agents' sessions.

It serves assignments from the local replica, takes statuses and heartbeats, and writes READY and
DOWN for the nodes whose sessions it holds; ``routing`` lets each session hear of what concerns it.
It decides nothing about tasks. A manager that has lost the leader for longer than its lease sends
its agents away, to where the quorum is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec
import structlog

from swarmops.errors import SwarmopsError
from swarmops.manager.absences import Absences, grace_s, mark_all_down, mark_ready
from swarmops.manager.group import RaftGroup
from swarmops.manager.ingress import IngressTable
from swarmops.manager.keep import end, keep_running
from swarmops.manager.lease import Lease
from swarmops.manager.log_intake import LogIntake
from swarmops.manager.pace import Pace
from swarmops.manager.routing import Routing
from swarmops.manager.session import Session
from swarmops.manager.statuses import StatusWriter
from swarmops.manager.timing import ManagerTiming, until_beat_s
from swarmops.model.base import given
from swarmops.model.node import Node, NodeInternal, NodeState
from swarmops.model.session import Channel, Hello, decode_agent_frame
from swarmops.store import Store

log = structlog.get_logger(__name__)


class Dispatcher:
    """All sessions of one manager."""

    def __init__(
        self,
        store: Store,
        raft: RaftGroup,
        *,
        node_id: str,
        now: Callable[[], datetime],
        timing: ManagerTiming,
    ) -> None:
        self._store = store
        self._node_id = node_id
        self._now = now
        self._timing = timing
        self._statuses = StatusWriter(store, timing)
        self._pace = Pace()
        self._sessions: dict[str, Session] = {}
        self._routing = Routing(store, self._sessions)
        self._ingress = IngressTable(store, self._routing.ports_changed)
        self._serving: dict[asyncio.Task[None], None] = {}
        self._absences = Absences()
        self._lease = Lease(
            store, raft, timing, on_outage=self._absences.forget, on_over=self._send_away
        )
        self._parts: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def settled_s(self) -> float:
        """Until this time of the event loop's clock agents may still be on their way back."""
        return self._lease.settled_s

    @property
    def sessions(self) -> int:
        """How many agents have their session here."""
        return len(self._sessions)

    @property
    def takes_sessions(self) -> bool:
        """Whether an agent that comes now is served, and not sent to another manager."""
        return not self._stopped and not self._lease.over

    @property
    def log_streams(self) -> int:
        """How many log streams of these agents are open."""
        return sum(session.logs.streams for session in self._sessions.values())

    def logs_of(self, node_id: str) -> LogIntake | None:
        """Return what reads the output of a node's tasks, None if its session is not here."""
        session = self._sessions.get(node_id)
        return session.logs if session else None

    def start(self) -> None:
        """Begin to take sessions."""
        self._lease.begin()
        parts = (
            ("dispatcher events", self._routing.follow),
            ("dispatcher ingress", self._ingress.follow),
            ("dispatcher statuses", self._statuses.run),
            ("dispatcher lease", self._lease.follow),
            ("dispatcher absences", self._watch_over_nodes),
            ("dispatcher silence", self._give_up_silent),
        )
        self._parts = [
            asyncio.create_task(keep_running(name, run, self._timing), name=name)
            for name, run in parts
        ]

    async def stop(self) -> None:
        """Close every session and end every part."""
        self._stopped = True
        await self._close_all()
        await end([*self._parts, *self._serving])

    async def serve(self, channel: Channel, node_id: str, addr: str) -> None:
        """Serve one agent until its session ends; the channel is closed then.

        ``node_id`` is who the agent's certificate says it is, ``addr`` the IP address it comes
        from.
        """
        task = asyncio.current_task()
        if task is not None:
            self._serving[task] = None
        try:
            await self._serve(channel, node_id, addr)
        except (ConnectionError, TimeoutError, PermissionError, SwarmopsError) as error:
            log.info("session ended", node=node_id, reason=str(error) or type(error).__name__)
        except msgspec.DecodeError as error:
            log.warning("agent sent what is no frame", node=node_id, error=str(error))
        except Exception:
            log.exception("session crashed", node=node_id)
        finally:
            if task is not None:
                self._serving.pop(task, None)
            await channel.close()

    async def _serve(self, channel: Channel, node_id: str, addr: str) -> None:
        async with asyncio.timeout(self._timing.hello_s):
            hello = decode_agent_frame(await channel.receive())
            if not isinstance(hello, Hello):
                raise ConnectionError("the agent did not say Hello")
            await self._know(node_id)
        if not self.takes_sessions:
            raise ConnectionError("this manager has no leader now")
        former = self._sessions.pop(node_id, None)
        if former is not None:
            await former.close()
        session = Session(
            channel,
            node_id,
            hello.session_id,
            store=self._store,
            statuses=self._statuses,
            pace=self._pace,
            managers=self._routing.managers,
            ingress=self._ingress,
            timing=self._timing,
            now=self._now,
        )
        self._sessions[node_id] = session
        self._routing.learn()
        try:
            await mark_ready(self._store, node_id, hello, holder=self._node_id, addr=addr)
            await session.run()
        except TimeoutError:
            self._ended(session, since_s=session.heard_s)
            raise
        finally:
            self._ended(session, since_s=self._clock())

    async def _know(self, node_id: str) -> None:
        """Wait until this replica has the node: one that has just joined may be ahead of it."""
        with self._store.watch("nodes") as watch:
            while node_id not in self._store.nodes:
                await watch.next()

    def _ended(self, session: Session, since_s: float) -> None:
        if self._sessions.get(session.node_id) is not session:
            return
        del self._sessions[session.node_id]
        if self.takes_sessions:
            self._absences.begin(session.node_id, session.session_id, since_s)

    # Who is there --------------------------------------------------------------------------------

    async def _send_away(self) -> None:
        if self._sessions:
            log.warning("no leader: closing all sessions", sessions=len(self._sessions))
            await self._close_all()

    async def _close_all(self) -> None:
        await asyncio.gather(*(self._close(session) for session in self._sessions.values()))

    async def _close(self, session: Session) -> None:
        await self._pace.turn()
        await session.close()

    async def _watch_over_nodes(self) -> None:
        """Write DOWN for nodes whose session ended here and that have none by now."""
        while True:
            if self._lease.has_leader:
                late = self._absences.overdue(
                    list(self._absent()),
                    self._clock(),
                    grace_s(self._store),
                    self._lease.settled_s,
                    self._now(),
                )
                await mark_all_down(self._store, late, self._now())
            await asyncio.sleep(until_beat_s(self._timing.sweep_s, self._clock()))

    async def _give_up_silent(self) -> None:
        """End the sessions of which nothing was heard for too long, unless it was not listened."""
        while True:
            looked_s = self._clock()
            await asyncio.sleep(until_beat_s(self._timing.sweep_s, looked_s))
            now_s = self._clock()
            if now_s - looked_s > 2 * self._timing.sweep_s:
                continue  # this process stood still: what came meanwhile is read first
            for session in list(self._sessions.values()):
                if session.is_silent(now_s):
                    session.give_up()

    def _absent(self) -> Iterator[Node]:
        """Yield the nodes that the store says are held here, and are not."""
        for node in self._store.nodes.by_holder(self._node_id):
            session = self._sessions.get(node.id)
            held = session is not None and session.session_id == _session_id(node)
            if not held and node.status.state is NodeState.READY:
                yield node

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()


def _session_id(node: Node) -> str:
    return given(node.internal, NodeInternal()).session_id
