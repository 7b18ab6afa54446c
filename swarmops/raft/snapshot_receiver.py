"""Taking a snapshot from the leader: written as it comes, installed when it is whole and newer.

Driven by ``Snapshots``. It becomes the state only once it is durable; writing and decoding are on
the snapshot lane, and what was half received is dropped.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from swarmops.raft import membership
from swarmops.raft.disk import Disk, Lanes
from swarmops.raft.engine import Engine
from swarmops.raft.membership import Configuration
from swarmops.raft.messages import SnapshotChunk
from swarmops.raft.sealing import SALT_BYTES
from swarmops.raft.seam import StateMachine
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshots import (
    SnapshotId,
    SnapshotMeta,
    SnapshotReader,
    SnapshotWriter,
    ignore_result,
    or_close,
)

_logger = logging.getLogger(__name__)


class _Incoming:
    """A snapshot on its way in."""

    def __init__(self, which: SnapshotId, meta: bytes, source: tuple[str, int]) -> None:
        self.which = which
        self.source = source
        self.meta = meta
        self.writer: SnapshotWriter | None = None
        self.next_number = 0
        self.busy = False


class _Whole(NamedTuple):
    """One that is durable and was understood; ``commit`` where the machine loads off the loop."""

    which: SnapshotId
    reader: SnapshotReader
    commit: Callable[[], None] | None
    configuration: Configuration
    sessions: bytes


class SnapshotReceiver:
    """What one member receives; ``on_installed`` hears of each that became the state.

    ``on_failed`` hears that one could not, half way: what the state is then, nobody knows.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        disk: Disk,
        data_key: bytes,
        rng: random.Random,
        lanes: Lanes,
        state_machine: StateMachine,
        sessions: Sessions,
        on_installed: Callable[[SnapshotId], None],
        on_ended: Callable[[], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._data_key = data_key
        self._rng = rng
        self._lanes = lanes
        self._machine = state_machine
        self._sessions = sessions
        self._on_installed = on_installed
        self._on_ended = on_ended
        self._on_failed = on_failed
        self._incoming: _Incoming | None = None
        self.installing = False

    def received(self, leader: str, message: SnapshotChunk) -> None:
        """Write a chunk; install after the last."""
        which = SnapshotId(message.index, message.index_term)
        if which.index <= self._engine.applied_index():
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
            self._lanes.submit("snapshot", old.writer.abandon, ignore_result)
        self._incoming = incoming
        return incoming

    def _answer(self, leader: str, message: SnapshotChunk, number: int, *, done: bool) -> None:
        self._engine.send_snapshot_ack(
            leader, message.term, message.round, message.index, number, done=done
        )

    def _write(self, leader: str, message: SnapshotChunk, incoming: _Incoming) -> None:
        incoming.busy = True

        def job() -> None:
            self._writer(incoming).write(message.data)

        def done(_result: None, error: BaseException | None) -> None:
            incoming.busy = False
            if error is not None:
                self._drop(incoming, error)
                return
            incoming.next_number += 1
            self._answer(leader, message, incoming.next_number, done=False)

        self._lanes.submit("snapshot", job, done)

    def _writer(self, incoming: _Incoming) -> SnapshotWriter:
        """Begin the file with the first chunk; with the last, where an empty state has no other."""
        if incoming.writer is None:
            salt = self._rng.randbytes(SALT_BYTES)
            incoming.writer = SnapshotWriter(
                self._disk, self._data_key, salt, incoming.which, incoming.meta
            )
        return incoming.writer

    def _drop(self, incoming: _Incoming, error: BaseException) -> None:
        _logger.warning("a snapshot from the leader could not be kept, will ask again: %s", error)
        self.installing = False
        if self._incoming is incoming:
            self._incoming = None
        if incoming.writer is not None:
            self._lanes.submit("snapshot", incoming.writer.abandon, ignore_result)

    def _finish(self, leader: str, message: SnapshotChunk, incoming: _Incoming) -> None:
        incoming.busy = self.installing = True

        def job() -> _Whole:
            self._writer(incoming).finish()
            try:
                reader = SnapshotReader(self._disk, self._data_key, incoming.which)
                whole: _Whole = or_close(reader, lambda: self._understood(reader))
            except Exception:
                self._disown(incoming.which)
                raise
            return whole

        def done(whole: _Whole, error: BaseException | None) -> None:
            if error is not None:
                self._drop(incoming, error)
                return
            self._incoming = None
            try:
                or_close(whole.reader, lambda: self._install(whole))
            except Exception as failure:  # noqa: BLE001 - a state half replaced is none at all
                self._on_failed(failure)
                return
            self._answer(leader, message, 0, done=True)

        self._lanes.submit("snapshot", job, done)

    def _disown(self, which: SnapshotId) -> None:
        """Delete what has its final name and can't be understood: the next start would rest on it.

        That start would refuse, though nothing is damaged that was promised.
        """
        self._disk.remove(which.name)
        self._disk.sync_names()

    def _understood(self, reader: SnapshotReader) -> _Whole:
        """Decode all that can be decoded before anything is replaced; on the lane."""
        load = getattr(self._machine, "load", None)
        meta = msgspec.msgpack.decode(reader.meta, type=SnapshotMeta)
        configuration = membership.decode(meta.configuration)
        commit = load(reader.chunks()) if load else None
        return _Whole(reader.which, reader, commit, configuration, meta.sessions)

    def _install(self, whole: _Whole) -> None:
        which = whole.which
        if which.index > self._engine.applied_index():
            if whole.commit is not None:
                whole.commit()
            else:
                self._machine.restore(whole.reader.chunks())
            self._sessions.load(whole.sessions)
            self._engine.install(which.index, which.term, whole.configuration)
            self._on_installed(which)
        whole.reader.close()
        self.installing = False
        self._on_ended()
