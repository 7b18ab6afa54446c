"""Corrections taken out, one at a time, that a unit test notices; the rest is ``tests.sim.raft``'s.

``faults/test_mutations`` plays them. Each row has its fault, in PySyncObj or in an earlier version
of ours, how the correction is taken out, and the test that must fail then.
"""

# ruff: noqa: ANN001, ARG001, ARG005, PT008 - stand-ins, see the sim's

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec

from swarmops.model.node import Role
from swarmops.pki import tls
from swarmops.raft import (
    commands,
    elections,
    engine,
    engine_core,
    frames,
    membership,
    messages,
    opening,
    raft,
    records,
    recovery,
    replication,
    requests,
    run,
    sealing,
    snapshots,
    storage,
    streams,
    termfile,
)
from swarmops.raft import disk as disk_module
from swarmops.raft.clock import BootClock
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.journal import Journal
from swarmops.raft.logwriter import Batch, LogWriter
from swarmops.raft.progress import Progress
from swarmops.raft.proposals import Proposals
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshot_receiver import SnapshotReceiver
from swarmops.raft.snapshots import SnapshotWriter
from swarmops.raft.snapshotting import Snapshots
from swarmops.raft.stock import syncobj
from swarmops.runtime import dial, port
from tests.unit.raft import test_group, test_parts, test_power, test_storage, test_wire
from tests.unit.raft.conftest import Group
from tests.unit.raft.faults import (
    test_durability,
    test_elections,
    test_membership,
    test_replication,
)
from tests.unit.runtime import test_port

