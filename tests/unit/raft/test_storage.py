"""What is on disk is understood to the last promise, or refused with file, offset and cure."""

from __future__ import annotations

import errno
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import swarmops.raft
from swarmops.raft import (
    Member,
    StorageCorrupt,
    Timing,
    force_new_cluster,
    logfile,
    records,
    snapshots,
    storage,
    termfile,
)
from swarmops.raft.disk import DirectoryDisk, DirectoryFile, Disk
from swarmops.raft.errors import RaftError
from swarmops.raft.logfile import segment_name
from swarmops.raft.logwriter import Batch, LogWriter
from swarmops.raft.sealing import Sealer
from swarmops.raft.snapshots import SnapshotId, SnapshotReader
from swarmops.raft.termfile import TermState
from tests.sim.raft.disk import SimDisk

KEY = bytes(range(32))
ME = Member("00000000000000aa", "node", "10.0.0.1:2377")
RNG = random.Random(1)


def entries(first: int, count: int, term: int = 1) -> list[records.Entry]:
    """Make entries."""
    return [(b"\0" + b"secret %d" % n, n, term) for n in range(first, first + count)]


def made(path: Path, batches: int = 3, *, close: bool = False) -> DirectoryDisk:
    """Make a member with a few batches, every one synced; its last run is killed, or closed."""
    disk = DirectoryDisk(path)
    storage.create(disk, KEY, RNG, ME, Timing(), alone=True)
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    for n in range(batches):
        opened.writer.commit(Batch(entries=entries(3 + 5 * n, 5)))
    if close:
        opened.writer.close()
    return disk


def opened_last(disk: Disk) -> int:
    """Open and say which entry is the last."""
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    return opened.entries[-1][1] if opened.entries else opened.sentinel[1]


def newest_log(disk: DirectoryDisk, path: Path) -> Path:
    """Find the segment written last."""
    return path / segment_name(logfile.segment_numbers(disk)[-1])


def test_what_was_committed_is_read_again(tmp_path: Path):
    """All batches of two runs."""
    assert opened_last(made(tmp_path)) == 17


@pytest.mark.slow
def test_a_log_cut_at_any_byte_opens_with_what_came_after_the_note_torn_off(tmp_path: Path):
    """After a crash, all from the note on may be a torn tail; nothing before it is lost unseen."""
    disk = made(tmp_path)
    log = newest_log(disk, tmp_path)
    whole = log.read_bytes()
    ends = [record.end for record in records.records(whole)]
    for size in range(len(whole)):
        log.write_bytes(whole[:size])
        if size < ends[0]:
            with pytest.raises(StorageCorrupt, match=log.name):
                opened_last(disk)
        else:
            assert opened_last(disk) == 2 + 5 * sum(1 for end in ends if end <= size)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "zero"])
def test_a_closed_log_without_its_end_is_refused_with_file_and_offset(tmp_path: Path, damage: str):
    """Cut at any byte, or zeroed from it on: after a clean stop there is no torn tail."""
    disk = made(tmp_path, close=True)
    log = newest_log(disk, tmp_path)
    whole = log.read_bytes()
    ends = [records.FILE_HEADER_BYTES, *(record.end for record in records.records(whole))]
    for size in range(len(whole)):
        hurt = whole[:size] + bytes(len(whole) - size if damage == "zero" else 0)
        if hurt == whole:
            continue
        log.write_bytes(hurt)
        intact = next((n for n in range(len(hurt)) if hurt[n] != whole[n]), len(hurt))
        at = max((end for end in ends if end <= intact), default=0)
        with pytest.raises(StorageCorrupt, match=rf"{log.name}: .* at byte {at}; .*join"):
            opened_last(disk)
        assert log.read_bytes() == hurt, "what is refused is left as it was found"
    log.write_bytes(whole)
    assert opened_last(disk) == 17


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("lost", ["the newest", "all"])
def test_a_log_without_its_newest_segment_is_refused(tmp_path: Path, lost: str, close: bool):  # noqa: FBT001 - a table
    """Also after a crash: the first commit in a segment notes that it is there."""
    disk = made(tmp_path, close=close)
    log = newest_log(disk, tmp_path)
    log.unlink()
    for number in logfile.segment_numbers(disk) if lost == "all" else []:
        disk.remove(segment_name(number))
    match = rf"{log.name}: the newest segment of the log is missing at byte 0; .*join"
    with pytest.raises(StorageCorrupt, match=match):
        opened_last(disk)


