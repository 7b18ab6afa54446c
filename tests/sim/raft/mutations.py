"""Every correction taken out, one at a time, by name; and the seed or story that notices.

``test_mutations`` plays them. After raft or the simulation has changed, seeds mean something else:
then the first that notices is looked for, and ``python -m tests.sim.raft.mutations`` says which.
"""

# ruff: noqa: ANN001, ANN002, ANN003, ARG001, ARG005, PT008 - stand-ins take what the original takes

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple
from unittest import mock

import msgspec

from swarmops.raft import (
    elections,
    engine,
    engine_core,
    logfile,
    membership,
    replication,
    requests,
    storage,
    termfile,
)
from swarmops.raft.listener import Listener
from swarmops.raft.logwriter import LogWriter
from swarmops.raft.messages import AppendAck, VoteReply
from swarmops.raft.progress import Progress
from swarmops.raft.run import Run
from swarmops.raft.seam import Timing
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshot_receiver import SnapshotReceiver
from swarmops.raft.snapshot_sender import SnapshotSender
from swarmops.raft.snapshots import SnapshotWriter
from tests.sim.raft import stories
from tests.sim.raft import world as sim_world
from tests.sim.raft.disk import SimDisk
from tests.sim.raft.process import DriftingClock
from tests.sim.raft.stories import Story
from tests.sim.raft.world import Failure, simulate

_SEEDS_TRIED = 40
_BAD_STAND_IN = re.compile(r"\b(TypeError|AttributeError|NameError|ImportError)\b")
_STORY_SEEDS = (1, 5)
_E = elections._SyncObj
_R = replication._SyncObj
_T = engine._SyncObj


class Mutation(NamedTuple):
    """A correction, how to take it out, and what notices: a seed, or a story when that is sure.

    A seed is only the first that is tried. ``noticed_as`` is searched for in what was noticed:
    anything else is not this fault.
    """

    name: str
    fault: str
    patch: Callable[[], AbstractContextManager[Any]]
    caught_by: int | Story
    noticed_as: str


