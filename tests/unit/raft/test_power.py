"""Power lost at every byte of term file, log, snapshot, compaction, reset, in each way of losing.

One life of a member's directory is recorded, at every operation and every byte. Each moment of it
is put together as a loss of power may leave it, and opened: what had been promised by then is
there, and nothing is refused.
"""

# ruff: noqa: D102 - the protocols that these classes play say what each method does

from __future__ import annotations

import random
from typing import NamedTuple

import msgspec
import pytest

from swarmops.raft import Member, Timing, commands, membership, snapshots, storage
from swarmops.raft.logwriter import Batch
from swarmops.raft.membership import Configuration
from swarmops.raft.records import Entry
from swarmops.raft.recovery import force_new_cluster
from swarmops.raft.snapshots import SnapshotId, SnapshotMeta, SnapshotReader
from swarmops.raft.termfile import TermState

KEY = bytes(range(32))
ME = Member("00000000000000aa", "node", "10.0.0.1:2377")
OTHER = Member("00000000000000bb", "other", "10.0.0.2:2377")
TIMING = Timing(segment_bytes=300)
WAYS = (
    "all is kept",
    "only what was synced is",
    "names are, not contents",
    "zeros are, for contents",
)


class Content:
    """What a file holds, under whatever name, and how much of it is safe."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.safe = len(data)


class Moment(NamedTuple):
    """All files at one byte, and those whose names are safe: (content, how much is safe)."""

    files: dict[str, tuple[bytes, int]]
    safe_files: dict[str, tuple[bytes, int]]

    def left(self, way: str) -> dict[str, bytes]:
        """Say what a loss of power leaves."""
        if way == WAYS[0]:
            return {name: data for name, (data, _) in self.files.items()}
        files = self.safe_files if way == WAYS[1] else self.files
        zeros = way == WAYS[3]
        return {
            name: data[:safe] + bytes(zeros * (len(data) - safe))
            for name, (data, safe) in files.items()
        }


class MemoryDisk:
    """A directory in memory; ``note`` is called after every byte and every operation."""

    label = "disk"

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {name: Content(data) for name, data in (files or {}).items()}
        self.safe_files = dict(self.files)

    def note(self) -> None:
        """Nothing to remember."""

    def now(self) -> Moment:
        """Copy everything."""
        return Moment(
            {name: (bytes(c.data), c.safe) for name, c in self.files.items()},
            {name: (bytes(c.data), c.safe) for name, c in self.safe_files.items()},
        )

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return bytes(self.files[name].data)

    def create(self, name: str) -> MemoryFile:
        self.files[name] = Content()
        self.note()
        return MemoryFile(self, self.files[name])

    def open(self, name: str) -> MemoryFile:
        return MemoryFile(self, self.files[name])

    def truncate(self, name: str, size: int) -> None:
        content = self.files[name]
        del content.data[size:]
        content.safe = len(content.data)
        self.note()

    def rewrite(self, name: str) -> None:
        self.files[name].safe = len(self.files[name].data)
        self.note()

    def replace(self, source: str, target: str) -> None:
        self.files[target] = self.files.pop(source)
        self.note()
        self.sync_names()

    def remove(self, name: str) -> None:
        self.files.pop(name, None)
        self.note()

    def sync_names(self) -> None:
        self.safe_files = dict(self.files)
        self.note()


class MemoryFile:
    """An open file of it."""

    def __init__(self, disk: MemoryDisk, content: Content) -> None:
        self._disk, self._content = disk, content

    def write(self, data: bytes) -> None:
        for byte in data:
            self._content.data.append(byte)
            self._disk.note()

    def sync(self) -> None:
        self._content.safe = len(self._content.data)
        self._disk.note()

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._content.data[offset : offset + size])

    def close(self) -> None:
        """Nothing to give back."""


class State(NamedTuple):
    """What a directory says: term and vote, the newest snapshot, the log behind it."""

    term: int
    vote: str | None
    snapshot: int
    log: tuple[tuple[int, int], ...]
    voters: tuple[str, ...]


def read(disk: MemoryDisk) -> State:
    """Open a directory and read all of it."""
    opened = storage.open_member(disk, KEY, random.Random(1), ME.raft_id, TIMING)
    covered = 0
    if opened.snapshot is not None:
        covered = opened.snapshot.index
        assert list(SnapshotReader(disk, KEY, opened.snapshot).chunks()) == [b"state"] * 3
    log = tuple((i, t) for _, i, t in opened.entries if i > covered)
    voters = tuple(v.raft_id for v in opened.configurations[-1][1].voters)
    return State(opened.term.term, opened.term.vote, covered, log, voters)


class Life(MemoryDisk):
    """Remembers every moment, with what had been promised before what is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[tuple[Moment, State | None]] = []
        self.promised: State | None = None

    def note(self) -> None:
        """Remember."""
        self.moments.append((self.now(), self.promised))

    def promise(self) -> State:
        """What was done so far counts from here on."""
        self.promised = read(MemoryDisk({n: bytes(c.data) for n, c in self.files.items()}))
        return self.promised


