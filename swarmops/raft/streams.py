"""The real transport, over streams: one to each peer to write on, one from each to read.

Made by the runtime, which opens and accepts the streams. It dials each peer and writes to what it
dialled, reads from what it accepted. TLS and the check of certificates are the runtime's; that the
peer is a member, and which, is checked here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

from swarmops.raft.ends import Accepted, Dialled
from swarmops.raft.messages import (
    FRAME_BYTES_MAX,
    PROTOCOL,
    Frame,
    Hello,
    Message,
    Removed,
    encode,
)
from swarmops.raft.seam import Member
from swarmops.raft.transport import Upcalls

_REDIAL_MIN_S, _REDIAL_MAX_S = 0.05, 1.0
_DIAL_BOUND_S = 3.0
_logger = logging.getLogger(__name__)

Dial = Callable[[str], Awaitable[tuple[asyncio.Transport, str]]]
"""addr → (stream, node id from the peer's certificate); raises OSError.

The stream gets its protocol here: whatever it has until then may drop what it hears.
"""


class _Peer:
    """One peer's outgoing side: the task that dials it, and what it dialled."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.redial = asyncio.Event()
        self.dialled: Dialled | None = None
        """Where messages go while it is connected."""
        self.task: asyncio.Task[None] | None = None


class StreamTransport:
    """The real transport, on streams that the runtime opens and accepts.

    ``is_banned`` says whether a node was removed for good: it is never heard as a stranger, though
    its certificate is still a manager's.
    """

    def __init__(self, dial: Dial, is_banned: Callable[[str], bool] = lambda _: False) -> None:
        self._dial = dial
        self._is_banned = is_banned
        self._peers: dict[str, _Peer] = {}
        self._accepted: set[Accepted] = set()
        self._incoming: dict[str, set[Accepted]] = {}
        self._me = ""
        self._upcalls: Upcalls | None = None

    def start(self, me: str, upcalls: Upcalls) -> None:
        """Begin for a member; peers follow through ``set_peers``."""
        self._me, self._upcalls = me, upcalls

    def set_peers(self, peers: Iterable[Member]) -> None:
        """Dial the new ones, hang up on those that are gone or moved."""
        wanted = {peer.raft_id: peer for peer in peers if peer.raft_id != self._me}
        for raft_id in list(self._peers):
            if wanted.get(raft_id) != self._peers[raft_id].member:
                self._drop(raft_id)
        for raft_id, member in wanted.items():
            if raft_id not in self._peers:
                peer = self._peers[raft_id] = _Peer(member)
                peer.task = asyncio.get_running_loop().create_task(self._keep_connected(peer))

    def send(self, raft_id: str, message: Message) -> bool:
        """Write to a connected peer, or queue what it doesn't take yet, within bounds."""
        peer = self._peers.get(raft_id)
        if peer is None or peer.dialled is None:
            return False
        body = encode(message)
        if len(body) > FRAME_BYTES_MAX:
            _logger.error("a message of %d bytes to %s is too large", len(body), raft_id)
            return False
        return peer.dialled.write(body)

    async def stop(self) -> None:
        """Hang up on everyone."""
        tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
        self._upcalls = None
        for task in tasks:
            task.cancel()
        for accepted in list(self._accepted):
            accepted.end("this member stops")
        await asyncio.gather(*tasks, return_exceptions=True)
        self._peers.clear()

    # What was accepted.

    def accept(self, peer_node_id: str) -> asyncio.Protocol:
        """Return what reads from an accepted stream until it ends or breaks a rule; then closes it.

        The runtime has checked the certificate (a manager of this swarm); ``peer_node_id`` is its.
        """
        accepted = Accepted(self, peer_node_id)
        self._accepted.add(accepted)
        return accepted

    def greeted(self, accepted: Accepted, hello: Hello, node_id: str) -> str:
        """Return the sender's raft id, "" when it may not speak and was told why.

        Raises ValueError when it is none of ours.
        """
        if self._upcalls is not None and self._upcalls.is_removed(hello.sender):
            accepted.take_leave(Removed(hello.sender))
            return ""
        peer = self._peers.get(hello.sender)
        if peer is None and self._upcalls is not None and hello.receiver == self._me:
            stranger = Member(hello.sender, node_id, hello.addr)
            banned = self._is_banned(node_id)
            if hello.addr and not banned and self._upcalls.stranger_dialled(stranger):
                peer = self._peers.get(hello.sender)
        if hello.receiver != self._me or peer is None:
            raise ValueError(f"raft member {hello.sender} and this one are no peers")
        if peer.member.node_id != node_id:
            raise ValueError(f"raft member {hello.sender} is node {peer.member.node_id}")
        if peer.dialled is None:
            peer.redial.set()
        self._incoming.setdefault(hello.sender, set()).add(accepted)
        return hello.sender

    def message_received(self, accepted: Accepted, sender: str, message: Message) -> None:
        """Pass on what a greeted peer says."""
        if self._upcalls is None or sender not in self._peers:
            accepted.end("it is no peer any more")
        else:
            self._upcalls.message_received(sender, message)

    def lost(self, accepted: Accepted, sender: str) -> None:
        """Note that an accepted stream ended."""
        self._accepted.discard(accepted)
        of_sender = self._incoming.get(sender, set())
        of_sender.discard(accepted)
        if sender in self._incoming and not of_sender:
            del self._incoming[sender]
            if self._upcalls is not None:
                self._upcalls.peer_lost(sender)

    # What is dialled.

    def _drop(self, raft_id: str) -> None:
        peer = self._peers.pop(raft_id)
        if peer.task is not None:
            peer.task.cancel()
        for accepted in list(self._incoming.get(raft_id, ())):
            accepted.end("it is no peer any more")
        self._disconnected(peer)

    def _disconnected(self, peer: _Peer) -> None:
        if peer.dialled is not None:
            peer.dialled = None
            if self._upcalls is not None:
                self._upcalls.peer_disconnected(peer.member.raft_id)

    async def _keep_connected(self, peer: _Peer) -> None:
        wait_s = _REDIAL_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            peer.redial.clear()
            try:
                reason = await self._connect_once(peer)
                _logger.debug("the connection to %s ended: %s", peer.member.addr, reason)
            except (OSError, TimeoutError) as error:
                _logger.debug("no connection to %s: %s", peer.member.addr, error)
            except Exception as error:  # noqa: BLE001 - a dialler's error must not end the dialling
                _logger.warning("closing the connection to %s: %s", peer.member.addr, error)
            finally:
                self._disconnected(peer)
            lived = loop.time() - began > _REDIAL_MAX_S
            wait_s = _REDIAL_MIN_S if lived else min(wait_s * 2, _REDIAL_MAX_S)
            await self._until_redial(peer, wait_s)

    async def _until_redial(self, peer: _Peer, wait_s: float) -> None:
        """Wait before the next attempt, less when the peer has just dialled us."""
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await peer.redial.wait()

    async def _connect_once(self, peer: _Peer) -> str:
        """Dial, greet, and say why the connection ended when it has."""
        async with asyncio.timeout(_DIAL_BOUND_S):
            stream, node_id = await self._dial(peer.member.addr)
        try:
            if node_id != peer.member.node_id:
                raise ValueError(f"it is node {node_id}, not {peer.member.node_id}")
            dialled = Dialled(stream, lambda message: self._told(peer, message))
            addr = self._upcalls.addr if self._upcalls is not None else ""
            dialled.write(encode(Hello(PROTOCOL, self._me, peer.member.raft_id, addr)))
            peer.dialled = dialled
            if self._upcalls is not None:
                self._upcalls.peer_connected(peer.member.raft_id)
            # No exception: its traceback would hold what is lost, for whoever keeps the exception.
            return await dialled.lost
        finally:
            # Not close: that waits for a peer that takes nothing, with all that is buffered.
            stream.abort()

    def _told(self, peer: _Peer, message: Frame) -> None:
        if isinstance(message, Removed) and self._upcalls is not None:
            self._upcalls.message_received(peer.member.raft_id, message)
