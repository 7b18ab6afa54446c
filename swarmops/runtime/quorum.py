"""The check before a manager is demoted: that the rest still has a majority.

Source: SwarmKit's ``CanRemoveMember``: with N members, those reachable after the removal must be
at least (N-1)/2+1. What is reachable is read from the store, where the leader writes it: a follower
only knows whose connections stand, and a host without power leaves them standing.
"""

from __future__ import annotations

from swarmops.model.node import ManagerStatus, Reachability
from swarmops.raft import QuorumLoss
from swarmops.store import Store


def check_removal(store: Store, node_id: str) -> None:
    """Raise QuorumLoss if removing this node's member would lose the quorum."""
    standing: dict[str, ManagerStatus] = {
        node.id: node.manager_status for node in store.nodes if node.manager_status
    }
    if node_id not in standing:
        return
    reachable = sum(
        status.reachability is Reachability.REACHABLE
        for other, status in standing.items()
        if other != node_id
    )
    if reachable < (len(standing) - 1) // 2 + 1:
        raise QuorumLoss
