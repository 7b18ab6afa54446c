"""The two ends of Raft's streams: one was dialled, to write on, one was accepted, to read from.

Made by ``streams``, which says who may speak. They know frames, and of the messages only those with
which a conversation begins and ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from swarmops.raft.frames import Frames, framed
from swarmops.raft.messages import PROTOCOL, Frame, Hello, Message, decode, encode

_QUEUE_BYTES_MAX = 16 * 1024 * 1024
_QUEUE_MESSAGES_MAX = 2048
_UNSENT_BYTES_MAX = 64 * 1024
"""What the stream may hold that hasn't left; more waits in the queue, which has bounds."""
_GREETING_BOUND_S = 3.0
_logger = logging.getLogger(__name__)


class Owner(Protocol):
    """What an accepted end asks of the transport."""

    def greeted(self, end: Accepted, hello: Hello, node_id: str) -> str:
        """Return the sender's raft id, "" when it was sent away; raises ValueError to refuse it."""

    def message_received(self, end: Accepted, sender: str, message: Message) -> None:
        """Take what a greeted peer says."""

    def lost(self, end: Accepted, sender: str) -> None:
        """Note that the stream ended."""


class Dialled(asyncio.Protocol):
    """The end of a stream that was dialled: written to, and queued for within bounds.

    The one thing that is said on it is a removal.
    """

    def __init__(self, stream: asyncio.Transport, heard: Callable[[Frame], None]) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why the stream ended, once it has: no exception, which would hold all this in memory."""
        self._stream = stream
        self._heard = heard
        self._frames = Frames()
        self._is_full = False
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        stream.set_write_buffer_limits(_UNSENT_BYTES_MAX)
        stream.set_protocol(self)
        if stream.is_closing():  # before there was anybody to be told
            self._end(None)

    def write(self, body: bytes) -> bool:
        """Send a message now or when the stream takes more; False when too much waits already."""
        if not self._is_full:
            self._stream.write(framed(body))
            return True
        if self._queued_bytes > _QUEUE_BYTES_MAX or len(self._queue) >= _QUEUE_MESSAGES_MAX:
            return False
        self._queue.append(framed(body))
        self._queued_bytes += len(body)
        return True

    def pause_writing(self) -> None:
        """Queue from now on: the stream holds enough."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Write what is queued: the stream takes more."""
        self._is_full = False
        batch, self._queue, self._queued_bytes = self._queue, [], 0
        if batch:
            self._stream.write(b"".join(batch))

    def data_received(self, data: bytes) -> None:
        """Pass on what the peer says."""
        try:
            for body in self._frames.taken(data):
                self._heard(decode(body))
        except (msgspec.DecodeError, ValueError) as error:
            _logger.info("closing a connection that was dialled: %s", error)
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for ``lost``."""
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        if not self.lost.done():
            self.lost.set_result(str(error or "the peer closed the connection"))


class Accepted(asyncio.Protocol):
    """The end of a stream that was accepted: a greeting is heard, then messages."""

    def __init__(self, owner: Owner, node_id: str) -> None:
        self._owner = owner
        self._node_id = node_id
        self._frames = Frames()
        self._sender = ""
        self._stream: asyncio.Transport | None = None
        self._greeting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting, not for long."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is a stream's
        self._stream = transport
        loop = asyncio.get_running_loop()
        self._greeting = loop.call_later(_GREETING_BOUND_S, self.end, "it does not greet")

    def data_received(self, data: bytes) -> None:
        """Hear the greeting, then messages; end the stream where a rule is broken."""
        try:
            for body in self._frames.taken(data):
                if self._stream is None:  # what came before, maybe in the same packet, ended it
                    return
                self._take(decode(body))
        except (msgspec.DecodeError, ValueError) as error:
            self.end(str(error))

    def _take(self, message: Frame) -> None:
        if self._sender:
            if isinstance(message, Hello):
                raise ValueError("it greets twice")
            self._owner.message_received(self, self._sender, message)
            return
        if not isinstance(message, Hello) or message.protocol != PROTOCOL:
            raise ValueError("it does not speak this version of the protocol")
        self._forget_time_out()
        self._sender = self._owner.greeted(self, message, self._node_id)

    def take_leave(self, message: Message) -> None:
        """Say the one thing that is ever said on such a stream, and hear no more."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.write(framed(encode(message)))
            stream.close()

    def end(self, reason: str) -> None:
        """Hear no more."""
        self._forget_time_out()
        stream, self._stream = self._stream, None
        if stream is not None:
            _logger.info("closing the connection from node %s: %s", self._node_id, reason)
            stream.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        _logger.debug("the connection from node %s ended: %s", self._node_id, exc)
        self._forget_time_out()
        self._stream = None
        self._owner.lost(self, self._sender)

    def _forget_time_out(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None