def test_a_note_of_the_end_that_could_not_be_written_harms_no_write(tmp_path: Path):
    """It is tried again; meanwhile term and vote are those that were stored last."""
    disk = made(tmp_path, close=True)
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    opened.writer.commit(Batch(term=TermState(ME.raft_id, 4, "me"), entries=entries(18, 5)))
    opened.writer.commit(Batch(entries=entries(23, 5)))
    disk.create = lambda name: (_ for _ in ()).throw(OSError(errno.ENOSPC, name))  # type: ignore[method-assign]
    with pytest.raises(OSError, match="term"):
        opened.writer.note()
    del disk.create
    opened.writer.commit(Batch(entries=entries(28, 5)))
    opened.writer.close()
    assert opened_last(disk) == 32
    state = termfile.load(disk)
    assert state is not None
    assert (state.term, state.vote) == (4, "me")


@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
def test_what_a_failed_sync_left_is_written_again_before_it_is_promised(full: bool):  # noqa: FBT001 - a table
    """The kernel takes its pages for clean: another sync writes nothing, and power takes them."""
    for seed in range(10):
        disk = SimDisk("disk", random.Random(seed), Counter())
        storage.create(disk, KEY, RNG, ME, Timing(), alone=True)
        opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
        opened.writer.commit(Batch(entries=entries(3, 5)))
        disk.bad_syncs = 1
        with pytest.raises(OSError, match="Input/output error"):
            opened.writer.commit(Batch(entries=entries(8, 5)))
        disk.is_full = full
        last = opened_last(disk)
        disk.lose_power()
        disk.is_full = False
        assert opened_last(disk) >= last == 12


def test_without_room_the_log_is_written_over_itself(tmp_path: Path):
    """Byte for byte, in the same file."""
    disk = made(tmp_path)
    log = newest_log(disk, tmp_path)
    before, node = log.read_bytes(), log.stat().st_ino
    disk.create = lambda name: (_ for _ in ()).throw(OSError(errno.ENOSPC, name))  # type: ignore[method-assign]
    assert opened_last(disk) == 17
    assert (log.read_bytes(), log.stat().st_ino) == (before, node)


@pytest.mark.parametrize("damage", ["flip", "zero"])
def test_damage_to_what_was_promised_is_refused_with_file_and_offset(tmp_path: Path, damage: str):
    """At every byte of a record behind the note, which the one after it says was durable."""
    disk = made(tmp_path)
    log = newest_log(disk, tmp_path)
    whole = log.read_bytes()
    second = list(records.records(whole))[1]
    for at in range(second.offset, second.end):
        if damage == "zero" and whole[at] == 0:
            continue
        hurt = bytearray(whole)
        hurt[at] = 0 if damage == "zero" else hurt[at] ^ 0x55
        log.write_bytes(hurt)
        with pytest.raises(
            StorageCorrupt, match=rf"{log.name}: .* at byte {second.offset}; .*join"
        ):
            opened_last(disk)


def test_after_a_clean_stop_even_the_last_record_counts_as_promised(tmp_path: Path):
    """The note vouches for it, so damage to it is refused, not taken for a torn tail."""
    disk = made(tmp_path, batches=1, close=True)
    log = newest_log(disk, tmp_path)
    hurt = bytearray(log.read_bytes())
    hurt[records.FILE_HEADER_BYTES + 30] ^= 1
    log.write_bytes(hurt)
    with pytest.raises(StorageCorrupt):
        opened_last(disk)


