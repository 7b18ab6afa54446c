"""The log on disk: numbered segments, each written once, front to back; read again at the start.

``LogWriter`` runs on the log lane and is handed whole batches by the journal; ``load`` runs once,
before anything else. An entry whose index was there before replaces it and all after it, so nothing
is ever rewritten in place. Compaction deletes whole segments from the front.
"""

from __future__ import annotations

import errno
import random

import msgspec

from swarmops.raft import records, termfile
from swarmops.raft.disk import Disk, File
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.records import ENTRIES, MARK, RESET, Entry
from swarmops.raft.sealing import SALT_BYTES, Sealer

FIRST_INDEX = 2
"""Entry 1 is the engine's own, the same on every member, and never stored."""
UNKNOWN_TERM = -1
_PREFIX = "log-"
_COPY = "newest.copy"


class Batch(msgspec.Struct):
    """What one group commit makes durable: a term, a new beginning, entries; in this order."""

    term: termfile.TermState | None = None
    reset: tuple[int, int] | None = None
    entries: list[Entry] = []


class Loaded(msgspec.Struct):
    """What the segments hold: the entries after ``base`` (index, term), and the segments."""

    base: tuple[int, int]
    entries: list[Entry]
    segments: list[tuple[int, int]]
    """(number, greatest index in it), oldest first."""


def segment_name(number: int) -> str:
    """Name a segment's file so that names sort by age."""
    return f"{_PREFIX}{number:016x}"


def segment_numbers(disk: Disk) -> list[int]:
    """List the segments, oldest first."""
    return sorted(int(n[len(_PREFIX) :], 16) for n in disk.names() if n.startswith(_PREFIX))


def load(disk: Disk, data_key: bytes) -> Loaded:
    """Read all segments; cut a torn tail that nobody was promised.

    When it returns, all that it read survives a loss of power. Raises StorageCorrupt, OSError.
    """
    loaded = Loaded((1, 0), [], [])
    numbers = segment_numbers(disk)
    for number in numbers:
        _load_segment(disk, data_key, number, loaded, newest=number == numbers[-1])
    if loaded.segments:
        _make_durable(disk, segment_name(loaded.segments[-1][0]))
    return loaded


def _make_durable(disk: Disk, name: str) -> None:
    """Write the newest segment anew: what it says may stand in the kernel's memory alone.

    A run that was killed between a write and its sync leaves such a tail, and one whose sync
    failed leaves a tail that no later sync writes. The older segments were synced when they ended.
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
        file = disk.open(name)
        try:
            file.sync()
        finally:
            file.close()
    else:
        disk.replace(_COPY, name)


def _load_segment(
    disk: Disk, data_key: bytes, number: int, loaded: Loaded, *, newest: bool
) -> None:
    name = segment_name(number)
    path = f"{disk.label}/{name}"
    data = disk.read(name)
    if loaded.segments and number != loaded.segments[-1][0] + 1:
        raise StorageCorrupt(path, 0, "the segment before this one is missing")
    if newest and not records.holds_anything(data, number):
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
    if end < len(data):
        if not newest or records.promised_to(data, end) > end:
            raise StorageCorrupt(path, end, "a record that was promised is damaged")
        disk.truncate(name, end)
    loaded.segments.append((number, greatest))


def _replay(path: str, record: records.Record, clear: bytes, loaded: Loaded, *, first: bool) -> int:
    """Bring one record's content into ``loaded``; return the greatest index it touches."""
    try:
        if record.kind == MARK:
            return 0
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


class LogWriter:
    """Writes batches and makes them durable; after an error it mends itself before the next."""

    def __init__(
        self,
        disk: Disk,
        data_key: bytes,
        rng: random.Random,
        segments: list[tuple[int, int]],
        segment_bytes: int,
    ) -> None:
        self._disk = disk
        self._data_key = data_key
        self._rng = rng
        self._segment_bytes = segment_bytes
        self._closed_segments = list(segments)
        self._number = segments[-1][0] if segments else 0
        self._greatest = 0
        self._file: File | None = None
        self._sealer: Sealer | None = None
        self._end = self._synced_to = 0
        self._broken = False

    def commit(self, batch: Batch) -> None:
        """Write a batch; when it returns, all of it survives a loss of power. Raises OSError."""
        if self._broken:
            self._mend()
        self._broken = True
        if batch.term is not None:
            termfile.store(self._disk, batch.term)
        if batch.reset is not None:
            self._write(RESET, records.encode_reset(*batch.reset), batch.reset[0])
        if batch.entries:
            greatest = batch.entries[-1][1]
            self._write(ENTRIES, records.encode_entries(batch.entries), greatest)
        self._sync()
        self._broken = False

    def mark(self) -> None:
        """Note on disk that all before is durable; the last record then counts as promised."""
        if self._file is not None and not self._broken:
            self._broken = True
            self._write(MARK, b"", 0)
            self._sync()
            self._broken = False

    def compact(self, first_index: int) -> None:
        """Close the segment and delete those from the front that hold nothing from here on."""
        if self._broken:
            self._mend()
        self._roll()
        kept = self._closed_segments
        while kept and kept[0][1] < first_index:
            self._disk.remove(segment_name(kept[0][0]))
            self._disk.sync_names()
            del kept[0]

    def close(self) -> None:
        """Mark what is durable and give the file back."""
        if self._file is not None:
            try:
                self.mark()
            finally:
                self._file.close()
                self._file = None

    def _write(self, kind: int, clear: bytes, greatest: int) -> None:
        if self._file is None or self._end >= self._segment_bytes:
            self._roll()
            self._begin()
        assert self._file is not None  # noqa: S101 - for the type checker: _begin opened it
        assert self._sealer is not None  # noqa: S101 - the same
        data = records.encode_record(kind, self._end, self._synced_to, clear, self._sealer)
        self._file.write(data)
        self._end += len(data)
        self._greatest = max(self._greatest, greatest)

    def _sync(self) -> None:
        if self._file is not None and self._synced_to != self._end:
            self._file.sync()
            self._synced_to = self._end

    def _begin(self) -> None:
        """Start the next segment; its name and header are durable before any promise is in it."""
        number = self._number + 1
        salt = self._rng.randbytes(SALT_BYTES)
        file = self._disk.create(segment_name(number))
        self._number, self._file, self._sealer = number, file, Sealer(self._data_key, salt)
        self._end = self._synced_to = self._greatest = 0
        file.write(records.file_header(number, self._data_key, salt))
        self._end = records.FILE_HEADER_BYTES
        self._sync()
        self._disk.sync_names()

    def _roll(self) -> None:
        """Finish the segment: the next one may only begin when this one is whole on disk."""
        if self._file is None:
            return
        self._sync()
        self._file.close()
        self._file = None
        self._closed_segments.append((self._number, self._greatest))

    def _mend(self) -> None:
        """After a failed write or sync: cut back to what is durable, go on in a new segment.

        The kernel may have dropped the pages that it failed to write, and says so only once: so
        nothing is written again into this file, and the descriptor is not trusted any more.
        """
        if self._file is not None:
            name = segment_name(self._number)
            if self._synced_to > records.FILE_HEADER_BYTES:
                self._disk.truncate(name, self._synced_to)
                self._closed_segments.append((self._number, self._greatest))
            else:
                self._disk.remove(name)
                self._disk.sync_names()
                self._number -= 1
            self._file.close()
            self._file = None
        self._broken = False
