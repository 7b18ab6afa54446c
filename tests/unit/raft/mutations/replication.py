"""What a follower takes and a leader believes: ``replication``, ``progress``."""

# ruff: noqa: ANN001, ARG005 - stand-ins, see the sim's

from __future__ import annotations

from typing import Any
from unittest import mock

from swarmops.raft import engine_core, messages, replication
from swarmops.raft.progress import Progress
from tests.unit.raft.faults import test_durability, test_membership, test_replication
from tests.unit.raft.mutations.row import Mutation, replace

_R = replication._SyncObj


def _truncate_committed(self, index) -> None:
    commit, self._SyncObj__raftCommitIndex = self._SyncObj__raftCommitIndex, 0
    _truncate(self, index)
    self._SyncObj__raftCommitIndex = min(commit, index - 1)


def _truncate_entries_alone(self, index) -> None:
    before = list(self._configurations)
    _truncate(self, index)
    self._configurations[:] = before


_truncate = _R._truncate


def _commit_with_a_chunk(self, sender, message) -> None:
    _on_chunk(self, sender, message)
    self._SyncObj__raftCommitIndex = self._journal.last_index


_on_chunk = _R._on_snapshot_chunk


def _believe_any_term(self, sender, message) -> None:
    _on_append_ack(self, sender, messages.AppendAck(self.term(), *list(_fields(message))[1:]))


def _believe_any_refusal(self, sender, message) -> None:
    if not message.ok and sender in self._progress:
        self._SyncObj__raftNextIndex[engine_core.Node(sender)] = message.hint
        self._progress[sender].probe()
        self._send_entries(engine_core.Node(sender), heartbeat=False)
        return
    _on_append_ack(self, sender, message)


_on_append_ack = _R._on_append_ack


def _fields(message: Any) -> list[Any]:
    return [getattr(message, name) for name in message.__struct_fields__]


def _append_alone(self) -> None:
    """Take what was submitted into the log, and leave it to the next heartbeat to send it."""
    with mock.patch.object(self, "_send_entries"):
        _check_commands(self)


_check_commands = _R._checkCommandsToApply


TABLE = [
    Mutation(
        "what is proposed is sent with the next heartbeat",
        "a write waits for 100 ms",
        replace(_R, "_checkCommandsToApply", _append_alone),
        test_replication.test_a_write_waits_for_no_heartbeat,
        {"through": "the leader"},
    ),
    Mutation(
        "a follower is sent all that it lacks at once",
        "unbounded pipelining to a slow follower",
        replace(Progress, "has_room", lambda self: not self.snapshot),
        test_durability.test_a_follower_that_never_catches_up_costs_bounded_memory_and_files,
    ),
    Mutation(
        "no answer while the disk is slow",
        "a follower with a slow disk passes for dead",
        replace(_R, "_acknowledge_rest", lambda self, *, landed: None),
        test_durability.test_a_slow_disk_of_a_follower_costs_no_leadership,
    ),
    Mutation(
        "what is committed is truncated",
        "truncating already-applied entries is only logged",
        replace(_R, "_truncate", _truncate_committed),
        test_replication.test_a_contradiction_of_what_is_committed_stops_the_member,
    ),
    Mutation(
        "a chunk moves the commit index",
        "any snapshot chunk commits an unverified tail",
        replace(_R, "_on_snapshot_chunk", _commit_with_a_chunk),
        test_replication.test_a_chunk_moves_no_commit_index,
    ),
    Mutation(
        "acknowledgements of any term count",
        "next_node_idx carries no term",
        replace(_R, "_on_append_ack", _believe_any_term),
        test_replication.test_an_acknowledgement_of_an_older_term_counts_for_nothing,
    ),
    Mutation(
        "a late refusal is believed",
        "resets go back behind what was acknowledged",
        replace(_R, "_on_append_ack", _believe_any_refusal),
        test_replication.test_a_late_refusal_never_goes_behind_what_was_acknowledged,
    ),
    Mutation(
        "a change outlives its entry",
        "an uncommitted change of membership stays in effect",
        replace(_R, "_truncate", _truncate_entries_alone),
        test_membership.test_an_uncommitted_change_is_rolled_back_with_its_entry,
    ),
]