def test_a_tail_of_zeros_is_a_torn_tail(tmp_path: Path):
    """A file system that grew the file before it wrote the data."""
    disk = made(tmp_path)
    log = newest_log(disk, tmp_path)
    log.write_bytes(log.read_bytes() + bytes(4096))
    assert opened_last(disk) == 17


def test_a_segment_that_was_only_begun_is_dropped(tmp_path: Path):
    """A crash between creating a segment and writing to it."""
    disk = made(tmp_path)
    number = logfile.segment_numbers(disk)[-1] + 1
    (tmp_path / segment_name(number)).write_bytes(b"SWOP")
    assert opened_last(disk) == 17


def test_a_missing_segment_is_refused(tmp_path: Path):
    """A hole in the middle is no compaction."""
    disk = DirectoryDisk(tmp_path)
    termfile.store(disk, TermState(ME.raft_id, 1, None))
    writer = LogWriter(disk, KEY, RNG, [], segment_bytes=10)
    for n in range(4):
        writer.commit(Batch(entries=entries(2 + n, 1)))
    disk.remove(segment_name(2))
    with pytest.raises(StorageCorrupt, match="segment before this one is missing"):
        opened_last(disk)


def test_a_later_entry_of_the_same_index_replaces_all_after_it(tmp_path: Path):
    """Truncation is written by appending."""
    disk = made(tmp_path)
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    state = TermState(ME.raft_id, 2, None)
    opened.writer.commit(Batch(term=state, entries=entries(6, 1, term=2)))
    assert opened_last(disk) == 6


@pytest.mark.parametrize(
    "content", [b"", b"SWOPTRM1", b"{}", b"SWOPTRM1\x93\x00\x01\x02\x03\x04\x05"]
)
def test_a_damaged_term_file_is_refused(tmp_path: Path, content: bytes):
    """It is never read as "no vote yet": that would vote twice in a term."""
    disk = made(tmp_path)
    (tmp_path / termfile.NAME).write_bytes(content)
    with pytest.raises(StorageCorrupt, match="term"):
        opened_last(disk)


def test_every_flipped_bit_of_the_term_file_is_noticed(tmp_path: Path):
    """Each byte, one at a time."""
    disk = made(tmp_path)
    whole = (tmp_path / termfile.NAME).read_bytes()
    for at in range(len(whole)):
        hurt = bytearray(whole)
        hurt[at] ^= 4
        (tmp_path / termfile.NAME).write_bytes(hurt)
        with pytest.raises(StorageCorrupt):
            opened_last(disk)


def test_a_missing_or_older_term_file_is_refused(tmp_path: Path):
    """Entries of a term that the file has not heard of mean that it was replaced."""
    disk = made(tmp_path)
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    opened.writer.commit(Batch(entries=entries(18, 1, term=9)))
    with pytest.raises(StorageCorrupt, match="term 1, the log 9"):
        opened_last(disk)
    disk.remove(termfile.NAME)
    with pytest.raises(StorageCorrupt, match="missing"):
        opened_last(disk)


def _snapshot(disk: DirectoryDisk, index: int) -> Path:
    meta = b"\x82\xadconfiguration\xc4\x01\x80\xa8sessions\xc4\x01\x80"
    chunks = [b"secret state"] * 3
    snapshots.write(disk, KEY, RNG, SnapshotId(index, 1), (meta, chunks))
    return Path(disk.label) / SnapshotId(index, 1).name


@pytest.mark.slow
def test_a_snapshot_is_read_again_and_any_damage_noticed(tmp_path: Path):
    """Cut at any byte, or with any byte flipped, it is refused with its name."""
    disk = made(tmp_path)
    file = _snapshot(disk, 10)
    whole = file.read_bytes()
    assert list(SnapshotReader(disk, KEY, SnapshotId(10, 1)).chunks()) == [b"secret state"] * 3
    hurts = [whole[:size] for size in range(len(whole))]
    hurts += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for hurt in hurts:
        file.write_bytes(hurt)
        with pytest.raises(StorageCorrupt, match=file.name):
            list(SnapshotReader(disk, KEY, SnapshotId(10, 1)).chunks())


