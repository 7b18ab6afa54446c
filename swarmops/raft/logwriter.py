"""Writes the log: one record a group commit, one segment after the other, noted in the term file.

``LogWriter`` runs on the log lane and is handed whole batches by the journal; ``logfile`` reads
what it wrote, at the next start. Compaction deletes whole segments from the front.
"""

from __future__ import annotations

import random

import msgspec

from swarmops.raft import records, termfile
from swarmops.raft.disk import Disk, File
from swarmops.raft.logfile import Segment, segment_name
from swarmops.raft.records import ENTRIES, RESET, Entry
from swarmops.raft.sealing import SALT_BYTES, Sealer
from swarmops.raft.termfile import NO_LOG, LogEnd, TermState


class Batch(msgspec.Struct):
    """What one group commit makes durable: a term, a new beginning, entries; in this order."""

    term: TermState | None = None
    reset: tuple[int, int] | None = None
    entries: list[Entry] = []


class LogWriter:
    """Writes batches and makes them durable; after an error it mends itself before the next.

    Without a ``term`` there is no term file yet, and nothing is noted.
    """

    def __init__(
        self,
        disk: Disk,
        data_key: bytes,
        rng: random.Random,
        segments: list[Segment],
        *,
        segment_bytes: int,
        term: TermState | None = None,
    ) -> None:
        self._disk = disk
        self._data_key = data_key
        self._rng = rng
        self._segment_bytes = segment_bytes
        self._closed_segments = list(segments)
        self._number = segments[-1].number if segments else 0
        self._term = term
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
            self._store(batch.term)
        if batch.reset is not None:
            self._write(RESET, records.encode_reset(*batch.reset), batch.reset[0])
        if batch.entries:
            greatest = batch.entries[-1][1]
            self._write(ENTRIES, records.encode_entries(batch.entries), greatest)
        self._sync()
        self._broken = False
        if self._term is not None and self._term.log_end.segment != self.end.segment:
            # The first of a segment: without a note, nobody would miss the whole file.
            self.note()

    @property
    def end(self) -> LogEnd:
        """Up to where all is durable."""
        if self._file is not None and self._synced_to > records.FILE_HEADER_BYTES:
            return LogEnd(self._number, self._synced_to)
        if self._closed_segments:
            return LogEnd(self._closed_segments[-1].number, self._closed_segments[-1].end)
        return NO_LOG

    def note(self) -> None:
        """Say in the term file how far the log is durable: what lacks there later is missed.

        Else a tail that was cut off or zeroed would pass for one that nobody was promised. Raises
        OSError, which harms nothing that was written.
        """
        if self._term is not None and self._term.log_end != self.end:
            self._store(self._term)

    def _store(self, term: TermState) -> None:
        noted = msgspec.structs.replace(term, log_end=self.end)
        termfile.store(self._disk, noted)
        self._term = noted

    def compact(self, first_index: int) -> None:
        """Close the segment and delete those from the front that hold nothing from here on."""
        if self._broken:
            self._mend()
        self._roll()
        kept = self._closed_segments
        while len(kept) > 1 and kept[0].greatest < first_index:
            self._disk.remove(segment_name(kept[0].number))
            self._disk.sync_names()
            del kept[0]

    def close(self) -> None:
        """Note what is durable and give the file back."""
        try:
            self.note()
        finally:
            if self._file is not None:
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
        self._closed_segments.append(Segment(self._number, self._greatest, self._synced_to))

    def _mend(self) -> None:
        """After a failed write or sync: cut back to what is durable, go on in a new segment.

        The kernel may have dropped the pages that it failed to write, and says so only once: so
        nothing is written again into this file, and the descriptor is not trusted any more.
        """
        if self._file is not None:
            name = segment_name(self._number)
            if self._synced_to > records.FILE_HEADER_BYTES:
                self._disk.truncate(name, self._synced_to)
                self._closed_segments.append(Segment(self._number, self._greatest, self._synced_to))
            else:
                self._disk.remove(name)
                self._disk.sync_names()
                self._number -= 1
            self._file.close()
            self._file = None
        self._broken = False