def entries(first: int, count: int, term: int) -> list[Entry]:
    """Make entries."""
    return [(b"\0%d" % n, n, term) for n in range(first, first + count)]


def live() -> Life:
    """Found a group, vote, write, lead, truncate, snapshot, compact, begin behind another one."""
    life, rng = Life(), random.Random(2)
    storage.create(life, KEY, rng, ME, TIMING, alone=True)
    life.promise()
    writer = storage.open_member(life, KEY, rng, ME.raft_id, TIMING).writer

    def commit(batch: Batch) -> None:
        writer.commit(batch)
        life.promise()

    commit(Batch(entries=entries(3, 4, 1)))
    commit(Batch(term=TermState(ME.raft_id, 2, "somebody")))
    commit(Batch(term=TermState(ME.raft_id, 3, ME.raft_id), entries=entries(7, 4, 3)))
    commit(Batch(term=TermState(ME.raft_id, 4, None), entries=entries(8, 5, 4)))
    described = membership.encode(Configuration(voters=(ME, OTHER)))
    meta = msgspec.msgpack.encode(SnapshotMeta(described, b"\x80"))
    snapshots.write(life, KEY, rng, SnapshotId(9, 4), (meta, [b"state"] * 3))
    life.promise()
    writer.compact(6)
    life.promise()
    commit(Batch(term=TermState(ME.raft_id, 5, None), entries=entries(13, 3, 4)))
    snapshots.write(life, KEY, rng, SnapshotId(40, 5), (meta, [b"state"] * 3))
    snapshots.drop_older(life, SnapshotId(40, 5), frozenset())
    life.promise()
    commit(Batch(reset=(40, 5), entries=entries(41, 3, 5)))
    writer.note()
    commit(Batch(entries=entries(44, 2, 5)))
    writer.close()
    return life


def keeps(found: State, promised: State) -> bool:
    """Say whether a state has all that another promised; it may have what came next, too."""
    vote_kept = found.term > promised.term or found.vote == promised.vote
    replaced = found.term > promised.term
    log = dict(found.log)
    log_kept = all(
        index <= found.snapshot or log.get(index) == term or (replaced and index in log)
        for index, term in promised.log
    )
    return (
        found.term >= promised.term and vote_kept and found.snapshot >= promised.snapshot
    ) and log_kept


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_power_may_go_at_any_byte(way: str):
    """Opened again and once more, the directory has what it had promised, and can go on."""
    life = live()
    assert len(life.moments) > 2000
    seen: set[bytes] = set()
    for moment, promised in life.moments:
        left = moment.left(way)
        key = msgspec.msgpack.encode(sorted(left.items()))
        if promised is None or key in seen:
            continue
        seen.add(key)
        disk = MemoryDisk(left)
        found = read(disk)
        assert keeps(found, promised), f"{found} lacks what was promised: {promised}"
        assert read(disk) == found
    assert len(seen) > 15


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_power_may_go_while_a_new_cluster_is_forced(way: str):
    """The survivor's disk has its old group or the new one, alone; forced again, the new one."""
    life, rng = Life(), random.Random(3)
    storage.create(life, KEY, rng, ME, TIMING, alone=True)
    writer = storage.open_member(life, KEY, rng, ME.raft_id, TIMING).writer
    both = commands.membership(membership.encode(Configuration(voters=(ME, OTHER))))
    writer.commit(Batch(entries=[(both, 3, 1), *entries(4, 3, 1)]))
    writer.close()
    promised = life.promise()
    begin = len(life.moments)
    force_new_cluster(life, me=ME, data_key=KEY, rng=rng, timing=TIMING)
    for moment, _ in life.moments[begin:]:
        disk = MemoryDisk(moment.left(way))
        found = read(disk)
        assert set(found.voters) in ({ME.raft_id, OTHER.raft_id}, {ME.raft_id})
        assert keeps(found, promised)
        force_new_cluster(disk, me=ME, data_key=KEY, rng=rng, timing=TIMING)
        assert read(disk).voters == (ME.raft_id,)
        assert keeps(read(disk), promised)


def test_an_interrupted_beginning_can_be_made_again():
    """Before the term file there is no member; at whatever byte the power went, it can be made."""
    life, rng = Life(), random.Random(4)
    storage.create(life, KEY, rng, ME, TIMING, alone=True)
    for way in WAYS:
        for moment, _ in life.moments[:-2]:
            left = moment.left(way)
            disk = MemoryDisk(left)
            if "term" not in left:
                storage.create(disk, KEY, rng, ME, TIMING, alone=True)
            assert read(disk).voters == (ME.raft_id,)