def test_a_log_that_begins_behind_a_lost_snapshot_is_refused(tmp_path: Path):
    """After compaction, the state before the log is nowhere else."""
    disk = DirectoryDisk(tmp_path)
    termfile.store(disk, TermState(ME.raft_id, 1, None))
    writer = LogWriter(disk, KEY, RNG, [], segment_bytes=100)
    for n in range(10):
        writer.commit(Batch(entries=entries(2 + n, 1)))
    _snapshot(disk, 8)
    writer.compact(6)
    assert opened_last(disk) == 11
    disk.remove(SnapshotId(8, 1).name)
    with pytest.raises(StorageCorrupt, match=r"snapshot before entry \d+ is missing"):
        opened_last(disk)


def test_a_log_that_ends_before_the_snapshot_is_begun_again_behind_it(tmp_path: Path):
    """The disk says so: what is written next has its place there when it is read again."""
    disk = made(tmp_path, close=True)
    _snapshot(disk, 40)
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    assert (opened.sentinel[1:], opened.entries) == ((40, 1), [])
    opened.writer.commit(Batch(entries=entries(41, 2)))
    again = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    assert (again.sentinel[1:], again.entries) == ((40, 1), entries(41, 2))


def force(disk: DirectoryDisk) -> None:
    """Make the member the only one."""
    force_new_cluster(disk, me=ME, data_key=KEY, rng=RNG)


@pytest.mark.parametrize("opens", [opened_last, force], ids=["open", "force_new_cluster"])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9], ids=["header", "middle", "end"])
def test_a_damaged_newest_snapshot_leaves_the_older_files_as_they_were(
    tmp_path: Path, place: float, opens: Callable[[DirectoryDisk], object]
):
    """They may be all that is left of the state; when it is whole, they are cleared away."""
    disk = made(tmp_path, close=True)
    _snapshot(disk, 8)
    _snapshot(disk, 30).rename(tmp_path / SnapshotId(30, 1).unfinished)
    newest = _snapshot(disk, 40)
    whole = newest.read_bytes()
    hurt = bytearray(whole)
    hurt[int(place * len(whole))] ^= 1
    newest.write_bytes(hurt)
    before = {name: disk.read(name) for name in disk.names()}
    with pytest.raises(StorageCorrupt, match=newest.name):
        opens(disk)
    assert {name: disk.read(name) for name in disk.names()} == before
    newest.write_bytes(whole)
    opens(disk)
    assert [name for name in disk.names() if name.startswith("snapshot-")] == [newest.name]


def test_clearing_up_spares_newer_snapshots_and_those_in_use(tmp_path: Path):
    """It runs late: a newer snapshot may be there by then, and an older one be on its way out."""
    disk = made(tmp_path)
    for index in (5, 8, 10, 12):
        _snapshot(disk, index)
    snapshots.drop_older(disk, SnapshotId(10, 1), frozenset({SnapshotId(8, 1)}))
    assert [found.index for found in snapshots.finished(disk)] == [8, 10, 12]


def test_a_half_written_snapshot_is_forgotten(tmp_path: Path):
    """A crash while it was made leaves the older state of affairs."""
    disk = made(tmp_path)
    name = _snapshot(disk, 10).rename(tmp_path / (SnapshotId(10, 1).name + ".new")).name
    opened = storage.open_member(disk, KEY, RNG, ME.raft_id, Timing())
    assert opened.snapshot is None
    assert name not in disk.names()


class FullDisk(DirectoryDisk):
    """Has room for so many bytes more."""

    room = 0

    def create(self, name: str) -> DirectoryFile:
        """Make a file that fills up."""
        file = super().create(name)
        write, disk = file.write, self

        def bounded(data: bytes) -> None:
            write(data[: disk.room])
            if len(data) > disk.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            disk.room -= len(data)

        file.write = bounded  # type: ignore[method-assign]
        return file


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


