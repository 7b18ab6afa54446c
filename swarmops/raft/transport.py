"""How messages travel, as the rest of raft sees it: what a simulation replaces.

A ``Run`` hands messages to ``send`` and hears the others' through the upcalls. The real one is in
``streams``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from swarmops.raft.messages import Message
from swarmops.raft.seam import Member


class Upcalls(Protocol):
    """What a transport tells."""

    def message_received(self, sender: str, message: Message) -> None:
        """Take a message from a member."""

    def peer_connected(self, raft_id: str) -> None:
        """Messages to this member have a way now."""

    def peer_disconnected(self, raft_id: str) -> None:
        """Messages to this member have none any more; some may be lost."""

    def peer_lost(self, raft_id: str) -> None:
        """Note that the connection from this member broke."""

    def is_removed(self, raft_id: str) -> bool:
        """Say whether the removal of this id is committed."""

    def stranger_dialled(self, member: Member) -> bool:
        """Say whether to listen to a manager that is no peer; it is one then (``set_peers``)."""

    @property
    def addr(self) -> str:
        """Where this member is reached."""


class Transport(Protocol):
    """Message level: loses messages at will, may reorder and repeat them, never forges them."""

    def start(self, me: str, upcalls: Upcalls) -> None:
        """Begin for a member."""

    def set_peers(self, peers: Iterable[Member]) -> None:
        """Name those that messages may go to and come from, in place of those before."""

    def send(self, raft_id: str, message: Message) -> bool:
        """Queue a message; False when there is no connection or no room."""

    async def stop(self) -> None:
        """End all connections."""
