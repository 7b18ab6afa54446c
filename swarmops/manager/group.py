"""What the manager needs of its Raft group; ``swarmops.raft`` provides it, tests fake it."""

from __future__ import annotations

from typing import Protocol

from swarmops.raft.seam import Status


class RaftGroup(Protocol):
    """The group as this member sees it."""

    def status(self) -> Status:
        """Return the member's present view."""
        ...

    async def remove_member(self, raft_id: str) -> object:
        """Remove a member for good. Raises QuorumLoss where too few would be left."""
        ...

    async def transfer_leadership(self) -> object:
        """Hand the lead to another member. Raises RaftError if none takes it."""
        ...
