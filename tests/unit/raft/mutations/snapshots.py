"""Snapshots: taken, kept, cleared up, received and restored."""

# ruff: noqa: ANN001, ARG001, ARG005, PT008 - stand-ins, see the sim's

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest import mock

import msgspec

from swarmops.raft import engine, opening, raft, run, snapshots, storage
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshot_receiver import SnapshotReceiver
from swarmops.raft.snapshots import SnapshotWriter
from swarmops.raft.snapshotting import Snapshots
from tests.unit.raft import test_power, test_storage
from tests.unit.raft.faults import test_durability, test_membership, test_replication
from tests.unit.raft.mutations.row import Mutation, replace

_T = engine._SyncObj


def _finish_unsynced(self) -> None:
    self._file.sync = lambda: None
    _finish(self)


_finish = SnapshotWriter.finish


def _drop_all_but(disk, than, used) -> None:
    for found in snapshots.finished(disk):
        if found != than:
            disk.remove(found.name)


def _keep_all(self, index) -> int:
    """Keep for who is behind whatever it needs."""
    timing = self._timing
    self._timing = msgspec.structs.replace(timing, lagging_entries=1 << 40, lagging_bytes=1 << 60)
    kept = _keep_from(self, index)
    self._timing = timing
    return int(kept)


_keep_from = Snapshots._keep_from


async def _restore_what_can_be(environment, opened) -> Sessions:
    try:
        return await _restore(environment, opened)
    except StorageCorrupt:
        return Sessions()


_restore = opening.restore


def _take_damage_for_nothing() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(mock.patch.object(storage, "_check_whole", lambda *_: None))
    stack.enter_context(mock.patch.object(raft, "restore", _restore_what_can_be))
    return stack


def _keep_nothing(self, index) -> int:
    return int(max(self._journal.first_index, index))


def _give_up_snapshots(self, which, error) -> None:
    if error is None:
        _taken(self, which, error)


_taken = Snapshots._taken


def _forget_to_clean_up() -> AbstractContextManager[Any]:
    return mock.patch.object(SnapshotWriter, "abandon", lambda self: None)


def _write_timed(self, leader, message, incoming) -> None:
    self._began = self._engine._clock()
    _write(self, leader, message, incoming)


def _answer_in_time(self, leader, message, number, *, done) -> None:
    if number and self._engine._clock() - self._began > 1.0:
        self._incoming = None
        return
    _answer(self, leader, message, number, done=done)


_write = SnapshotReceiver._write


_answer = SnapshotReceiver._answer


def _newest_configuration(self, index) -> bytes:
    with mock.patch.object(_T, "committed_configuration", lambda engine, _: engine.configuration):
        return _meta(self, index)


_meta = Snapshots._meta

TABLE = [
    Mutation(
        "a snapshot is renamed before it is synced",
        "killed while it writes, the library loses all since the snapshot",
        replace(SnapshotWriter, "finish", _finish_unsynced),
        test_power.test_power_may_go_at_any_byte,
        {"way": test_power.WAYS[2]},
    ),
    Mutation(
        "clearing up takes all snapshots but one",
        "an orphan of a killed run renames its dump over the newer one",
        replace(snapshots, "drop_older", _drop_all_but),
        test_storage.test_clearing_up_spares_newer_snapshots_and_those_in_use,
    ),
    Mutation(
        "a snapshot that doesn't fit is left where it is",
        "a full disk costs a file and a descriptor a second (ours)",
        _forget_to_clean_up,
        test_storage.test_a_snapshot_that_does_not_fit_leaves_no_file_and_no_descriptor,
        {"room": 100},
    ),
    Mutation(
        "a snapshot that fails once is the last one",
        "the log grows for ever, in silence (ours, found by reading)",
        replace(Snapshots, "_taken", _give_up_snapshots),
        test_durability.test_a_snapshot_that_the_state_machine_fails_to_give_is_tried_again,
        {"when": "asked for"},
    ),
    Mutation(
        "a state that could not be replaced is gone on with",
        "a member that applies nothing any more, in silence (ours, found by reading)",
        replace(run.Run, "_fail", lambda self, error: None),
        test_replication.test_a_state_that_could_not_be_replaced_ends_the_member_and_says_why,
        {"way": "restore"},
    ),
    Mutation(
        "nothing is kept behind a snapshot",
        "a slightly slow follower gets a whole snapshot",
        replace(Snapshots, "_keep_from", _keep_nothing),
        test_durability.test_memory_entries_behind_a_snapshot_are_kept_for_slow_followers,
    ),
    Mutation(
        "the log is kept for whoever is behind, without an end",
        "a follower that never catches up costs unbounded files and memory",
        replace(Snapshots, "_keep_from", _keep_all),
        test_durability.test_a_follower_that_never_catches_up_costs_bounded_memory_and_files,
    ),
    Mutation(
        "a damaged snapshot is as good as none at the start",
        "truncated dump: a zombie that has no state leads",
        _take_damage_for_nothing,
        test_durability.test_a_member_whose_snapshot_is_damaged_refuses_to_start,
        {"where": "a chunk", "damage": "flip"},
    ),
    Mutation(
        "a snapshot that can't be read back keeps its name",
        "the next start rests on it, and refuses (ours, found by reading)",
        replace(SnapshotReceiver, "_disown", lambda self, which: None),
        test_replication.test_a_damaged_snapshot_is_not_acknowledged,
    ),
    Mutation(
        "a snapshot begins again when a chunk takes longer than a second",
        "a snapshot slower than the time-out never installs",
        lambda: mock.patch.multiple(SnapshotReceiver, _write=_write_timed, _answer=_answer_in_time),
        test_replication.test_a_large_snapshot_on_a_slow_disk_installs_under_load_without_an_election,
        {"seed": 0},
    ),
    Mutation(
        "a snapshot holds the newest configuration",
        "the snapshot holds the current, perhaps uncommitted one",
        replace(Snapshots, "_meta", _newest_configuration),
        test_membership.test_a_snapshot_holds_the_committed_configuration,
    ),
]
