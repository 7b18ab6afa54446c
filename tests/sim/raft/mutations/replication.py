"""What a follower takes and what counts as committed: ``replication``, ``engine``."""

# ruff: noqa: ANN001, ARG001, ARG005 - stand-ins take what the original takes

from __future__ import annotations

from swarmops.raft import engine, engine_core, replication
from swarmops.raft.messages import AppendAck
from tests.sim.raft import stories
from tests.sim.raft.mutations.row import Mutation, replace

_R = replication._SyncObj
_T = engine._SyncObj


def _undurable_commit_index(self) -> int:
    return int(self._SyncObj__raftCommitIndex)


def _acknowledge_undurable(self, leader) -> None:
    self._ack_due = False
    self._host.send(
        leader, AppendAck(self._SyncObj__raftCurrentTerm, self._ack_round, True, self._verified, 0)
    )


_original_match = _R._match


def _truncate_always(self, message) -> int | None:
    """Drop whatever follows the previous entry, as the stock engine does."""
    journal, at = self._journal, message.prev_index
    if journal.first_index <= at < journal.last_index and journal.term_at(at) == message.prev_term:
        journal.deleteEntriesFrom(at + 1 - journal.first_index)
    result: int | None = _original_match(self, message)
    return result


_original_on_append = _R._on_append


def _commit_unverified(self, sender, message) -> None:
    _original_on_append(self, sender, message)
    if message.term == self._SyncObj__raftCurrentTerm:
        known = min(message.commit, self._journal.last_index)
        self._SyncObj__raftCommitIndex = max(self._SyncObj__raftCommitIndex, known)


def _never_truncate(self, index) -> None:
    """Keep a tail that differs, and append after it."""


def _no_backwards_search(self, index) -> int:
    return int(index + 1)


_original_restart = _T._restart_progress


def _restart_from_the_beginning(self, raft_id) -> None:
    _original_restart(self, raft_id)
    node = engine_core.Node(raft_id)
    if raft_id in self._progress:
        self._SyncObj__raftNextIndex[node] = max(1, self._SyncObj__raftMatchIndex[node]) + 1


TABLE = [
    Mutation(
        "the leader counts its own log when it is only written",
        "what was answered is lost with the power",
        replace(_R, "commit_index", _undurable_commit_index),
        0,
        r"is not durable here|lost entry|lost what was",
    ),
    Mutation(
        "acknowledged before it is durable",
        "what a follower promised is lost with the power",
        replace(_R, "_send_ack", _acknowledge_undurable),
        1,
        r"lost entry|acknowledges entry",
    ),
    Mutation(
        "truncation on every append",
        "repeated or reordered messages drop acknowledged entries",
        replace(_R, "_match", _truncate_always),
        1,
        r"truncates committed|lost entry",
    ),
    Mutation(
        "commit over an unverified tail",
        "a discarded write counts as committed",
        replace(_R, "_on_append", _commit_unverified),
        16,
        r"two entries are committed|something else",
    ),
    Mutation(
        "a conflicting tail is kept",
        "two logs that differ behind the same entry",
        replace(_R, "_truncate", _never_truncate),
        3,
        r"entry .* of term .* after",
    ),
    Mutation(
        "no search for where the logs agree",
        "a follower whose log differs never catches up",
        replace(_R, "_before_term", _no_backwards_search),
        stories.a_deposed_leaders_tail_gives_way,
        r"liveness: .* it catches up",
    ),
    Mutation(
        "replication to a new connection begins at the first entry",
        "a member that was away for a moment gets a whole snapshot",
        replace(_T, "_restart_progress", _restart_from_the_beginning),
        stories.who_was_away_for_a_moment_gets_no_snapshot,
        r"a whole snapshot for five entries",
    ),
    Mutation(
        "the log is cut behind each snapshot whoever still needs it",
        "who gets a snapshot under load needs the next one when it has it",
        replace(_T, "needed_from", lambda self, sending: None),
        stories.who_is_slower_than_the_snapshots_come_catches_up,
        r"liveness: .* it catches up",
    ),
]
