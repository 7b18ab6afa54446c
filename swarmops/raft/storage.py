"""A member's directory: made, opened and reconciled before the engine sees anything.

Called by ``Raft.start`` on the log lane, and by ``force_new_cluster``. What is on disk is either
understood to the last promise, or refused with file, offset and cure.
"""

from __future__ import annotations

import random

import msgspec

from swarmops.raft import commands, logfile, membership, snapshots, termfile
from swarmops.raft.disk import Disk
from swarmops.raft.errors import RaftError, StorageCorrupt
from swarmops.raft.journal import NO_OP
from swarmops.raft.logfile import FIRST_INDEX, UNKNOWN_TERM
from swarmops.raft.logwriter import Batch, LogWriter
from swarmops.raft.membership import Configuration
from swarmops.raft.records import Entry
from swarmops.raft.seam import Member, Timing
from swarmops.raft.snapshots import SnapshotId, SnapshotMeta, SnapshotReader
from swarmops.raft.termfile import NO_LOG, TermState


class Opened(msgspec.Struct):
    """What a directory holds, reconciled."""

    term: TermState
    sentinel: Entry
    entries: list[Entry]
    snapshot: SnapshotId | None
    sessions: bytes | None
    configurations: list[tuple[int, Configuration]]
    writer: LogWriter

    @property
    def applied(self) -> int:
        """Up to where the snapshot has the state; without one, up to the engine's own entry."""
        return self.snapshot.index if self.snapshot else 1


def is_empty(disk: Disk) -> bool:
    """Say whether no member lives here."""
    return termfile.NAME not in disk.names() and not logfile.segment_numbers(disk)


def create(
    disk: Disk,
    data_key: bytes,
    rng: random.Random,
    me: Member,
    timing: Timing,
    *,
    alone: bool,
    peers: tuple[Member, ...] = (),
) -> None:
    """Make a directory for a new member: of a group of its own (alone), or of its peers' one.

    The term file is written last: without it and with nothing but a first entry, a directory is
    one whose making was interrupted, and is made again. Raises RaftError, OSError.
    """
    if termfile.NAME not in disk.names():
        left = logfile.load(disk, data_key)
        if left.base == (1, 0) and len(left.entries) <= 1:
            for segment in left.segments:
                disk.remove(logfile.segment_name(segment.number))
    if not is_empty(disk):
        raise RaftError(
            f"{disk.label}: a raft member lives here already: start it, or remove the directory"
        )
    end = NO_LOG
    if alone:
        writer = LogWriter(disk, data_key, rng, [], segment_bytes=timing.segment_bytes)
        command = commands.membership(membership.encode(Configuration(voters=(me,))))
        writer.commit(Batch(entries=[(command, FIRST_INDEX, 1)]))
        writer.close()
        end = writer.end
    termfile.store(disk, TermState(me.raft_id, 1 if alone else 0, None, peers, end))


def open_member(
    disk: Disk, data_key: bytes, rng: random.Random, raft_id: str | None, timing: Timing
) -> Opened:
    """Read a member's directory; raises StorageCorrupt, RaftError or OSError.

    What the newest snapshot makes superfluous is cleared up once all of that one was read: should
    it be damaged, an older snapshot and the log may be all that is left of the state.
    """
    term = _term(disk, raft_id)
    snapshot = max(snapshots.finished(disk), default=None)
    if snapshot is not None:
        _check_whole(disk, data_key, snapshot)
    loaded = logfile.load(disk, data_key, term.log_end)
    sentinel, entries = _reconcile(disk, loaded, snapshot)
    newest_term = entries[-1][2] if entries else sentinel[2]
    if newest_term > term.term:
        path = f"{disk.label}/{termfile.NAME}"
        raise StorageCorrupt(path, 0, f"it says term {term.term}, the log {newest_term}")
    configurations, sessions = _described(disk, data_key, snapshot, entries)
    snapshots.drop_unfinished(disk)
    writer = LogWriter(
        disk, data_key, rng, loaded.segments, segment_bytes=timing.segment_bytes, term=term
    )
    if snapshot is not None:
        snapshots.drop_older(disk, snapshot, frozenset())
        if not entries and sentinel[1:] == (snapshot.index, snapshot.term):
            # Whatever the log still says, it begins after the snapshot now.
            writer.commit(Batch(reset=(snapshot.index, snapshot.term)))
    return Opened(term, sentinel, entries, snapshot, sessions, configurations, writer)


def _term(disk: Disk, raft_id: str | None) -> TermState:
    term = termfile.load(disk)
    if term is None:
        if is_empty(disk):
            raise RaftError(f"{disk.label}: no raft member lives here: initialise or join a swarm")
        raise StorageCorrupt(f"{disk.label}/{termfile.NAME}", 0, "the term file is missing")
    if raft_id is not None and term.raft_id != raft_id:
        raise RaftError(
            f"{disk.label}: this is the directory of raft member {term.raft_id}, not of {raft_id}: "
            "point each node at its own"
        )
    return term


def _check_whole(disk: Disk, data_key: bytes, snapshot: SnapshotId) -> None:
    """Read a snapshot to its end; raises StorageCorrupt."""
    reader = SnapshotReader(disk, data_key, snapshot)
    try:
        for _ in reader.chunks():
            pass
    finally:
        reader.close()


def _reconcile(
    disk: Disk, loaded: logfile.Loaded, snapshot: SnapshotId | None
) -> tuple[Entry, list[Entry]]:
    """Find where the log in memory begins: its sentinel, and the entries after it."""
    base, entries = loaded.base, loaded.entries
    if base[1] == UNKNOWN_TERM and entries:
        sentinel, entries = entries[0], entries[1:]
    else:
        sentinel = (NO_OP, *base)
    if snapshot is None:
        if sentinel[1:] != (1, 0):
            path = f"{disk.label}/{logfile.segment_name(loaded.segments[0].number)}"
            raise StorageCorrupt(path, 0, f"the snapshot before entry {sentinel[1] + 1} is missing")
        return sentinel, entries
    if sentinel[1] > snapshot.index:
        path = f"{disk.label}/{snapshot.name}"
        raise StorageCorrupt(path, 0, f"the log begins only after it, at entry {sentinel[1] + 1}")
    place = snapshot.index - sentinel[1]
    at = [sentinel, *entries][place] if place <= len(entries) else None
    if at is None or at[2] != snapshot.term:
        return (NO_OP, snapshot.index, snapshot.term), []
    return sentinel, entries


def _described(
    disk: Disk, data_key: bytes, snapshot: SnapshotId | None, entries: list[Entry]
) -> tuple[list[tuple[int, Configuration]], bytes | None]:
    """Read the configurations: the snapshot's, then all in the log behind it, never arguments."""
    configurations: list[tuple[int, Configuration]] = [(0, membership.EMPTY)]
    sessions = None
    if snapshot is not None:
        reader = SnapshotReader(disk, data_key, snapshot)
        meta = msgspec.msgpack.decode(reader.meta, type=SnapshotMeta)
        reader.close()
        configurations = [(snapshot.index, membership.decode(meta.configuration))]
        sessions = meta.sessions
    for command, index, _ in entries:
        if command[0] == commands.MEMBERSHIP and index > configurations[0][0]:
            configurations.append((index, membership.decode(command[1:])))
    return configurations, sessions
