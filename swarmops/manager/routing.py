"""Which sessions of a manager hear of what changed in the store.

The dispatcher's: a task concerns the session of its node, the managers and the period concern all.
It marks what a session shall tell its agent, and sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarmops.manager.absences import heartbeat_period_s
from swarmops.manager.assignments import concerns_agent
from swarmops.manager.ingress import Key
from swarmops.manager.pace import by_turns
from swarmops.manager.session import Session
from swarmops.model.base import given
from swarmops.model.node import ManagerStatus, Node, NodeInternal, Role
from swarmops.model.swarm import Peer
from swarmops.model.task import Task
from swarmops.store import Event, Store, sliced


class Routing:
    """Follows the store for the sessions, which the dispatcher adds and takes away by node."""

    def __init__(self, store: Store, sessions: Mapping[str, Session]) -> None:
        self._store = store
        self._sessions = sessions
        self._told: tuple[list[Peer], float, str, str] = ([], 0.0, "", "")
        """What a session that begins now is told."""
        self._all_told = False
        """Whether the sessions that there were before have been told of it, too."""

    def managers(self) -> list[Peer]:
        """Return the managers that agents are told of."""
        return self._told[0]

    def learn(self) -> None:
        """Read again what all agents are told: a session that begins is told all of it.

        What is new here has its event still in the watch, so that the others hear of it soon.
        """
        news = self._news()
        if news != self._told:
            self._told = news
            self._all_told = False

    async def follow(self) -> None:
        """Tell sessions what concerns them, until cancelled."""
        with self._store.watch("tasks", "nodes", "clusters") as watch:
            await self._tell_news()
            while True:
                events, resync = await watch.next()
                if resync:
                    await self._tell_news()
                    async for session in by_turns(self._sessions.values()):
                        session.resync()
                async for event in sliced(events):
                    await self._route(event)

    async def ports_changed(self, keys: Sequence[Key]) -> None:
        """Tell all sessions of published ports."""
        async for session in by_turns(self._sessions.values()):
            session.ports_changed(keys)

    async def _route(self, event: Event) -> None:
        old, new = event.old, event.new
        if event.table == "tasks":
            self._route_task(_as_task(old), _as_task(new))
            return
        if event.table == "nodes":
            await self._route_node(_as_node(old), _as_node(new))
        await self._tell_news()

    async def _tell_news(self) -> None:
        self.learn()
        if self._all_told:
            return
        self._all_told = True  # before the first pause: what is learned in one has to be told again
        async for session in by_turns(self._sessions.values()):
            session.node_changed()

    def _route_task(self, old: Task | None, new: Task | None) -> None:
        task = new or old
        session = self._sessions.get(given(task.node_id, "")) if task else None
        if task is not None and session is not None and concerns_agent(old, new):
            session.task_changed(task.id)

    async def _route_node(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        session = self._sessions.get(node.id) if node else None
        if session is None:
            return
        if new is None:
            await session.close()
        elif old is None or old.spec != new.spec or _role(old) is not _role(new):
            session.node_changed()

    def _news(self) -> tuple[list[Peer], float, str, str]:
        """Return what all agents are told: managers, period, root, issuer."""
        cluster = self._store.cluster
        peers = [
            Peer(node_id=node.id, addr=addr)
            for node in self._store.nodes.by_role(Role.MANAGER)
            if (addr := given(given(node.manager_status, ManagerStatus()).addr, ""))
        ]
        root_ca = given(cluster.internal, None) if cluster else None
        return (
            sorted(peers, key=lambda peer: peer.node_id),
            heartbeat_period_s(cluster, len(self._store.nodes)),
            root_ca.ca_cert if root_ca else "",
            given(cluster.tls_info.cert_issuer_public_key, "") if cluster else "",
        )


def _role(node: Node) -> Role:
    return given(node.internal, NodeInternal()).role


def _as_task(obj: object) -> Task | None:
    return obj if isinstance(obj, Task) else None


def _as_node(obj: object) -> Node | None:
    return obj if isinstance(obj, Node) else None