_E, _R, _T = elections._SyncObj, replication._SyncObj, engine._SyncObj
Patch = Callable[[], AbstractContextManager[Any]]


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A correction, how to take it out, and the test that notices, with its parameters."""

    name: str
    fault: str
    patch: Patch
    caught_by: Callable[..., Any]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


def _replace(owner: Any, name: str, stand_in: Any) -> Patch:
    return lambda: mock.patch.object(owner, name, stand_in)


def _in_group(test: Callable[[Any], Any]) -> Callable[..., None]:
    """Make a test of a group on loopback one without a fixture that needs a running loop."""

    def play(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> None:
        async def whole() -> None:
            group = Group(tmp_path, unused_tcp_port_factory)
            try:
                async with asyncio.timeout(20):
                    await test(group)
            finally:
                for manager in group.managers.values():
                    await manager.stop()

        asyncio.run(whole())

    play.__name__ = test.__name__
    return play


# The disk.


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


def _finish_unsynced(self) -> None:
    self._file.sync = lambda: None
    _finish(self)


_finish = SnapshotWriter.finish


def _drop_all_but(disk, than, used) -> None:
    for found in snapshots.finished(disk):
        if found != than:
            disk.remove(found.name)


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


def _work_on_the_loop(self, lane, job, done) -> None:
    try:
        result, error = job(), None
    except Exception as caught:  # noqa: BLE001 - the job's error is its caller's
        result, error = None, caught
    self._hand_back(done, result, error)


def _keep_nothing(self, index) -> int:
    return int(max(self._journal.first_index, index))


def _commit_unnoted(self, batch) -> None:
    with mock.patch.object(LogWriter, "note", lambda self: None):
        _commit(self, batch)


def _note_when_stopped(self) -> None:
    if self.error is not None:
        self.retry()


def _give_up_snapshots(self, which, error) -> None:
    if error is None:
        _taken(self, which, error)


_taken = Snapshots._taken


def _forget_to_clean_up() -> AbstractContextManager[Any]:
    return mock.patch.object(SnapshotWriter, "abandon", lambda self: None)


# Elections and replication.


def _both_ask_on(self, sender, message) -> None:
    asking = self._pre_votes
    _on_vote(self, sender, message)
    if message.pre:
        self._pre_votes = asking


_on_vote = _E._on_vote


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


def _write_timed(self, leader, message, incoming) -> None:
    self._began = self._engine._clock()
    _write(self, leader, message, incoming)


def _answer_in_time(self, leader, message, number, *, done) -> None:
    if number and self._engine._clock() - self._began > 1.0:
        self._incoming = None
        return
    _answer(self, leader, message, number, done=done)


_write, _answer = SnapshotReceiver._write, SnapshotReceiver._answer


# Membership.


def _described_by_the_beginning(disk, key, snapshot, entries) -> tuple[Any, Any]:
    configurations, sessions = _described(disk, key, snapshot, entries)
    return configurations[:2], sessions


_described = storage._described


def _newest_configuration(self, index) -> bytes:
    with mock.patch.object(_T, "committed_configuration", lambda engine, _: engine.configuration):
        return _meta(self, index)


_meta = Snapshots._meta


def _add_anyone(configuration, member) -> Any:
    return _add(membership.Configuration(configuration.voters, configuration.learners), member)


_add = membership.add


async def _go_at_once(self, raft_id, timeout_s) -> bool:
    configuration = membership.remove(self._engine.configuration, raft_id)
    return bool(await self._change(configuration, timeout_s))


def _commit_entries_first(self, batch) -> None:
    """Write entries before the term that they have, each synced."""
    if batch.entries and batch.term is not None:
        _commit(self, Batch(entries=batch.entries))
        _commit(self, Batch(term=batch.term))
        return
    _commit(self, batch)


_commit = LogWriter.commit


def _bar_nobody(*, voters, removed) -> membership.Configuration:
    return membership.Configuration(voters=voters)


def _open_as_in_the_beginning(*arguments: Any) -> Any:
    opened = _open_member(*arguments)
    opened.configurations = opened.configurations[:1]
    return opened


_open_member = storage.open_member


# The wire.


def _decode_pickle(body: bytes) -> Any:
    try:
        return messages.decode(body)
    except msgspec.DecodeError:
        return pickle.loads(body)


async def _greet_anyone(self, reader, writer, peer_node_id) -> str:
    hello: Any = messages.decode(await frames.read_frame(reader))
    return str(hello.sender)


async def _connect_to_anyone(self, peer) -> None:
    honest = self._dial

    async def believe(addr) -> Any:
        return (*(await honest(addr))[:2], peer.member.node_id)

    with mock.patch.object(self, "_dial", believe):
        await _connect_once(self, peer)


_connect_once = streams.StreamTransport._connect_once


def _ban_nobody(self, call, is_banned=None) -> None:
    _transport_init(self, call)


_transport_init = streams.StreamTransport.__init__


def _as_a_manager(certificate: Any) -> Any:
    """Read whose a certificate is, and take the node for a manager of this swarm."""
    peer = tls.peer_identity(certificate)
    return peer and msgspec.structs.replace(peer, role=Role.MANAGER, cluster_id=test_port.CLUSTER)


def _on_port(test: Callable[..., Any]) -> Callable[..., None]:
    """Make a test of a manager's port one without a fixture that needs a running loop."""

    def play(tmp_path: Path, role: Role, cluster_id: str) -> None:
        async def whole() -> None:
            async with test_port.listening(tmp_path) as world:
                await test(world, tmp_path, role, cluster_id)

        asyncio.run(whole())

    play.__name__ = test.__name__
    return play


def _unbounded() -> ExitStack:
    stack = ExitStack()
    for name in ("_QUEUE_BYTES_MAX", "_QUEUE_MESSAGES_MAX"):
        stack.enter_context(mock.patch.object(streams, name, 1 << 40))
    return stack


# Proposals.


def _apply_bare(self, index, command) -> None:
    request = commands.request(command)
    result = self._environment.state_machine.apply(index, command[commands.HEADER_BYTES :])
    if request.session == self.proposals.session:
        self.proposals.applied(request.number, result, None)


def _never_again(self, now) -> None:
    for number, pending in list(self._pending.items()):
        if pending.deadline <= now:
            self.applied(number, None, TimeoutError())


def _take_and_wake_nobody(self, number) -> Any:
    room, self._room = self._room, type(self._room)()
    taken = _take(self, number)
    self._room = room
    return taken


_take = Proposals._take


_first_time = Sessions.first_time


def _first_time_above_nothing(self, index, session_id, number, floor) -> bool:
    return bool(_first_time(self, index, session_id, number, 0))


def _commit_no_reset(self, batch) -> None:
    if batch.reset is None:
        _commit(self, batch)


async def _ask_patiently(self, leader, timeout_s) -> int:
    return int(await _ask_read_index(self, leader, 100.0))


