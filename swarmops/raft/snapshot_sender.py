"""Sending snapshots to followers: chunk by chunk, each once the one before it is acknowledged.

Driven by ``Snapshots``; a slow follower costs one chunk of memory. Reading is on the snapshot lane.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from swarmops.raft.disk import Disk, Lanes
from swarmops.raft.engine import Engine
from swarmops.raft.messages import Message, SnapshotAck, SnapshotChunk
from swarmops.raft.seam import Clock
from swarmops.raft.snapshots import SnapshotId, SnapshotReader, ignore_result, or_close

_RESEND_S = 1.0
_logger = logging.getLogger(__name__)


class _Outgoing:
    """A snapshot on its way to one follower: one chunk at a time."""

    def __init__(self, which: SnapshotId) -> None:
        self.which = which
        self.reader: SnapshotReader | None = None
        self.number = 0
        self.meta = b""
        self.chunk: bytes | None = None
        self.sent_at = float("-inf")
        self.busy = True
        self.is_ahead = False


class SnapshotSender:
    """What one member sends; ``on_sent`` and ``on_broken`` hear how a sending ended."""

    def __init__(
        self,
        *,
        engine: Engine,
        disk: Disk,
        data_key: bytes,
        lanes: Lanes,
        clock: Clock,
        send: Callable[[str, Message], bool],
        on_sent: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._data_key = data_key
        self._lanes = lanes
        self._clock = clock
        self._send = send
        self._on_sent = on_sent
        self._on_broken = on_broken
        self._outgoing: dict[str, _Outgoing] = {}

    def sending(self) -> dict[str, SnapshotId]:
        """Return which snapshot is on its way to whom."""
        return {raft_id: outgoing.which for raft_id, outgoing in self._outgoing.items()}

    def wanted(self, raft_id: str, newest: SnapshotId | None) -> None:
        """Begin to send the newest, or send again what stayed unanswered."""
        outgoing = self._outgoing.get(raft_id)
        if outgoing is None:
            if newest is None:
                return
            outgoing = self._outgoing[raft_id] = _Outgoing(newest)
            self._open(raft_id, outgoing)
        elif not outgoing.busy and self._clock.time() - outgoing.sent_at > _RESEND_S:
            if outgoing.is_ahead:
                self._close(raft_id)
            else:
                self._send_chunk(raft_id, outgoing)

    def _open(self, raft_id: str, outgoing: _Outgoing) -> None:
        def job() -> tuple[SnapshotReader, bytes | None]:
            reader = SnapshotReader(self._disk, self._data_key, outgoing.which)
            return reader, or_close(reader, reader.next_chunk)

        def done(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._broke(raft_id, outgoing, error)
                return
            outgoing.reader, outgoing.chunk = result
            outgoing.meta = outgoing.reader.meta
            self._send_chunk(raft_id, outgoing)

        self._lanes.submit("snapshot", job, done)

    def _broke(self, raft_id: str, outgoing: _Outgoing, error: BaseException) -> None:
        _logger.error("the snapshot can't be sent to %s, will take another: %s", raft_id, error)
        if self._outgoing.get(raft_id) is outgoing:
            self._close(raft_id)
        self._on_broken()

    def _close(self, raft_id: str) -> None:
        outgoing = self._outgoing.pop(raft_id, None)
        if outgoing is not None and outgoing.reader is not None:
            reader = outgoing.reader
            self._lanes.submit("snapshot", reader.close, ignore_result)

    def _send_chunk(self, raft_id: str, outgoing: _Outgoing) -> None:
        outgoing.busy = False
        outgoing.sent_at = self._clock.time()
        which, chunk = outgoing.which, outgoing.chunk
        meta = outgoing.meta if outgoing.number == 0 else b""
        message = SnapshotChunk(
            self._engine.term(),
            self._engine.round(),
            which.index,
            which.term,
            outgoing.number,
            chunk is None,
            meta,
            chunk or b"",
        )
        if self._engine.is_leading():
            self._send(raft_id, message)
        else:
            self._close(raft_id)

    def acknowledged(self, raft_id: str, message: SnapshotAck) -> None:
        """Send the chunk that the follower wants next, or begin again when it did.

        An answer that wants less may be an old one, and is only believed if nothing better comes.
        """
        outgoing = self._outgoing.get(raft_id)
        if outgoing is None or outgoing.which.index != message.index or outgoing.busy:
            return
        if message.done:
            self._close(raft_id)
            self._on_sent()
        elif message.next_number > outgoing.number and outgoing.chunk is not None:
            self._read_up_to(raft_id, outgoing, message.next_number)
        elif message.next_number == 0 and outgoing.number > 0:
            self._close(raft_id)
        elif message.next_number <= outgoing.number:
            outgoing.is_ahead = outgoing.number > 0

    def _read_up_to(self, raft_id: str, outgoing: _Outgoing, number: int) -> None:
        reader = outgoing.reader
        if reader is None:
            return
        outgoing.busy, outgoing.is_ahead = True, False

        def job() -> bytes | None:
            chunk: bytes | None = b""
            for _ in range(number - outgoing.number):
                chunk = reader.next_chunk() if chunk is not None else None
            return chunk

        def done(chunk: Any, error: BaseException | None) -> None:
            if error is not None:
                self._broke(raft_id, outgoing, error)
                return
            outgoing.number = number
            outgoing.chunk = chunk
            self._send_chunk(raft_id, outgoing)

        self._lanes.submit("snapshot", job, done)

    def stop(self) -> None:
        """Leading ended: drop what was being sent."""
        for raft_id in list(self._outgoing):
            self._close(raft_id)
