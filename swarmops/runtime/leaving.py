"""Leaving as a manager: ask the swarm to demote this node first, and wait a little for it.

Docker's ``swarm leave --force`` just goes, and a group of two is dead. Ours goes too in the end,
but takes its vote with it where the others allow it.
"""

from __future__ import annotations

import asyncio

import structlog
from msgspec.structs import replace

from swarmops.errors import SwarmopsError
from swarmops.model.node import Role
from swarmops.runtime.daemon import Daemon
from swarmops.runtime.quorum import check_removal

log = structlog.get_logger(__name__)

STEP_DOWN_S = 3.0
"""A demotion takes a fraction of a second; when all leave at once, the last wait in vain."""
_GROUP = 2
"""Fewer are not a group: the last manager can't be demoted, only leave."""


async def step_down(daemon: Daemon) -> None:
    """Have this manager demoted, for at most 3 s; does nothing for the last one."""
    part, state = daemon.manager, daemon.state
    if part is None or state is None or len(part.raft.status().voters) < _GROUP:
        return
    try:
        check_removal(part.store, state.node_id)
        async with asyncio.timeout(STEP_DOWN_S):
            await part.store.modify(
                part.store.nodes,
                state.node_id,
                lambda node: replace(node, spec=replace(node.spec, role=Role.WORKER)),
            )
            await daemon.seat.given_up.wait()
    except (SwarmopsError, TimeoutError) as exc:
        log.warning(
            "leaving as a manager: the others may have lost their quorum",
            reason=str(exc) or "no answer in time",
        )