_ask_read_index = requests.Requests._ask_read_index

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
        _replace(records, "promised_to", lambda data, offset: 0),
        test_storage.test_damage_to_what_was_promised_is_refused_with_file_and_offset,
        {"damage": "zero"},
    ),
    Mutation(
        "the log's end is noted nowhere",
        "a tail that was lost after a clean stop is missed by nobody (ours, found by reading)",
        _replace(LogWriter, "note", lambda self: None),
        test_storage.test_a_closed_log_without_its_end_is_refused_with_file_and_offset,
        {"damage": "cut"},
    ),
    Mutation(
        "a new segment is noted only at a clean stop",
        "a whole segment that was lost is missed by nobody (ours, found by reading)",
        _replace(LogWriter, "commit", _commit_unnoted),
        test_storage.test_a_log_without_its_newest_segment_is_refused,
        {"close": False, "lost": "the newest"},
    ),
    Mutation(
        "the log's end is not noted while it is written",
        "all since the start passes for a torn tail (ours, found by reading)",
        _replace(Journal, "onOneSecondTimer", _note_when_stopped),
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
        "a snapshot is renamed before it is synced",
        "killed while it writes, the library loses all since the snapshot",
        _replace(SnapshotWriter, "finish", _finish_unsynced),
        test_power.test_power_may_go_at_any_byte,
        {"way": test_power.WAYS[2]},
    ),
    Mutation(
        "names are not synced",
        "a compaction or a new file is undone by a loss of power",
        _replace(test_power.MemoryDisk, "sync_names", lambda self: None),
        test_power.test_power_may_go_at_any_byte,
        {"way": test_power.WAYS[1]},
    ),
    Mutation(
        "clearing up takes all snapshots but one",
        "an orphan of a killed run renames its dump over the newer one",
        _replace(snapshots, "drop_older", _drop_all_but),
        test_storage.test_clearing_up_spares_newer_snapshots_and_those_in_use,
    ),
    Mutation(
        "a log behind a lost snapshot is taken as it is",
        "missing dump: a zombie that applies nothing leads",
        _replace(storage, "_reconcile", _trust_the_log),
        test_storage.test_a_log_that_begins_behind_a_lost_snapshot_is_refused,
    ),
    Mutation(
        "a log that a snapshot left behind is begun again in memory alone",
        "what is written next has no place on the disk (ours)",
        _replace(LogWriter, "commit", _commit_no_reset),
        test_storage.test_a_log_that_ends_before_the_snapshot_is_begun_again_behind_it,
    ),
    Mutation(
        "an unforeseen failure of the log lane passes for a write",
        "what is in memory alone is promised (ours, found by reading)",
        _replace(Journal, "_landed", _landed_or_raised),
        test_durability.test_whatever_goes_wrong_in_the_log_lane_nothing_unwritten_is_promised,
    ),
    Mutation(
        "an attempt to write again passes for a working disk",
        "the full disk is told only now and then, and terms are used up (ours)",
        _replace(Journal, "retry", _retry_at_once),
        test_durability.test_a_full_disk_is_told_until_a_write_succeeds,
    ),
    Mutation(
        "a snapshot that doesn't fit is left where it is",
        "a full disk costs a file and a descriptor a second (ours)",
        _forget_to_clean_up,
        test_storage.test_a_snapshot_that_does_not_fit_leaves_no_file_and_no_descriptor,
        {"room": 100},
    ),
    Mutation(
        "a file can be closed twice",
        "another file's descriptor is closed (ours)",
        _replace(disk_module.DirectoryFile, "close", lambda self: os.close(self._fd)),
        test_storage.test_a_file_that_is_closed_twice_closes_no_other,
    ),
    Mutation(
        "a snapshot that fails once is the last one",
        "the log grows for ever, in silence (ours, found by reading)",
        _replace(Snapshots, "_taken", _give_up_snapshots),
        test_durability.test_a_snapshot_that_the_state_machine_fails_to_give_is_tried_again,
        {"when": "asked for"},
    ),
    Mutation(
        "a state that could not be replaced is gone on with",
        "a member that applies nothing any more, in silence (ours, found by reading)",
        _replace(run.Run, "_fail", lambda self, error: None),
        test_replication.test_a_state_that_could_not_be_replaced_ends_the_member_and_says_why,
        {"way": "restore"},
    ),
    Mutation(
        "segments are never deleted",
        "the journal's file never shrinks",
        _replace(LogWriter, "compact", lambda self, first_index: None),
        test_durability.test_files_stay_bounded_under_endless_writes,
    ),
    Mutation(
        "nothing is kept behind a snapshot",
        "a slightly slow follower gets a whole snapshot",
        _replace(Snapshots, "_keep_from", _keep_nothing),
        test_durability.test_memory_entries_behind_a_snapshot_are_kept_for_slow_followers,
    ),
    Mutation(
        "the log is kept for whoever is behind, without an end",
        "a follower that never catches up costs unbounded files and memory",
        _replace(Snapshots, "_keep_from", _keep_all),
        test_durability.test_a_follower_that_never_catches_up_costs_bounded_memory_and_files,
    ),
    Mutation(
        "a follower is sent all that it lacks at once",
        "unbounded pipelining to a slow follower",
        _replace(Progress, "has_room", lambda self: not self.snapshot),
        test_durability.test_a_follower_that_never_catches_up_costs_bounded_memory_and_files,
    ),
    Mutation(
        "who proposes never waits",
        "what is proposed and not applied costs unbounded memory",
        _replace(Proposals, "is_full", lambda self: False),
        test_durability.test_what_one_member_has_proposed_and_not_seen_applied_is_bounded,
    ),
    Mutation(
        "a damaged snapshot is as good as none at the start",
        "truncated dump: a zombie that has no state leads",
        _replace(raft, "restore", _restore_what_can_be),
        test_durability.test_a_member_whose_snapshot_is_damaged_refuses_to_start,
        {"where": "a chunk", "damage": "flip"},
    ),
    Mutation(
        "the engine may load a dump",
        "a missing or truncated dump is swallowed: a zombie leads",
        _replace(
            engine_core._SyncObj,
            "_SyncObj__loadDumpFile",
            syncobj.SyncObj._SyncObj__loadDumpFile,
        ),
        test_parts.test_the_engines_own_ways_past_ours_are_shut,
        {"name": "loadDumpFile", "argument": False},
    ),
    Mutation(
        "disk work is done on the loop",
        "the serializer holds the tick",
        _replace(disk_module.ThreadLanes, "submit", _work_on_the_loop),
        _in_group(test_group.test_snapshots_are_drawn_and_loaded_off_the_loop),
    ),
    Mutation(
        "a result that a snapshot hides is waited for",
        "the proposer of a command that was applied hears that time is up (ours)",
        _replace(Proposals, "applied_unseen", lambda self, was_applied: None),
        test_durability.test_a_result_lost_in_a_snapshot_is_said_to_be_unknown,
    ),
    Mutation(
        "no answer while the disk is slow",
        "a follower with a slow disk passes for dead",
        _replace(_R, "_acknowledge_rest", lambda self, *, landed: None),
        test_durability.test_a_slow_disk_of_a_follower_costs_no_leadership,
    ),
    Mutation(
        "the clock of a lease stands still while the machine sleeps",
        "a leader wakes up with the lease that it fell asleep with",
        _replace(BootClock, "time", lambda self: time.clock_gettime(time.CLOCK_MONOTONIC)),
        test_parts.test_the_clock_of_a_lease_goes_on_while_the_machine_sleeps,
    ),
    Mutation(
        "nobody gives way among candidates",
        "simultaneous candidates split the votes",
        _replace(_E, "_on_vote", _both_ask_on),
        test_elections.test_two_members_that_ask_at_the_same_moment_do_not_split_the_votes,
        {"seed": 0},
    ),
    Mutation(
        "a callback's error is the engine's",
        "a raising callback wedges the member or applies twice",
        _replace(run, "_call", lambda callback, *arguments: callback(*arguments)),
        test_elections.test_a_leadership_callback_that_raises_harms_nothing,
    ),
    Mutation(
        "what is committed is truncated",
        "truncating already-applied entries is only logged",
        _replace(_R, "_truncate", _truncate_committed),
        test_replication.test_a_contradiction_of_what_is_committed_stops_the_member,
    ),
    Mutation(
        "a chunk moves the commit index",
        "any snapshot chunk commits an unverified tail",
        _replace(_R, "_on_snapshot_chunk", _commit_with_a_chunk),
        test_replication.test_a_chunk_moves_no_commit_index,
    ),
    Mutation(
        "a damaged snapshot is taken",
        "a corrupt snapshot is acknowledged",
        _unsealed,
        test_replication.test_a_damaged_snapshot_is_not_acknowledged,
    ),
    Mutation(
        "acknowledgements of any term count",
        "next_node_idx carries no term",
        _replace(_R, "_on_append_ack", _believe_any_term),
        test_replication.test_an_acknowledgement_of_an_older_term_counts_for_nothing,
    ),
    Mutation(
        "a late refusal is believed",
        "resets go back behind what was acknowledged",
        _replace(_R, "_on_append_ack", _believe_any_refusal),
        test_replication.test_a_late_refusal_never_goes_behind_what_was_acknowledged,
    ),
    Mutation(
        "a snapshot begins again when a chunk takes longer than a second",
        "a snapshot slower than the time-out never installs",
        lambda: mock.patch.multiple(SnapshotReceiver, _write=_write_timed, _answer=_answer_in_time),
        test_replication.test_a_large_snapshot_on_a_slow_disk_installs_under_load_without_an_election,
        {"seed": 0},
    ),
    Mutation(
        "proposals are sent once",
        "a lost forward is never answered",
        _replace(Proposals, "expire", _never_again),
        test_replication.test_a_lost_forward_is_sent_again_and_applied_once,
    ),
    Mutation(
        "a change of leader is no reason to send again",
        "what the former leader took along is lost: its proposer waits for the bound",
        _replace(Proposals, "resend_all", lambda self: None),
        test_replication.test_what_the_former_leader_took_along_is_sent_to_the_next_at_once,
    ),
    Mutation(
        "no request is too old",
        "what its proposer gave up is applied late (ours)",
        _replace(Sessions, "first_time", _first_time_above_nothing),
        test_parts.test_what_its_proposer_gave_up_is_never_applied_late,
    ),
    Mutation(
        "a question to the leader is asked once",
        "a read fails at its bound because one message was lost (ours)",
        _replace(requests.Requests, "_ask_read_index", _ask_patiently),
        test_replication.test_a_lost_question_costs_a_read_no_more_than_a_moment,
        {"kind": "ReadIndex"},
    ),
    Mutation(
        "who waits for room is never woken",
        "a full queue answers nobody",
        _replace(Proposals, "_take", _take_and_wake_nobody),
        test_replication.test_more_proposals_than_any_queue_holds_are_all_answered,
        {"count": 2_000},
    ),
    Mutation(
        "membership after a restart is the first one",
        "a node that was started again elects itself from its first arguments",
        _replace(storage, "_described", _described_by_the_beginning),
        test_membership.test_membership_after_a_restart_is_the_logs_not_the_arguments,
    ),
    Mutation(
        "a change outlives its entry",
        "an uncommitted change of membership stays in effect",
        _replace(_R, "_truncate", _truncate_entries_alone),
        test_membership.test_an_uncommitted_change_is_rolled_back_with_its_entry,
    ),
    Mutation(
        "a snapshot holds the newest configuration",
        "the snapshot holds the current, perhaps uncommitted one",
        _replace(Snapshots, "_meta", _newest_configuration),
        test_membership.test_a_snapshot_holds_the_committed_configuration,
    ),
    Mutation(
        "removed ids come back",
        "a removed member takes part again",
        _replace(membership, "add", _add_anyone),
        test_membership.test_a_removed_id_never_comes_back,
    ),
    Mutation(
        "no check of the quorum before a removal",
        "a removal stalls the group",
        _replace(membership, "check_removal", lambda *_: None),
        test_membership.test_the_quorum_check_is_dockers,
        {"voters": 3, "reachable": 2, "may_go": False},
    ),
    Mutation(
        "a new cluster bars nobody",
        "a manager that was given up comes back and stands against the survivor",
        _replace(recovery, "Configuration", _bar_nobody),
        test_membership.test_force_new_cluster_makes_a_group_of_one_survivor,
        {"number": 2, "snapshot_entries": 1_000_000},
    ),
    Mutation(
        "a new cluster asks the oldest configuration who is lost",
        "who joined since then is not barred",
        _replace(recovery, "storage", SimpleNamespace(open_member=_open_as_in_the_beginning)),
        test_membership.test_force_new_cluster_makes_a_group_of_one_survivor,
        {"number": 2, "snapshot_entries": 1_000_000},
    ),
    Mutation(
        "a new cluster is written before its term",
        "power lost in between: a log ahead of its term, which is refused for ever",
        _replace(LogWriter, "commit", _commit_entries_first),
        test_power.test_power_may_go_while_a_new_cluster_is_forced,
        {"way": test_power.WAYS[0]},
    ),
    Mutation(
        "a leader removes itself",
        "a leader can't go: it must hand over first",
        _replace(requests.Requests, "_remove", _go_at_once),
        test_membership.test_removals_down_to_one_member_work,
    ),
    Mutation(
        "pickle is understood",
        "the first frame is unpickled: remote code execution",
        _replace(streams, "decode", _decode_pickle),
        test_wire.test_what_is_not_a_members_proper_message_ends_the_connection,
        {"data": test_wire.HELLO + test_wire.frame(pickle.dumps({"type": "append_entries"}))},
    ),
    Mutation(
        "anybody may speak",
        "impersonation without authentication",
        _replace(streams.StreamTransport, "_greet", _greet_anyone),
        test_wire.test_a_certificate_of_another_node_speaks_for_nobody,
    ),
    Mutation(
        "whoever answers at a member's address is that member",
        "the group's log is told to another node (ours, found by reading)",
        _replace(streams.StreamTransport, "_connect_once", _connect_to_anyone),
        test_wire.test_another_node_at_a_members_address_hears_nothing,
    ),
    Mutation(
        "a removed node is a stranger like any other",
        "a removed node, whose certificate is still a manager's, is listened to",
        _replace(streams.StreamTransport, "__init__", _ban_nobody),
        test_wire.test_a_stranger_is_heard_only_when_the_member_wants_it,
        {"node_id": "banned", "knows": True, "heard": False},
    ),
    Mutation(
        "a worker that dials may speak raft",
        "impersonation: any certificate of the swarm is a manager's",
        _replace(port, "peer_identity", _as_a_manager),
        _on_port(test_port.test_raft_is_refused_to_workers_and_to_other_swarms),
        {"role": Role.WORKER, "cluster_id": test_port.CLUSTER},
    ),
    Mutation(
        "a manager of another swarm that dials may speak raft",
        "impersonation: two swarms of one root are one",
        _replace(port, "peer_identity", _as_a_manager),
        _on_port(test_port.test_raft_is_refused_to_workers_and_to_other_swarms),
        {"role": Role.MANAGER, "cluster_id": "another"},
    ),
    Mutation(
        "a worker that is dialled is spoken to",
        "impersonation: any certificate of the swarm is a manager's",
        _replace(dial, "peer_identity", _as_a_manager),
        test_port.test_raft_is_spoken_only_to_a_manager_of_this_swarm,
        {"who": "a worker"},
    ),
    Mutation(
        "the removed may speak",
        "a removed node never hears of its removal",
        _replace(streams.StreamTransport, "_greet", _greet_anyone),
        test_wire.test_a_removed_member_that_dials_is_told,
    ),
    Mutation(
        "frames of any size",
        "no frame limit",
        _replace(frames, "FRAME_BYTES_MAX", 1 << 40),
        test_wire.test_what_is_not_a_members_proper_message_ends_the_connection,
        {"data": test_wire.HELLO + (messages.FRAME_BYTES_MAX + 1).to_bytes(4, "big")},
    ),
    Mutation(
        "a queue without an end",
        "a slow follower costs unbounded memory",
        _unbounded,
        test_wire.test_a_slow_peer_costs_bounded_memory,
    ),
    Mutation(
        "a command's error is the engine's",
        "an exception in a command wedges the node",
        _replace(run.Run, "apply", _apply_bare),
        _in_group(test_group.test_a_raising_command_reaches_its_proposer_and_harms_nothing_else),
    ),
    Mutation(
        "commands of any size",
        "a command over the batch is pickled and ends wrongly",
        _replace(raft, "COMMAND_BYTES_MAX", 1 << 40),
        _in_group(test_group.test_too_large_a_command_is_refused_in_dockers_words),
    ),
]
