"""Which sessions hear that the managers are others now, whatever they hear of at the same time."""

from __future__ import annotations

import asyncio

from swarmops.model.node import ManagerStatus, Node, NodeInternal, Role
from swarmops.model.session import Assignments, NodeChanged, Welcome
from swarmops.model.swarm import Peer
from swarmops.store import Store, Transaction
from tests.sim.manager_lab import Lab
from tests.sim.virtual_loop import virtual, virtual_now
from tests.unit.manager.test_manager_sessions import HELLO, Line, session

MANAGERS = ["m1", "m2"]


def second_manager(swarm: Lab) -> bytes:
    """Return the entry that makes a second manager of it, as it stands in the log now."""
    tx = Transaction()
    internal, status = NodeInternal(role=Role.MANAGER), ManagerStatus(addr="ip-m2:2377")
    tx.put(Node(id="m2", internal=internal, manager_status=status))
    entry = tx.encode(virtual_now())
    swarm.log.entries.append(entry)
    return entry


def ids(managers: list[Peer]) -> list[str]:
    """Return the managers' nodes."""
    return [peer.node_id for peer in managers]


@virtual
async def test_after_a_snapshot_agents_are_told_of_the_managers_that_it_has() -> None:
    """A manager that was behind gets no event of what it skipped, and has to look itself."""
    async with session() as (swarm, line):
        assert ids((await line.expect(Welcome)).managers) == ["m1"]
        await line.expect(Assignments)
        ahead = Store()
        ahead.restore(swarm.store.snapshot())
        ahead.apply(ahead.applied + 1, second_manager(swarm))
        swarm.store.restore(ahead.snapshot())
        assert ids((await line.expect(NodeChanged)).managers) == MANAGERS
        assert (await line.expect(Assignments)).complete


@virtual
async def test_a_session_that_begins_meanwhile_keeps_no_news_from_the_others() -> None:
    """It is told the new managers itself, ahead of their event, which is for the others still."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        tx = Transaction()
        tx.put(Node(id="b"))
        await swarm.store.commit(tx)
        newer = Line(swarm, "b")
        await asyncio.sleep(0.1)
        # Both at once: the session's turn comes before that of who follows the store.
        await newer.say(HELLO)
        swarm.store.apply(swarm.store.applied + 1, second_manager(swarm))
        assert ids((await newer.expect(Welcome)).managers) == MANAGERS
        assert ids((await line.expect(NodeChanged)).managers) == MANAGERS
