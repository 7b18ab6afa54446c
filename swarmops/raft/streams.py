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

import msgspec

from swarmops.raft.frames import HEAD_BYTES, frame_in, framed, head, read_frame
from swarmops.raft.messages import (
    FRAME_BYTES_MAX,
    PROTOCOL,
    Hello,
    Message,
    Removed,
    decode,
    encode,
)
from swarmops.raft.seam import Member
from swarmops.raft.transport import Upcalls

_QUEUE_BYTES_MAX = 16 * 1024 * 1024
_QUEUE_MESSAGES_MAX = 4096
_UNSENT_BYTES_MAX = 64 * 1024
_REDIAL_MIN_S, _REDIAL_MAX_S = 0.05, 1.0
_DIAL_BOUND_S = 3.0
_READ_BYTES = 256 * 1024
_logger = logging.getLogger(__name__)

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Dial = Callable[[str], Awaitable[tuple[Reader, Writer, str]]]
"""addr → (reader, writer, node id from the peer's certificate); raises OSError."""


class _Peer:
    """One peer's outgoing side: its queue, bounded, and the task that dials and writes."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.queue: list[bytes] = []
        self.queued_bytes = 0
        self.wake = asyncio.Event()
        self.redial = asyncio.Event()
        self.is_connected = False
        self.writer: Writer | None = None
        """What to write to at once while it takes it; what it doesn't is queued."""
        self.task: asyncio.Task[None] | None = None


