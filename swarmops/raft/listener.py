"""What the transport brings a member: messages, each to the part that it is for, and connections.

Made by ``run`` and called by the transport alone. Whoever was removed is told so, not listened to.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmops.raft import commands
from swarmops.raft.engine import Engine
from swarmops.raft.messages import CONSENSUS, Forward, ForwardRefused, Message, Removed
from swarmops.raft.peers import Peers
from swarmops.raft.proposals import Proposals
from swarmops.raft.requests import Requests
from swarmops.raft.seam import Member
from swarmops.raft.waiting import Waiters


class Listener:
    """The upcalls of one member's transport.

    ``guarded`` runs the engine's work and stops the member if it fails; ``leave`` takes it out of
    its group; ``kick`` has it tick soon.
    """

    def __init__(
        self,
        me: Member,
        *,
        engine: Engine,
        proposals: Proposals,
        requests: Requests,
        waiters: Waiters,
        peers: Peers,
        send: Callable[[str, Message], bool],
        kick: Callable[[], None],
        guarded: Callable[..., bool],
        leave: Callable[[], None],
        is_out: Callable[[], bool],
    ) -> None:
        self._me = me
        self._engine = engine
        self._proposals = proposals
        self._requests = requests
        self._waiters = waiters
        self._peers = peers
        self._send = send
        self._kick = kick
        self._guarded = guarded
        self._leave = leave
        self._is_out = is_out

    def message_received(self, sender: str, message: Message) -> None:
        """Take a message from a member."""
        if self._is_out():
            return
        engine = self._engine
        if isinstance(message, Removed):
            if message.raft_id == self._me.raft_id:
                self._leave()
        elif engine.refuse_removed(sender):
            return
        elif isinstance(message, CONSENSUS):
            self._guarded(engine.receive, sender, message)
            if self._waiters.any_waiting():
                self._kick()
        elif isinstance(message, Forward):
            self._forwarded(sender, message)
        elif isinstance(message, ForwardRefused):
            self._proposals.refused(message.numbers)
        else:
            self._requests.received(sender, message)

    def _forwarded(self, sender: str, message: Forward) -> None:
        encoded = [
            commands.regular(message.session, number, message.floor, data)
            for number, data in message.items
        ]
        if not self._engine.submit(encoded):
            self._send(sender, ForwardRefused([number for number, _ in message.items]))

    def peer_connected(self, raft_id: str) -> None:
        """Messages to a member have a way."""
        self._engine.connected(raft_id)
        self._kick()

    def peer_disconnected(self, raft_id: str) -> None:
        """Messages to a member have none."""
        self._engine.disconnected(raft_id)
        self._kick()

    def peer_lost(self, raft_id: str) -> None:
        """Note that a member's connection to here broke."""
        self._engine.lost_from(raft_id)
        self._kick()

    @property
    def addr(self) -> str:
        """Where this member is reached."""
        return self._me.addr

    def stranger_dialled(self, member: Member) -> bool:
        """Say whether to listen to a manager that isn't known here."""
        return not self._is_out() and self._peers.listen_to_stranger(member)

    def is_removed(self, raft_id: str) -> bool:
        """Say whether a member's removal is committed."""
        return self._peers.is_removed(raft_id)
