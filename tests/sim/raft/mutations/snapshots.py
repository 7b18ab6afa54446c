"""Snapshots written, sent and installed."""

# ruff: noqa: ANN001, ANN002, ARG001 - stand-ins take what the original takes

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import msgspec

from swarmops.raft import snapshots
from swarmops.raft.snapshot_receiver import SnapshotReceiver
from swarmops.raft.snapshot_sender import SnapshotSender
from swarmops.raft.snapshots import SnapshotWriter
from tests.sim.raft import stories
from tests.sim.raft.mutations.row import Mutation, replace


def _finish_unsynced(self) -> None:
    self._record(18, msgspec.msgpack.encode((self._count, self._bytes)))
    self._file.close()
    self._disk.replace(self._which.unfinished, self._which.name)


def _no_snapshot_written(disk, data_key, rng, which, content) -> None:
    for _ in content[1]:
        pass


def _unaware(method: Callable[..., None]) -> Callable[..., None]:
    """Run a method of the receiver as if nothing had been applied yet."""

    def run(self, *arguments) -> None:
        applied, self._engine._SyncObj__raftLastApplied = self._engine.applied_index(), 0
        try:
            method(self, *arguments)
        finally:
            if self._engine._SyncObj__raftLastApplied == 0:
                self._engine._SyncObj__raftLastApplied = applied

    return run


_take_any = mock.patch.multiple(
    SnapshotReceiver,
    received=_unaware(SnapshotReceiver.received),
    _install=_unaware(SnapshotReceiver._install),
)


_original_received = SnapshotReceiver.received


def _begin_anew(self, leader, message) -> None:
    if message.number == 0 and self._incoming is not None and not self._incoming.busy:
        self._incoming = None
    _original_received(self, leader, message)


_original_acknowledged = SnapshotSender.acknowledged


def _never_go_back(self, raft_id, message) -> None:
    outgoing = self._outgoing.get(raft_id)
    if message.done or outgoing is None or message.next_number > outgoing.number:
        _original_acknowledged(self, raft_id, message)


TABLE = [
    Mutation(
        "a snapshot is renamed without a sync",
        "a snapshot with holes, behind which the log is gone",
        replace(SnapshotWriter, "finish", _finish_unsynced),
        1,
        r"refuses to start: .*snapshot-",
    ),
    Mutation(
        "the log is compacted though no snapshot was written",
        "a member that lost its state",
        replace(snapshots, "write", _no_snapshot_written),
        0,
        r"the snapshot before entry .* is missing",
    ),
    Mutation(
        "a stale snapshot is installed",
        "applied state is rolled back",
        lambda: _take_any,
        stories.an_old_snapshot_comes_again,
        r"rolls back what it applied",
    ),
    Mutation(
        "a repeated first chunk begins a snapshot anew",
        "leader and follower wait for each other for ever",
        replace(SnapshotReceiver, "received", _begin_anew),
        stories.a_first_chunk_comes_again,
        r"liveness: .* it is installed",
    ),
    Mutation(
        "a follower that wants an earlier chunk is never believed",
        "a snapshot never installs after an old answer",
        replace(SnapshotSender, "acknowledged", _never_go_back),
        stories.an_answer_of_a_former_run_comes_late,
        r"liveness: .* it is installed",
    ),
]