class StreamTransport:
    """The real transport, on asyncio streams that the runtime opens and accepts.

    ``is_banned`` says whether a node was removed for good: it is never heard as a stranger, though
    its certificate is still a manager's.
    """

    def __init__(self, dial: Dial, is_banned: Callable[[str], bool] = lambda _: False) -> None:
        self._dial = dial
        self._is_banned = is_banned
        self._peers: dict[str, _Peer] = {}
        self._incoming: dict[str, set[Writer]] = {}
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
        """Queue a message for a connected peer, within bounds."""
        peer = self._peers.get(raft_id)
        if peer is None or not peer.is_connected:
            return False
        if peer.queued_bytes > _QUEUE_BYTES_MAX or len(peer.queue) >= _QUEUE_MESSAGES_MAX:
            return False
        body = encode(message)
        if len(body) > FRAME_BYTES_MAX:
            _logger.error("a message of %d bytes to %s is too large", len(body), raft_id)
            return False
        if peer.writer is not None and not peer.queue and _takes_more(peer.writer):
            peer.writer.write(framed(body))
            return True
        peer.queue += (head(body), body)
        peer.queued_bytes += len(body)
        peer.wake.set()
        return True

    async def accept(self, reader: Reader, writer: Writer, peer_node_id: str) -> None:
        """Read from an accepted connection until it ends or breaks a rule; then close it.

        The runtime has checked the certificate (a manager of this swarm); ``peer_node_id`` is its.
        """
        sender = ""
        try:
            sender = await self._greet(reader, writer, peer_node_id)
            if sender:
                self._incoming.setdefault(sender, set()).add(writer)
                await self._receive(reader, sender)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            _logger.debug("the connection from node %s ended: %s", peer_node_id, error)
        except (msgspec.DecodeError, ValueError) as error:
            _logger.info("closing the connection from node %s: %s", peer_node_id, error)
        finally:
            writer.close()
            self._forget_incoming(sender, writer)

    async def stop(self) -> None:
        """Hang up on everyone."""
        tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
        self._upcalls = None
        for task in tasks:
            task.cancel()
        for writers in self._incoming.values():
            for writer in writers:
                writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._peers.clear()

    async def _greet(self, reader: Reader, writer: Writer, peer_node_id: str) -> str:
        """Check the first frame; return the sender's raft id, "" when it may not speak."""
        async with asyncio.timeout(_DIAL_BOUND_S):
            hello = decode(await read_frame(reader))
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            raise ValueError("it does not speak this version of the protocol")
        if self._upcalls is not None and self._upcalls.is_removed(hello.sender):
            body = encode(Removed(hello.sender))
            writer.write(framed(body))
            await writer.drain()
            return ""
        peer = self._peers.get(hello.sender)
        if peer is None and self._upcalls is not None and hello.receiver == self._me:
            stranger = Member(hello.sender, peer_node_id, hello.addr)
            banned = self._is_banned(peer_node_id)
            if hello.addr and not banned and self._upcalls.stranger_dialled(stranger):
                peer = self._peers.get(hello.sender)
        if hello.receiver != self._me or peer is None:
            raise ValueError(f"raft member {hello.sender} and this one are no peers")
        if peer.member.node_id != peer_node_id:
            raise ValueError(f"raft member {hello.sender} is node {peer.member.node_id}")
        if not peer.is_connected:
            peer.redial.set()
        return hello.sender

    async def _receive(self, reader: Reader, sender: str) -> None:
        buffer = bytearray()
        while chunk := await reader.read(_READ_BYTES):
            buffer += chunk
            start = 0
            while (body := frame_in(buffer, start)) is not None:
                start += HEAD_BYTES + len(body)
                message = decode(body)
                if isinstance(message, Hello):
                    raise ValueError("it greets twice")  # noqa: TRY004 - the peer's fault
                if self._upcalls is None or sender not in self._peers:
                    return
                self._upcalls.message_received(sender, message)
            del buffer[:start]

    def _forget_incoming(self, sender: str, writer: Writer) -> None:
        writers = self._incoming.get(sender)
        if writers is None:
            return
        writers.discard(writer)
        if not writers:
            del self._incoming[sender]
            if self._upcalls is not None:
                self._upcalls.peer_lost(sender)

    def _drop(self, raft_id: str) -> None:
        peer = self._peers.pop(raft_id)
        if peer.task is not None:
            peer.task.cancel()
        for writer in self._incoming.get(raft_id, set()):
            writer.close()
        self._mark(peer, connected=False)

    def _mark(self, peer: _Peer, *, connected: bool) -> None:
        if peer.is_connected == connected:
            return
        peer.is_connected = connected
        if not connected:
            peer.writer = None
            peer.queue.clear()
            peer.queued_bytes = 0
        if self._upcalls is None:
            return
        if connected:
            self._upcalls.peer_connected(peer.member.raft_id)
        else:
            self._upcalls.peer_disconnected(peer.member.raft_id)

    async def _keep_connected(self, peer: _Peer) -> None:
        wait_s = _REDIAL_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            peer.redial.clear()
            try:
                await self._connect_once(peer)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                _logger.debug("no connection to %s: %s", peer.member.addr, error)
            except Exception as error:  # noqa: BLE001 - a dialler's error must not end the dialling
                _logger.warning("closing the connection to %s: %s", peer.member.addr, error)
            finally:
                self._mark(peer, connected=False)
            lived = loop.time() - began > _REDIAL_MAX_S
            wait_s = _REDIAL_MIN_S if lived else min(wait_s * 2, _REDIAL_MAX_S)
            await self._until_redial(peer, wait_s)

    async def _until_redial(self, peer: _Peer, wait_s: float) -> None:
        """Wait before the next attempt, less when the peer has just dialled us."""
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await peer.redial.wait()

    async def _connect_once(self, peer: _Peer) -> None:
        """Dial, greet and write until the connection ends."""
        async with asyncio.timeout(_DIAL_BOUND_S):
            reader, writer, node_id = await self._dial(peer.member.addr)
        try:
            if node_id != peer.member.node_id:
                raise ValueError(f"it is node {node_id}, not {peer.member.node_id}")
            addr = self._upcalls.addr if self._upcalls is not None else ""
            body = encode(Hello(PROTOCOL, self._me, peer.member.raft_id, addr))
            writer.write(framed(body))
            peer.writer = writer
            self._mark(peer, connected=True)
            watch = asyncio.get_running_loop().create_task(self._watch(reader, peer))
            write = asyncio.get_running_loop().create_task(self._write(writer, peer))
            try:
                await asyncio.wait((watch, write), return_when=asyncio.FIRST_COMPLETED)
            finally:
                watch.cancel()
                write.cancel()
                await asyncio.gather(watch, write, return_exceptions=True)
        finally:
            # Not close: that waits for a peer that takes nothing, with all that is buffered.
            writer.transport.abort()

    async def _watch(self, reader: Reader, peer: _Peer) -> None:
        """Wait for the end of a dialled connection; the one thing said on it is a removal."""
        message = decode(await read_frame(reader))
        if isinstance(message, Removed) and self._upcalls is not None:
            self._upcalls.message_received(peer.member.raft_id, message)

    async def _write(self, writer: Writer, peer: _Peer) -> None:
        while True:
            await peer.wake.wait()
            peer.wake.clear()
            batch, peer.queue = peer.queue, []
            peer.queued_bytes = 0
            writer.write(b"".join(batch))
            await writer.drain()


def _takes_more(writer: Writer) -> bool:
    """Say whether what was written has nearly left: else the queue with its bounds takes over."""
    return writer.transport.get_write_buffer_size() < _UNSENT_BYTES_MAX
