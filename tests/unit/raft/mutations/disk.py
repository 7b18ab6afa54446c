"""Log, term file and what seals them: from ``records`` and ``logwriter`` to ``disk``."""

# ruff: noqa: ANN001, ARG001, ARG005, PT008 - stand-ins, see the sim's

from __future__ import annotations

import os
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

from swarmops.raft import disk as disk_module
from swarmops.raft import records, sealing, snapshots, storage, termfile
from swarmops.raft.journal import Journal
from swarmops.raft.logwriter import Batch, LogWriter
from tests.unit.raft import test_group, test_power, test_storage
from tests.unit.raft.faults import test_durability, test_replication
from tests.unit.raft.mutations.row import Mutation, in_group, replace


def _unsealed() -> ExitStack:
    """Write clear text under a checksum that always fits."""
    stack = ExitStack()
    always = SimpleNamespace(crc32=lambda *_: 0)
    for module in (records, snapshots):
        stack.enter_context(mock.patch.object(module, "zlib", always))
    seal = mock.patch.object(
        sealing.Sealer, "seal", lambda self, at, clear, head: clear + bytes(16)
    )
    opened = mock.patch.object(sealing.Sealer, "open", lambda self, at, sealed, head: sealed[:-16])
    stack.enter_context(seal)
    stack.enter_context(opened)
    return stack


def _trust_the_log(disk, loaded, snapshot) -> tuple[Any, Any]:
    return loaded.entries[0], loaded.entries[1:]


def _landed_or_raised(self, _result, error) -> None:
    """Let go of a batch that failed in an unforeseen way, as if it had been written."""
    if error is not None and not isinstance(error, OSError):
        self._flying = None
        return
    _landed(self, _result, error)


_landed = Journal._landed


def _retry_at_once(self) -> None:
    self.error = None
    self.flush()


def _work_on_the_loop(self, lane, job, done) -> None:
    try:
        result, error = job(), None
    except Exception as caught:  # noqa: BLE001 - the job's error is its caller's
        result, error = None, caught
    self._hand_back(done, result, error)


def _commit_unnoted(self, batch) -> None:
    with mock.patch.object(LogWriter, "note", lambda self: None):
        _commit(self, batch)


def _note_when_stopped(self) -> None:
    if self.error is not None:
        self.retry()


def _commit_entries_first(self, batch) -> None:
    """Write entries before the term that they have, each synced."""
    if batch.entries and batch.term is not None:
        _commit(self, Batch(entries=batch.entries))
        _commit(self, Batch(term=batch.term))
        return
    _commit(self, batch)


_commit = LogWriter.commit


def _commit_no_reset(self, batch) -> None:
    if batch.reset is None:
        _commit(self, batch)


TABLE = [
    Mutation(
        "no check of what is read",
        "no CRC: damage is read as data",
        _unsealed,
        test_storage.test_damage_to_what_was_promised_is_refused_with_file_and_offset,
        {"damage": "flip"},
    ),
    Mutation(
        "a bad record is always a torn tail",
        "a zeroed header drops everything behind it in silence",
        replace(records, "promised_to", lambda data, offset: 0),
        test_storage.test_damage_to_what_was_promised_is_refused_with_file_and_offset,
        {"damage": "zero"},
    ),
    Mutation(
        "the log's end is noted nowhere",
        "a tail that was lost after a clean stop is missed by nobody (ours, found by reading)",
        replace(LogWriter, "note", lambda self: None),
        test_storage.test_a_closed_log_without_its_end_is_refused_with_file_and_offset,
        {"damage": "cut"},
    ),
    Mutation(
        "a new segment is noted only at a clean stop",
        "a whole segment that was lost is missed by nobody (ours, found by reading)",
        replace(LogWriter, "commit", _commit_unnoted),
        test_storage.test_a_log_without_its_newest_segment_is_refused,
        {"close": False, "lost": "the newest"},
    ),
    Mutation(
        "the log's end is not noted while it is written",
        "all since the start passes for a torn tail (ours, found by reading)",
        replace(Journal, "onOneSecondTimer", _note_when_stopped),
        test_durability.test_what_is_older_than_a_second_is_noted_though_writes_never_cease,
    ),
    Mutation(
        "no checksum in the term file",
        "a damaged term file is read, and a vote given twice",
        lambda: mock.patch.object(termfile, "zlib", SimpleNamespace(crc32=lambda *_: 0)),
        test_storage.test_every_flipped_bit_of_the_term_file_is_noticed,
    ),
    Mutation(
        "nothing is sealed",
        "log and snapshots can be read from the disk",
        _unsealed,
        test_storage.test_nothing_on_disk_is_readable_without_the_key,
    ),
    Mutation(
        "names are not synced",
        "a compaction or a new file is undone by a loss of power",
        replace(test_power.MemoryDisk, "sync_names", lambda self: None),
        test_power.test_power_may_go_at_any_byte,
        {"way": test_power.WAYS[1]},
    ),
    Mutation(
        "a log behind a lost snapshot is taken as it is",
        "missing dump: a zombie that applies nothing leads",
        replace(storage, "_reconcile", _trust_the_log),
        test_storage.test_a_log_that_begins_behind_a_lost_snapshot_is_refused,
    ),
    Mutation(
        "a log that a snapshot left behind is begun again in memory alone",
        "what is written next has no place on the disk (ours)",
        replace(LogWriter, "commit", _commit_no_reset),
        test_storage.test_a_log_that_ends_before_the_snapshot_is_begun_again_behind_it,
    ),
    Mutation(
        "an unforeseen failure of the log lane passes for a write",
        "what is in memory alone is promised (ours, found by reading)",
        replace(Journal, "_landed", _landed_or_raised),
        test_durability.test_whatever_goes_wrong_in_the_log_lane_nothing_unwritten_is_promised,
    ),
    Mutation(
        "an attempt to write again passes for a working disk",
        "the full disk is told only now and then, and terms are used up (ours)",
        replace(Journal, "retry", _retry_at_once),
        test_durability.test_a_full_disk_is_told_until_a_write_succeeds,
    ),
    Mutation(
        "a file can be closed twice",
        "another file's descriptor is closed (ours)",
        replace(disk_module.DirectoryFile, "close", lambda self: os.close(self._fd)),
        test_storage.test_a_file_that_is_closed_twice_closes_no_other,
    ),
    Mutation(
        "segments are never deleted",
        "the journal's file never shrinks",
        replace(LogWriter, "compact", lambda self, first_index: None),
        test_durability.test_files_stay_bounded_under_endless_writes,
    ),
    Mutation(
        "disk work is done on the loop",
        "the serializer holds the tick",
        replace(disk_module.ThreadLanes, "submit", _work_on_the_loop),
        in_group(test_group.test_snapshots_are_drawn_and_loaded_off_the_loop),
    ),
    Mutation(
        "a damaged snapshot is taken",
        "a corrupt snapshot is acknowledged",
        _unsealed,
        test_replication.test_a_damaged_snapshot_is_not_acknowledged,
    ),
    Mutation(
        "a new cluster is written before its term",
        "power lost in between: a log ahead of its term, which is refused for ever",
        replace(LogWriter, "commit", _commit_entries_first),
        test_power.test_power_may_go_while_a_new_cluster_is_forced,
        {"way": test_power.WAYS[0]},
    ),
]
