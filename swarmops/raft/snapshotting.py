"""Taking, sending and installing snapshots: the loop decides, the snapshot lane works.

Driven by ``Run``, between the engine and the snapshot files. A snapshot is taken while commands go
on being applied; it travels chunk by chunk, each acknowledged when it is written, so that a slow
follower costs one chunk of memory; it is installed only when it is whole, durable and newer.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import msgspec

from swarmops.raft import membership, snapshots
from swarmops.raft.disk import Disk, Lanes
from swarmops.raft.engine import Engine
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.journal import Journal
from swarmops.raft.messages import Message, SnapshotAck, SnapshotChunk
from swarmops.raft.sealing import SALT_BYTES
from swarmops.raft.seam import Clock, StateMachine, Timing
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshots import SnapshotId, SnapshotMeta, SnapshotReader, SnapshotWriter

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


class _Incoming:
    """A snapshot on its way in."""

    def __init__(self, which: SnapshotId, meta: bytes, source: tuple[str, int]) -> None:
        self.which = which
        self.source = source
        self.meta = meta
        self.writer: SnapshotWriter | None = None
        self.next_number = 0
        self.busy = False


class Snapshots:
    """All snapshot work of one member."""

    def __init__(
        self,
        *,
        disk: Disk,
        data_key: bytes,
        rng: random.Random,
        lanes: Lanes,
        clock: Clock,
        timing: Timing,
        state_machine: StateMachine,
        sessions: Sessions,
        journal: Journal,
        newest: SnapshotId | None,
        send: Callable[[str, Message], bool],
        installed: Callable[[], None],
    ) -> None:
        self._disk = disk
        self._data_key = data_key
        self._rng = rng
        self._lanes = lanes
        self._clock = clock
        self._timing = timing
        self._machine = state_machine
        self._sessions = sessions
        self._journal = journal
        self._send = send
        self._installed = installed
        self._newest = newest
        self._taking = False
        self._bytes_kept = 0
        self._not_before = float("-inf")
        self._outgoing: dict[str, _Outgoing] = {}
        self._incoming: _Incoming | None = None
        self.installing = False
        self.engine: Engine

    # Taking.

    def take_if_due(self, *, force: bool = False) -> None:
        """Begin a snapshot when enough was applied since the last one."""
        applied = self.engine.applied_index()
        self._bytes_kept = min(self._bytes_kept, self._journal.bytes_total)
        since = applied - (self._newest.index if self._newest else 0)
        due = since >= self._timing.snapshot_entries or (
            self._journal.bytes_total - self._bytes_kept >= self._timing.snapshot_log_bytes
            and since > self._timing.trailing_entries
        )
        term = self._journal.term_at(applied)
        idle = not self._taking and not self.installing and self._clock.time() >= self._not_before
        if not (due or force) or not idle or since <= 0 or term is None or self._journal.error:
            return
        self._taking = True
        which = SnapshotId(applied, term)
        meta = self._meta(applied)
        chunks = self._machine.snapshot()
        job = lambda: snapshots.write(  # noqa: E731 - one expression, for the other thread
            self._disk, self._data_key, self._rng, which, (meta, chunks)
        )
        self._lanes.submit("snapshot", job, lambda _result, error: self._taken(which, error))

    def _meta(self, index: int) -> bytes:
        configuration = self.engine.committed_configuration(index)
        return msgspec.msgpack.encode(
            SnapshotMeta(membership.encode(configuration), self._sessions.dump())
        )

    def _taken(self, which: SnapshotId, error: BaseException | None) -> None:
        if error is not None:
            self._taking = False
            self._not_before = self._clock.time() + self._timing.disk_retry_s
            _logger.warning("a snapshot failed, the log keeps growing until one works: %s", error)
            return
        self._newest = max(which, self._newest or which)
        self._journal.compact(self._keep_from(which.index), self._compacted)
        self._bytes_kept = self._journal.bytes_total
        self._sweep()

    def _keep_from(self, index: int) -> int:
        """Say where the log shall begin: before what followers that answer still have to get.

        Else one that takes longer for a snapshot than the next one takes to come would get
        snapshots for ever. Bounded: who is too far behind gets another one.
        """
        keep = index - self._timing.trailing_entries
        small = (
            len(self._journal) <= self._timing.lagging_entries
            and self._journal.bytes_total <= self._timing.lagging_bytes
        )
        if small and self.engine.is_leading():
            sending = {raft_id: o.which.index for raft_id, o in self._outgoing.items()}
            needed = self.engine.needed_from(sending)
            keep = keep if needed is None else min(keep, needed)
        return max(self._journal.first_index, keep)

    def _compacted(self) -> None:
        self._taking = False

    def _sweep(self) -> None:
        if self._newest is not None:
            newest = self._newest
            used = frozenset(outgoing.which for outgoing in self._outgoing.values())
            job = lambda: snapshots.drop_older(self._disk, newest, used)  # noqa: E731 - as above
            self._lanes.submit("snapshot", job, _ignore)

    # Sending.

    def wanted(self, raft_id: str) -> None:
        """Begin to send, or send again what stayed unanswered."""
        outgoing = self._outgoing.get(raft_id)
        if outgoing is None:
            if self._newest is None or self.installing:
                return
            outgoing = self._outgoing[raft_id] = _Outgoing(self._newest)
            self._open(raft_id, outgoing)
        elif not outgoing.busy and self._clock.time() - outgoing.sent_at > _RESEND_S:
            if outgoing.is_ahead:
                self._close(raft_id)
            else:
                self._send_chunk(raft_id, outgoing)

    def _open(self, raft_id: str, outgoing: _Outgoing) -> None:
        def job() -> tuple[SnapshotReader, bytes | None]:
            reader = SnapshotReader(self._disk, self._data_key, outgoing.which)
            return reader, _or_close(reader, reader.next_chunk)

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
        self.take_if_due(force=True)

    def _close(self, raft_id: str) -> None:
        outgoing = self._outgoing.pop(raft_id, None)
        if outgoing is not None and outgoing.reader is not None:
            reader = outgoing.reader
            self._lanes.submit("snapshot", reader.close, _ignore)

    def _send_chunk(self, raft_id: str, outgoing: _Outgoing) -> None:
        outgoing.busy = False
        outgoing.sent_at = self._clock.time()
        which, chunk = outgoing.which, outgoing.chunk
        meta = outgoing.meta if outgoing.number == 0 else b""
        message = SnapshotChunk(
            self.engine.term(),
            self.engine.round(),
            which.index,
            which.term,
            outgoing.number,
            chunk is None,
            meta,
            chunk or b"",
        )
        if self.engine.is_leading():
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
            self._sweep()
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

    def stop_sending(self) -> None:
        """Leading ended: drop what was being sent."""
        for raft_id in list(self._outgoing):
            self._close(raft_id)

    # Installing.

    def received(self, leader: str, message: SnapshotChunk) -> None:
        """Write a chunk; install after the last."""
        which = SnapshotId(message.index, message.index_term)
        if which.index <= self.engine.applied_index():
            self._answer(leader, message, 0, done=True)
            return
        incoming = self._incoming
        if incoming is not None and incoming.busy:
            return
        source = (leader, message.term)
        is_the_one = incoming is not None and (incoming.which, incoming.source) == (which, source)
        if message.number == 0 and not is_the_one:
            # Whoever sends it may have cut it otherwise: chunks of two senders never mix.
            incoming, is_the_one = self._begin(_Incoming(which, message.meta, source)), True
        if incoming is None or not is_the_one:
            self._answer(leader, message, 0, done=False)
        elif message.number != incoming.next_number:
            self._answer(leader, message, incoming.next_number, done=False)
        elif message.last:
            self._finish(leader, message, incoming)
        else:
            self._write(leader, message, incoming)

    def _begin(self, incoming: _Incoming) -> _Incoming:
        old = self._incoming
        if old is not None and old.writer is not None:
            self._lanes.submit("snapshot", old.writer.abandon, _ignore)
        self._incoming = incoming
        return incoming

    def _answer(self, leader: str, message: SnapshotChunk, number: int, *, done: bool) -> None:
        self.engine.send_snapshot_ack(
            leader, message.term, message.round, message.index, number, done=done
        )

    def _write(self, leader: str, message: SnapshotChunk, incoming: _Incoming) -> None:
        incoming.busy = True

        def job() -> None:
            if incoming.writer is None:
                salt = self._rng.randbytes(SALT_BYTES)
                incoming.writer = SnapshotWriter(
                    self._disk, self._data_key, salt, incoming.which, incoming.meta
                )
            incoming.writer.write(message.data)

        def done(_result: None, error: BaseException | None) -> None:
            incoming.busy = False
            if error is not None:
                self._drop(incoming, error)
                return
            incoming.next_number += 1
            self._answer(leader, message, incoming.next_number, done=False)

        self._lanes.submit("snapshot", job, done)

    def _drop(self, incoming: _Incoming, error: BaseException) -> None:
        _logger.warning("a snapshot from the leader could not be kept, will ask again: %s", error)
        self.installing = False
        if self._incoming is incoming:
            self._incoming = None
        if incoming.writer is not None:
            self._lanes.submit("snapshot", incoming.writer.abandon, _ignore)

    def _finish(self, leader: str, message: SnapshotChunk, incoming: _Incoming) -> None:
        incoming.busy = self.installing = True
        load = getattr(self._machine, "load", None)

        def job() -> Any:
            if incoming.writer is None:
                raise StorageCorrupt(incoming.which.name, 0, "the snapshot is empty")
            incoming.writer.finish()
            reader = SnapshotReader(self._disk, self._data_key, incoming.which)
            loaded = _or_close(reader, lambda: load(reader.chunks())) if load else None
            return reader, loaded

        def done(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._drop(incoming, error)
                return
            self._install(incoming, *result)
            self._answer(leader, message, 0, done=True)

        self._lanes.submit("snapshot", job, done)

    def _install(
        self, incoming: _Incoming, reader: SnapshotReader, commit: Callable[[], None] | None
    ) -> None:
        which = incoming.which
        self._incoming = None
        if which.index > self.engine.applied_index():
            if commit is not None:
                commit()
            else:
                self._machine.restore(reader.chunks())
            meta = msgspec.msgpack.decode(reader.meta, type=SnapshotMeta)
            self._sessions.load(meta.sessions)
            configuration = membership.decode(meta.configuration)
            self.engine.install(which.index, which.term, configuration)
            self._newest = max(which, self._newest or which)
            self._installed()
        reader.close()
        self.installing = False
        self._sweep()


def _or_close(reader: SnapshotReader, work: Callable[[], Any]) -> Any:
    """Do something with a reader that nobody else could close if it fails."""
    try:
        return work()
    except BaseException:
        reader.close()
        raise


def _ignore(_result: Any, error: BaseException | None) -> None:
    if error is not None:
        _logger.warning("cleaning up after a snapshot failed: %s", error)