@pytest.mark.parametrize("room", [0, 10, 60, 100, 150, 160])
def test_a_snapshot_that_does_not_fit_leaves_no_file_and_no_descriptor(tmp_path: Path, room: int):
    """It is tried again and again while the disk is full: each attempt must cost nothing."""
    disk = FullDisk(tmp_path)
    before = descriptors()
    disk.room = room
    with pytest.raises(OSError, match="No space left"):
        snapshots.write(disk, KEY, RNG, SnapshotId(10, 1), (b"meta", [b"chunk"] * 3))
    assert disk.names() == []
    assert descriptors() == before


def test_a_damaged_snapshot_leaves_no_descriptor(tmp_path: Path):
    """Nor does a header of another one."""
    disk = made(tmp_path)
    file = _snapshot(disk, 10)
    whole = file.read_bytes()
    before = descriptors()
    for size in (3, len(whole) // 3):
        file.write_bytes(whole[:size])
        with pytest.raises(StorageCorrupt):
            SnapshotReader(disk, KEY, SnapshotId(10, 1))
    assert descriptors() == before


def test_a_file_that_is_closed_twice_closes_no_other(tmp_path: Path):
    """Its descriptor's number is another file's by then, perhaps the log's."""
    disk = DirectoryDisk(tmp_path)
    first = disk.create("first")
    first.close()
    second = disk.create("second")
    first.close()
    second.write(b"still open")
    second.close()
    assert disk.read("second") == b"still open"


def test_nothing_on_disk_is_readable_without_the_key(tmp_path: Path):
    """Log and snapshots are sealed; indexes and terms may be clear."""
    disk = made(tmp_path)
    _snapshot(disk, 10)
    for name in disk.names():
        assert b"secret" not in disk.read(name)


def test_another_data_key_is_said_to_be_one(tmp_path: Path):
    """It is no damage to the file."""
    disk = made(tmp_path)
    with pytest.raises(StorageCorrupt, match="another data key"):
        storage.open_member(disk, b"k" * 32, RNG, ME.raft_id, Timing())


def test_an_altered_record_with_a_right_checksum_is_refused(tmp_path: Path):
    """Whoever can write the disk, but has no key, can't make an entry."""
    disk = made(tmp_path)
    log = newest_log(disk, tmp_path)
    whole = log.read_bytes()
    first = next(iter(records.records(whole)))
    forged = records.encode_record(
        records.ENTRIES,
        first.offset,
        first.synced_to,
        records.encode_entries(entries(3, 5)),
        Sealer(b"f" * 32, bytes(16)),
    )
    log.write_bytes(whole[: first.offset] + forged + whole[first.end :])
    with pytest.raises(StorageCorrupt, match="altered"):
        opened_last(disk)


def test_a_directory_belongs_to_one_member(tmp_path: Path):
    """Another's is refused, and a second bootstrap too."""
    disk = made(tmp_path)
    with pytest.raises(RaftError, match="not of 00000000000000bb"):
        storage.open_member(disk, KEY, RNG, "00000000000000bb", Timing())
    with pytest.raises(RaftError, match="lives here already"):
        storage.create(disk, KEY, RNG, ME, Timing(), alone=True)
    with pytest.raises(RaftError, match="no raft member lives here"):
        storage.open_member(DirectoryDisk(tmp_path / "new"), KEY, RNG, ME.raft_id, Timing())


def test_an_interrupted_bootstrap_can_be_made_again(tmp_path: Path):
    """Without its term file nothing was promised yet."""
    disk = made(tmp_path, batches=0)
    disk.remove(termfile.NAME)
    storage.create(disk, KEY, RNG, ME, Timing(), alone=True)
    assert opened_last(disk) == 2


def test_no_file_of_ours_knows_pickle():
    """Neither on the wire nor on disk: the word stands in docstrings of overrides at most."""
    folder = Path(swarmops.raft.__file__).parents[1]
    words = r"(pickle|shelve|dill)"
    forbidden = re.compile(rf"^\s*(import|from)\s+\S*{words}\b|\b{words}\.", re.MULTILINE)
    files = list(folder.rglob("*.py"))
    assert len(files) > 100
    for file in files:
        assert not forbidden.search(file.read_text()), file
