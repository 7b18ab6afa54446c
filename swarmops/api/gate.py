"""Who may be asked: only an active manager that knows a leader answers for the swarm.

Every handler of swarm state begins with ``manager_store``; the texts are Docker's by node state.
"""

from __future__ import annotations

from swarmops.api import errors
from swarmops.api.control import NodeControl
from swarmops.errors import ApiError
from swarmops.store import Store


async def manager_store(node: NodeControl) -> Store:
    """Return the local replica, fit to be read.

    Raises ApiError 503 where the node is no active manager, NoLeader where it knows no leader.
    """
    refuse_non_manager(node)
    await node.read_barrier()
    store = node.store
    if store is None:
        # The role changed while we waited.
        raise ApiError(503, errors.NO_MANAGER)
    return store


def refuse_non_manager(node: NodeControl) -> None:
    """Raise Docker's 503 for the node's state unless it is an active manager."""
    state = node.state()
    if state == "locked":
        raise ApiError(503, errors.LOCKED)
    if state == "inactive":
        raise ApiError(503, errors.NO_SWARM)
    if state == "error" and not node.is_manager():
        raise ApiError(503, node.error() or errors.NO_SWARM)
    if not node.is_manager():
        raise ApiError(503, errors.NO_MANAGER)
    if node.store is None:
        raise ApiError(503, errors.MANAGER_STARTS)