def _replace(owner: Any, name: str, stand_in: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(owner, name, stand_in)


def _timing(**values: float) -> Callable[[], AbstractContextManager[Any]]:
    """Change defaults of Timing in every world."""
    original = Timing

    def make(**given: Any) -> Timing:
        return msgspec.structs.replace(original(**given), **values)

    def patch() -> ExitStack:
        stack = ExitStack()
        for module in (sim_world, stories):
            stack.enter_context(mock.patch.object(module, "Timing", make))
        return stack

    return patch


# Elections.


def _campaign_at_once(self, now) -> None:
    self._SyncObj__raftElectionDeadline = now + self._SyncObj__generateRaftTimeout()
    self._campaign()


def _grant_always(self, sender, message) -> None:
    """Vote without looking at whom this member voted for."""
    if message.pre:
        self._send_after_term(sender, VoteReply(message.term, True, True))
        return
    self._see_term(message.term)
    granted = message.term == self._SyncObj__raftCurrentTerm
    if granted:
        self._SyncObj__setCurrentTerm(self._SyncObj__raftCurrentTerm, sender)
    self._send_after_term(sender, VoteReply(self._SyncObj__raftCurrentTerm, False, granted))


_original_on_vote = _E._on_vote


def _vote_for_any_log(self, sender, message) -> None:
    """Vote without looking at the candidate's log."""
    message = msgspec.structs.replace(message, last_term=10**9)
    _original_on_vote(self, sender, message)


def _send_before_durable(self, raft_id, message) -> None:
    self._host.send(raft_id, message)


_stock_become_leader = engine_core._SyncObj._SyncObj__onBecomeLeader


def _lead_before_durable(self) -> None:
    if self._electable():
        self._rounds.clear()
        self._heard.clear()
        self._transfer = None
        self._prepare_leading()
        _stock_become_leader(self)


def _keep_leading_alone(self) -> None:
    """Answer that everybody was heard just now, as far as stepping down is concerned."""
    now = self._clock()
    for node in self._SyncObj__otherNodes:
        self._SyncObj__lastResponseTime[node] = now
    _original_tick(self)


_original_tick = _T._tick


def _time_awake(self) -> float:
    """Leave out the time that the process stood still, as CLOCK_MONOTONIC does a suspension."""
    return float(_time(self) - self._process.paused_s * self._rate)


_time = DriftingClock.time


# Replication.


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


# Membership.


def _change_any_time(self, configuration) -> int:
    index = self._journal.last_index + 1
    command = b"\x02" + membership.encode(configuration)
    self._journal.add(command, index, self._SyncObj__raftCurrentTerm)
    self._configurations.append((index, configuration))
    self._use_configuration()
    self._host.kick()
    return int(index)


_original_accept = _R._accept


def _configuration_not_followed(self, index, entries) -> None:
    """Take entries without putting their configurations into effect."""
    before = list(self._configurations)
    _original_accept(self, index, entries)
    if len(before) > 1:
        self._configurations[:] = before
        self._use_configuration()


def _add_voter(configuration, member) -> membership.Configuration:
    if configuration.member(member.raft_id) is not None:
        return _original_add(configuration, member)
    voters = (*configuration.voters, member)
    return membership.Configuration(voters, configuration.learners, configuration.removed)


_original_add: Callable[..., membership.Configuration] = membership.add


def _say_nothing(self, raft_id) -> None:
    if raft_id == self._raft_id:
        self.clock.call_soon(self._leave)


def _silence() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(mock.patch.object(Run, "removed", _say_nothing))
    stack.enter_context(mock.patch.object(Listener, "is_removed", lambda self, _: False))
    stack.enter_context(mock.patch.object(_T, "refuse_removed", lambda self, _: False))
    return stack


# Proposals and reads.


def _always_first(self, index, session_id, number, floor) -> bool:
    return True


async def _read_unasked(self, timeout_s) -> int:
    return int(self._engine.commit_index()) if self._engine.is_leading() else 0


# The disk.


def _no_sync(self) -> None:
    self._synced_to = self._end


def _store_unsynced(disk, state) -> None:
    body = msgspec.msgpack.encode(state)
    file = disk.create(f"{termfile.NAME}.new")
    file.write(termfile._MAGIC + body + zlib.crc32(body).to_bytes(termfile._CRC_BYTES, "big"))
    file.close()
    disk.replace(f"{termfile.NAME}.new", termfile.NAME)


def _finish_unsynced(self) -> None:
    self._record(18, msgspec.msgpack.encode((self._count, self._bytes)))
    self._file.close()
    self._disk.replace(self._which.unfinished, self._which.name)


def _forget_names(self) -> None:
    self._operate()


def _go_on_in_place(self) -> None:
    """Write on in the segment whose write or sync failed."""
    self._broken = False


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


_original_create = storage.create


def _create_without_peers(*arguments, **named) -> None:
    _original_create(*arguments, **(named | {"peers": ()}))


TABLE = [
    Mutation(
        "no pre-vote",
        "a member that was isolated deposes the leader when it returns",
        _replace(_E, "_ask_for_pre_votes", _campaign_at_once),
        stories.followers_come_and_go,
        r"deposed the leader",
    ),
    Mutation(
        "votes do not stick to a live leader",
        "another is elected within the leader's lease",
        _replace(_E, "_sticks_to_leader", lambda self, now: False),
        stories.a_follower_loses_sight_of_the_leader_alone,
        r"was elected within the lease",
    ),
    Mutation(
        "a lease longer than votes stick",
        "an isolated leader serves while another leads",
        _timing(read_lease_s=3.0, step_down_s=5.0),
        stories.a_leader_sleeps_through_its_lease,
        r"was elected within the lease",
    ),
    Mutation(
        "the clock of a lease stands still while its machine sleeps",
        "a leader wakes up with its lease while another leads",
        _replace(DriftingClock, "time", _time_awake),
        stories.a_leader_sleeps_through_its_lease,
        r"reads under its lease although a newer leader",
    ),
    Mutation(
        "a lease that outlives a hand-over",
        "a delayed order breaks the stickiness that the lease rests on",
        _replace(_E, "lease_reads", _E.leads_within_lease),
        stories.a_leader_is_cut_off_while_it_hands_over,
        r"was elected within the lease|reads under its lease although",
    ),
    Mutation(
        "who ordered a successor to stand still says that it leads",
        "two members at once say so (ours, found by reading)",
        _replace(_E, "serves", _E.leads_within_lease),
        stories.a_leader_is_cut_off_while_it_hands_over,
        r"two members say that they lead",
    ),
    Mutation(
        "no check of the quorum",
        "an isolated leader stays one for ever",
        _replace(_T, "_tick", _keep_leading_alone),
        stories.an_isolated_leader_steps_down,
        r"liveness: .* it steps down",
    ),
    Mutation(
        "a second vote in a term",
        "two leaders in a term",
        _replace(_E, "_on_vote", _grant_always),
        3,
        r"votes twice in term|two leaders in term",
    ),
    Mutation(
        "votes for any log",
        "a leader that lacks what is committed",
        _replace(_E, "_on_vote", _vote_for_any_log),
        3,
        r"leader completeness",
    ),
    Mutation(
        "messages that rest on a term leave before it is durable",
        "the term, or the vote in it, is forgotten",
        _replace(_E, "_send_after_term", _send_before_durable),
        1,
        r"forgot term|votes twice in term",
    ),
    Mutation(
        "leading before term and vote are durable",
        "the same term is led twice",
        _replace(_E, "_SyncObj__onBecomeLeader", _lead_before_durable),
        0,
        r"leads term .* not on its disk",
    ),
    Mutation(
        "the leader counts its own log when it is only written",
        "what was answered is lost with the power",
        _replace(_R, "commit_index", _undurable_commit_index),
        0,
        r"is not durable here|lost entry|lost what was",
    ),
    Mutation(
        "acknowledged before it is durable",
        "what a follower promised is lost with the power",
        _replace(_R, "_send_ack", _acknowledge_undurable),
        1,
        r"lost entry|acknowledges entry",
    ),
    Mutation(
        "truncation on every append",
        "repeated or reordered messages drop acknowledged entries",
        _replace(_R, "_match", _truncate_always),
        1,
        r"truncates committed|lost entry",
    ),
    Mutation(
        "commit over an unverified tail",
        "a discarded write counts as committed",
        _replace(_R, "_on_append", _commit_unverified),
        16,
        r"two entries are committed|something else",
    ),
    Mutation(
        "a conflicting tail is kept",
        "two logs that differ behind the same entry",
        _replace(_R, "_truncate", _never_truncate),
        3,
        r"entry .* of term .* after",
    ),
    Mutation(
        "no search for where the logs agree",
        "a follower whose log differs never catches up",
        _replace(_R, "_before_term", _no_backwards_search),
        stories.a_deposed_leaders_tail_gives_way,
        r"liveness: .* it catches up",
    ),
    Mutation(
        "replication to a new connection begins at the first entry",
        "a member that was away for a moment gets a whole snapshot",
        _replace(_T, "_restart_progress", _restart_from_the_beginning),
        stories.who_was_away_for_a_moment_gets_no_snapshot,
        r"a whole snapshot for five entries",
    ),
    Mutation(
        "changes of membership at any time",
        "two majorities that do not meet",
        _replace(_T, "change", _change_any_time),
        0,
        r"changes the members at .* before",
    ),
    Mutation(
        "followers ignore configurations in the log",
        "membership by arguments and hearsay",
        _replace(_R, "_accept", _configuration_not_followed),
        6,
        r"liveness: .* (all vote|members agree)",
    ),
    Mutation(
        "new members vote at once",
        "an absent joiner stalls a group of one",
        _replace(membership, "add", _add_voter),
        stories.an_absent_joiner_stalls_nobody,
        r"liveness: .* all vote",
    ),
    Mutation(
        "nobody is told of its removal",
        "a removed member never hears of it",
        _silence,
        6,
        r"does not know of its removal",
    ),
    Mutation(
        "no memory of requests",
        "a command that is sent again is applied twice",
        _replace(Sessions, "first_time", _always_first),
        0,
        r"applied command .* twice",
    ),
    Mutation(
        "reads without lease or round",
        "a deposed leader answers with old values",
        _replace(requests.Requests, "_read_index", _read_unasked),
        3,
        r"is not linearizable",
    ),
    Mutation(
        "the log is never synced",
        "acknowledged writes are lost with the power",
        _replace(LogWriter, "_sync", _no_sync),
        1,
        r"refuses to start: .*log-|lost entry",
    ),
    Mutation(
        "the directory is never synced",
        "files are lost, or back under their old names, with the power",
        _replace(SimDisk, "sync_names", _forget_names),
        1,
        r"lost entry|refuses to start|forgot term|ends at",
    ),
    Mutation(
        "the term file is renamed without a sync",
        "an empty term file",
        _replace(termfile, "store", _store_unsynced),
        1,
        r"refuses to start: .*/term:",
    ),
    Mutation(
        "a snapshot is renamed without a sync",
        "a snapshot with holes, behind which the log is gone",
        _replace(SnapshotWriter, "finish", _finish_unsynced),
        1,
        r"refuses to start: .*snapshot-",
    ),
    Mutation(
        "the log is compacted though no snapshot was written",
        "a member that lost its state",
        _replace(sys.modules["swarmops.raft.snapshots"], "write", _no_snapshot_written),
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
        _replace(SnapshotReceiver, "received", _begin_anew),
        stories.a_first_chunk_comes_again,
        r"liveness: .* it is installed",
    ),
    Mutation(
        "a follower that wants an earlier chunk is never believed",
        "a snapshot never installs after an old answer",
        _replace(SnapshotSender, "acknowledged", _never_go_back),
        stories.an_answer_of_a_former_run_comes_late,
        r"liveness: .* it is installed",
    ),
    Mutation(
        "written on after a failed sync",
        "what the kernel dropped counts as synced",
        _replace(LogWriter, "_mend", _go_on_in_place),
        32,
        r"refuses to start: .*log-|lost entry",
    ),
    Mutation(
        "a leader on a failing disk goes on leading",
        "a full disk stops the group",
        _replace(_T, "disk_failed", lambda self: None),
        stories.a_full_disk_costs_the_leader_its_office,
        r"liveness: .* another leads",
    ),
    Mutation(
        "what a killed run left unsynced is not synced at the start",
        "it is promised, and then lost with the power",
        _replace(logfile, "_make_durable", lambda disk, name: None),
        stories.a_killed_run_left_unsynced_writes,
        r"refuses to start: .*log-|lost entry",
    ),
    Mutation(
        "a joiner's peers are not on its disk",
        "a joiner that crashed at once knows nobody for ever",
        _replace(storage, "create", _create_without_peers),
        stories.a_joiner_crashes_before_it_knows_anything,
        r"liveness: .* it learns of its removal",
    ),
    Mutation(
        "strangers are never heard",
        "a member that was away while the group changed stays behind",
        _replace(Listener, "stranger_dialled", lambda self, member: False),
        stories.a_member_was_away_while_the_group_changed,
        r"liveness: .* it knows the newest",
    ),
    Mutation(
        "only who has nearly the whole log is made a voter",
        "a joiner stays a learner as long as there is load",
        _replace(Progress, "keeps_pace", lambda *_: False),
        stories.a_joiner_becomes_a_voter_under_load,
        r"liveness: .* the joiner votes",
    ),
    Mutation(
        "the log is cut behind each snapshot whoever still needs it",
        "who gets a snapshot under load needs the next one when it has it",
        _replace(_T, "needed_from", lambda self, sending: None),
        stories.who_is_slower_than_the_snapshots_come_catches_up,
        r"liveness: .* it catches up",
    ),
    Mutation(
        "a leader whose disk hangs goes on leading",
        "one disk that neither writes nor fails stops the group",
        _replace(_T, "_leave_a_stuck_disk", lambda self, now: None),
        stories.a_leader_whose_disk_hangs_hands_over,
        r"liveness: .* another leads",
    ),
]


def noticed(mutation: Mutation) -> tuple[str, str]:
    """Play what should notice, other seeds after it; say what did, and what it noticed."""
    first = mutation.caught_by
    others = [s for s in range(_SEEDS_TRIED) if s != first] if isinstance(first, int) else []
    for catcher in (first, *others):
        if found := notices(mutation, catcher):
            return str(getattr(catcher, "__name__", catcher)), found
    return "", ""


def notices(mutation: Mutation, catcher: int | Story) -> str:
    """Play a seed, or a story, under the mutation; say what was noticed, or nothing.

    Raises RuntimeError for a stand-in that does not fit (any more) what it stands in for.
    """
    with mutation.patch():
        try:
            if isinstance(catcher, int):
                simulate(catcher)
            else:
                for seed in _STORY_SEEDS:
                    stories.tell(catcher, seed=seed)
        except Failure as failure:
            return _as_noticed(mutation, failure)
    return ""


def _as_noticed(mutation: Mutation, failure: Failure) -> str:
    what = f"{type(failure.cause).__name__}: {failure.cause}"
    # Raft turns most errors into a member that gives up, and logs them: they are in the trace.
    for line in (what, *failure.trace.lines()):
        if _BAD_STAND_IN.search(line):
            raise RuntimeError(f"the stand-in of {mutation.name!r} is broken: {line}")
    return what if re.search(mutation.noticed_as, what) else ""


def main() -> int:
    """Find the first seed that notices each mutation."""
    wanted = sys.argv[1:]
    for mutation in TABLE:
        if wanted and mutation.name not in wanted:
            continue
        by, found = noticed(mutation)
        print(f"{by or 'NEVER'}  {mutation.name}: {found[:90]}", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
