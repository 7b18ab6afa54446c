"""Nodes that are not heard of: since when, and when that makes them DOWN.

Each manager's dispatcher watches over the nodes whose sessions it holds, the leader's loop
``nodes`` over those whose holder is gone. Both count with this, and write with ``mark_down``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.defaults import HEARTBEAT_GRACE, HEARTBEAT_PERIOD_S, NANOSECONDS
from swarmops.model.node import Node, NodeInternal, NodeState, NodeStatus
from swarmops.model.session import Hello
from swarmops.model.swarm import Cluster, DispatcherConfig
from swarmops.store import NotFound, Store

log = structlog.get_logger(__name__)

NODES_PER_SECOND_MAX = 1000
"""Heartbeats that all managers together shall have to take, at most."""
DOWN_AT_ONCE = 100
AWAY_MAX = timedelta(minutes=5)
"""For how long a node may ask not to be missed."""
PERIOD_STEP_S = 0.5
"""The period grows in steps: every agent is told of each."""


def heartbeat_period_s(cluster: Cluster | None, nodes: int) -> float:
    """Return how often agents are heard of: as set, else 1 s, or more in a swarm of thousands.

    A new swarm's spec says 1 s: that counts as not set.
    """
    config = given(cluster.spec.dispatcher, DispatcherConfig()) if cluster else DispatcherConfig()
    period_ns = given(config.heartbeat_period, 0)
    if period_ns > 0 and period_ns != HEARTBEAT_PERIOD_S * NANOSECONDS:
        return period_ns / NANOSECONDS
    wanted_s = PERIOD_STEP_S * math.ceil(nodes / NODES_PER_SECOND_MAX / PERIOD_STEP_S)
    return max(HEARTBEAT_PERIOD_S, wanted_s)


def grace_s(store: Store) -> float:
    """Return how long a node may be silent."""
    return HEARTBEAT_GRACE * heartbeat_period_s(store.cluster, len(store.nodes))


@dataclass(frozen=True, slots=True)
class _Absence:
    session_id: str
    since_s: float
    seen: bool


class Absences:
    """Which nodes are absent, by the event loop's clock. A new session ends an absence."""

    def __init__(self) -> None:
        self._absent: dict[str, _Absence] = {}

    def begin(self, node_id: str, session_id: str, since_s: float) -> None:
        """Note that a session that was held here has ended, so that the node is near."""
        self._absent[node_id] = _Absence(session_id, since_s, seen=True)

    def forget(self) -> None:
        """Trust nothing that was seen: this manager was cut off itself."""
        self._absent.clear()

    def overdue(
        self,
        absent: Iterable[Node],
        now_s: float,
        patience_s: float,
        settled_s: float,
        now: datetime,
    ) -> list[tuple[str, str]]:
        """Return node and session of those that were absent for too long.

        ``absent`` are all that are absent now. A node that was not seen going has at least until
        ``settled_s``, one that said when it would be back has until then.
        """
        former, self._absent = self._absent, {}
        late = []
        for node in absent:
            internal = given(node.internal, NodeInternal())
            session_id = internal.session_id
            known = former.get(node.id)
            if known is None or known.session_id != session_id:
                known = _Absence(session_id, now_s, seen=False)
            self._absent[node.id] = known
            due_s = known.since_s + patience_s
            # Further ahead than anyone may ask for: the clock was set back.
            if now < given(internal.away_until, now) <= now + AWAY_MAX:
                continue
            if now_s >= (due_s if known.seen else max(due_s, settled_s)):
                late.append((node.id, session_id))
        return late


async def mark_all_down(
    store: Store, late: Sequence[tuple[str, str]], now: datetime, *, fence: int = 0
) -> None:
    """Write that these nodes, each with its session, are DOWN: a rack of them in little time."""
    for start in range(0, len(late), DOWN_AT_ONCE):
        some = late[start : start + DOWN_AT_ONCE]
        for node_id, _ in some:
            log.info("node is down", node=node_id)
        await asyncio.gather(*(mark_down(store, *each, now, fence=fence) for each in some))


async def mark_down(
    store: Store, node_id: str, session_id: str, now: datetime, *, fence: int = 0
) -> None:
    """Write that the node is DOWN, unless it has another session by now."""

    def change(node: Node) -> Node:
        internal = given(node.internal, NodeInternal())
        if internal.session_id != session_id or node.status.state is NodeState.DOWN:
            return node
        status = NodeStatus(
            state=NodeState.DOWN, message="heartbeat failure", addr=node.status.addr
        )
        gone = replace(internal, session_id="", session_holder="", down_since=now, away_until=UNSET)
        return replace(node, status=status, internal=gone)

    try:
        await store.modify(store.nodes, node_id, change, fence=fence)
    except NotFound:
        return


async def mark_ready(store: Store, node_id: str, hello: Hello, *, holder: str, addr: str) -> Node:
    """Write that the node is READY with the session that its agent opened; return the node."""

    def change(stored: Node) -> Node:
        internal = replace(
            given(stored.internal, NodeInternal()),
            session_id=hello.session_id,
            session_holder=holder,
            down_since=UNSET,
            away_until=UNSET,
        )
        status = NodeStatus(state=NodeState.READY, addr=addr)
        return replace(stored, status=status, internal=internal, description=hello.description)

    return await store.modify(store.nodes, node_id, change)


async def mark_away(store: Store, node_id: str, session_id: str, until: datetime) -> None:
    """Write that the node's daemon will be back by then, unless it has another session by now."""

    def change(node: Node) -> Node:
        internal = given(node.internal, NodeInternal())
        if internal.session_id != session_id:
            return node
        return replace(node, internal=replace(internal, away_until=until))

    try:
        await store.modify(store.nodes, node_id, change)
    except NotFound:
        return
