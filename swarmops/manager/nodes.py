"""Nodes that no manager can speak for: the leader's part of knowing who is alive.

A manager says of its own agents whether they are there. When such a manager is itself dead, out of
reach or no manager any more, the leader gives its nodes the usual grace to find another manager,
and then writes that they are DOWN.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from swarmops.manager.absences import Absences, grace_s, mark_all_down
from swarmops.manager.loop import LoopContext
from swarmops.manager.timing import until_beat_s
from swarmops.model.base import given
from swarmops.model.node import ManagerStatus, Node, NodeState, Reachability
from swarmops.store import Store


async def watch_over_nodes(context: LoopContext) -> None:
    """Look for such nodes until cancelled."""
    store, absences = context.store, Absences()
    clock = asyncio.get_running_loop()
    while True:
        late = absences.overdue(
            unheld(store, context.node_id),
            clock.time(),
            grace_s(store),
            context.settled_s(),
            context.now(),
        )
        await mark_all_down(store, late, context.now(), fence=context.fence)
        await asyncio.sleep(until_beat_s(context.timing.sweep_s, clock.time()))


def unheld(store: Store, leader_id: str) -> Iterator[Node]:
    """Yield the READY nodes whose session is held by nobody who could say that they are gone."""
    for holder in store.nodes.holders():
        if holder == leader_id or (holder and _answers(store.nodes.get(holder))):
            continue
        for node in store.nodes.by_holder(holder):
            if node.status.state is NodeState.READY:
                yield node


def _answers(manager: Node | None) -> bool:
    if manager is None:
        return False
    status = given(manager.manager_status, ManagerStatus(reachability=Reachability.UNREACHABLE))
    return status.reachability is not Reachability.UNREACHABLE
