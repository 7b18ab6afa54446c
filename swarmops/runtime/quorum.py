"""The check before a manager is demoted: that the rest still has a majority.

Source: SwarmKit's ``CanRemoveMember``: with N members, those reachable after the removal must be
at least (N-1)/2+1.
"""

from __future__ import annotations

from swarmops.raft import QuorumLoss, Status


def check_removal(status: Status, node_id: str) -> None:
    """Raise QuorumLoss if removing this node's member would lose the quorum."""
    members = status.voters
    staying = [member for member in members if member.node_id != node_id]
    if len(staying) == len(members):
        return
    reachable = sum(member.raft_id in status.reachable for member in staying)
    if reachable < (len(members) - 1) // 2 + 1:
        raise QuorumLoss
