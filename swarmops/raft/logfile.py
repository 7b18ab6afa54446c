"""The log on disk, read at the start: numbered segments, each written once, front to back.

``load`` runs once, before anything else; ``logwriter`` writes. An entry whose index was there
before replaces it and all after it, so nothing is ever rewritten in place. What was promised and is
not there is refused, with file and offset; a torn tail that nobody was promised is cut.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

import msgspec

from swarmops.raft import records
from swarmops.raft.disk import Disk
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.records import ENTRIES, RESET, Entry
from swarmops.raft.termfile import NO_LOG, LogEnd

FIRST_INDEX = 2
"""Entry 1 is the engine's own, the same on every member, and never stored."""
UNKNOWN_TERM = -1
_PREFIX = "log-"
_COPY = "newest.copy"


class Segment(NamedTuple):
    """One file of the log: the greatest index in it, and where its last record ends."""

    number: int
    greatest: int
    end: int


class Loaded(msgspec.Struct):
    """What the segments, oldest first, hold: the entries after ``base`` (index, term)."""

    base: tuple[int, int]
    entries: list[Entry]
    segments: list[Segment]


def segment_name(number: int) -> str:
    """Name a segment's file so that names sort by age."""
    return f"{_PREFIX}{number:016x}"


def segment_numbers(disk: Disk) -> list[int]:
    """List the segments, oldest first."""
    return sorted(int(n[len(_PREFIX) :], 16) for n in disk.names() if n.startswith(_PREFIX))


def load(disk: Disk, data_key: bytes, noted: LogEnd = NO_LOG) -> Loaded:
    """Read all segments, at least up to where the log is noted to end; cut a torn tail behind it.

    When it returns, all that it read survives a loss of power. Raises StorageCorrupt, OSError.
    """
    loaded = Loaded((1, 0), [], [])
    numbers = segment_numbers(disk)
    newest = numbers[-1] if numbers else 0
    if newest < noted.segment:
        path = f"{disk.label}/{segment_name(noted.segment)}"
        raise StorageCorrupt(path, 0, "the newest segment of the log is missing")
    for number in numbers:
        promised = noted.offset if number == noted.segment else 0
        _load_segment(disk, data_key, number, loaded, newest=number == newest, promised=promised)
    if loaded.segments:
        _make_durable(disk, segment_name(loaded.segments[-1].number))
    return loaded


def _make_durable(disk: Disk, name: str) -> None:
    """Write the newest segment anew: what it says may stand in the kernel's memory alone.

    A run that was killed between a write and its sync leaves such a tail, and one whose sync
    failed leaves a tail that no later sync writes. The older segments were synced when they ended.
    A copy is best: power that fails in the middle leaves the file as it was. Without room for one,
    the same bytes are written over themselves.
    """
    try:
        file = disk.create(_COPY)
        try:
            file.write(disk.read(name))
            file.sync()
        finally:
            file.close()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        disk.remove(_COPY)
        disk.rewrite(name)
    else:
        disk.replace(_COPY, name)


def _load_segment(
    disk: Disk, data_key: bytes, number: int, loaded: Loaded, *, newest: bool, promised: int
) -> None:
    name = segment_name(number)
    path = f"{disk.label}/{name}"
    data = disk.read(name)
    if loaded.segments and number != loaded.segments[-1].number + 1:
        raise StorageCorrupt(path, 0, "the segment before this one is missing")
    if newest and not promised and not records.holds_anything(data, number):
        disk.remove(name)
        disk.sync_names()
        return
    sealer = records.read_file_header(path, data, number, data_key)
    end, greatest = records.FILE_HEADER_BYTES, 0
    for record in records.records(data):
        clear = sealer.open(record.offset, record.body, record.header)
        if clear is None:
            raise StorageCorrupt(path, record.offset, "a record was altered or has another key")
        greatest = max(greatest, _replay(path, record, clear, loaded, first=greatest == 0))
        end = record.end
    if end < promised:
        raise StorageCorrupt(path, end, "a record that was promised is damaged or cut off")
    if end < len(data):
        if not newest or records.promised_to(data, end) > end:
            raise StorageCorrupt(path, end, "a record that was promised is damaged")
        disk.truncate(name, end)
    loaded.segments.append(Segment(number, greatest, end))


def _replay(path: str, record: records.Record, clear: bytes, loaded: Loaded, *, first: bool) -> int:
    """Bring one record's content into ``loaded``; return the greatest index it touches."""
    try:
        if record.kind == RESET:
            loaded.base, loaded.entries = records.decode_reset(clear), []
            return loaded.base[0]
        entries = records.decode_entries(clear)
    except msgspec.DecodeError as error:
        raise StorageCorrupt(path, record.offset, "a record makes no sense") from error
    if record.kind != ENTRIES or not entries:
        raise StorageCorrupt(path, record.offset, "a record is of an unknown kind")
    index = entries[0][1]
    oldest = first and not loaded.segments and not loaded.entries and loaded.base == (1, 0)
    compacted = loaded.base[1] == UNKNOWN_TERM and index <= loaded.base[0]
    if (oldest and index > FIRST_INDEX) or compacted:
        # What came before was compacted away: the log begins where its oldest segment does.
        loaded.base, loaded.entries = (index - 1, UNKNOWN_TERM), []
    position = index - loaded.base[0] - 1
    if position > len(loaded.entries):
        raise StorageCorrupt(path, record.offset, "entries are missing before a record")
    if position < 0:
        raise StorageCorrupt(path, record.offset, "a record goes back behind the beginning")
    del loaded.entries[position:]
    loaded.entries.extend(entries)
    return entries[-1][1]
