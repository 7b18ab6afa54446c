"""Snapshot files: written to the end, synced, renamed; read again chunk by chunk, each checked.

Called on the snapshot lane, never on the event loop but for the restore at the start. A file under
its final name is whole and durable; one that fails a check is refused, not skipped. Each member
seals its own copies under its own data key.
"""

from __future__ import annotations

import logging
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from swarmops.raft import records
from swarmops.raft.disk import Disk, File
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.sealing import FINGERPRINT_BYTES, SALT_BYTES, Sealer, fingerprint

_PREFIX = "snapshot-"
_UNFINISHED = ".new"
_MAGIC = b"SWOPSNP1"
_HEADER = struct.Struct(f">8sQQ{FINGERPRINT_BYTES}s{SALT_BYTES}sI")
HEADER_BYTES = _HEADER.size
META, CHUNK, END = 16, 17, 18
_logger = logging.getLogger(__name__)


class SnapshotId(msgspec.Struct, frozen=True, order=True):
    """The last entry that a snapshot covers."""

    index: int
    term: int

    @property
    def name(self) -> str:
        """The file's name; names sort by index."""
        return f"{_PREFIX}{self.index:016x}-{self.term:016x}"

    @property
    def unfinished(self) -> str:
        """The name of the file while it is being written."""
        return self.name + _UNFINISHED


class SnapshotMeta(msgspec.Struct, frozen=True):
    """What belongs to a snapshot besides the state: configuration and applied requests."""

    configuration: bytes
    sessions: bytes


def finished(disk: Disk) -> list[SnapshotId]:
    """List the finished snapshots, oldest first."""
    return sorted(
        SnapshotId(*(int(part, 16) for part in name[len(_PREFIX) :].split("-")))
        for name in disk.names()
        if name.startswith(_PREFIX) and not name.endswith(_UNFINISHED)
    )


def drop_older(disk: Disk, than: SnapshotId, used: frozenset[SnapshotId]) -> None:
    """Delete the finished snapshots before one, but those in use. Never a newer one.

    It runs later than it is asked for: a newer snapshot may have been finished in between.
    """
    for found in finished(disk):
        if found < than and found not in used:
            disk.remove(found.name)
    disk.sync_names()


def drop_unfinished(disk: Disk) -> None:
    """Delete what a run that ended left half written; only at a start."""
    for name in disk.names():
        if name.startswith(_PREFIX) and name.endswith(_UNFINISHED):
            disk.remove(name)
    disk.sync_names()


class SnapshotWriter:
    """One snapshot in the making: ``write`` each chunk, then ``finish``."""

    def __init__(
        self, disk: Disk, data_key: bytes, salt: bytes, which: SnapshotId, meta: bytes
    ) -> None:
        self._disk = disk
        self._which = which
        self._sealer = Sealer(data_key, salt)
        self._count = self._bytes = 0
        self._file: File = disk.create(which.unfinished)
        key_name = fingerprint(data_key)
        clear = _HEADER.pack(_MAGIC, which.index, which.term, key_name, salt, 0)[:-4]
        self._end = HEADER_BYTES
        try:
            self._file.write(clear + zlib.crc32(clear).to_bytes(4, "big"))
            self._record(META, meta)
        except BaseException:
            # Nobody else could: each attempt on a full disk would leave a file and a descriptor.
            self.abandon()
            raise

    def write(self, chunk: bytes) -> None:
        """Add a chunk; raises OSError."""
        self._record(CHUNK, chunk)
        self._count += 1
        self._bytes += len(chunk)

    def finish(self) -> None:
        """Make it whole and durable under its final name; raises OSError."""
        self._record(END, msgspec.msgpack.encode((self._count, self._bytes)))
        self._file.sync()
        self._file.close()
        self._disk.replace(self._which.unfinished, self._which.name)

    def abandon(self) -> None:
        """Drop what was written."""
        self._file.close()
        self._disk.remove(self._which.unfinished)

    def _record(self, kind: int, clear: bytes) -> None:
        data = records.encode_record(kind, self._end, 0, clear, self._sealer)
        self._file.write(data)
        self._end += len(data)


def write(
    disk: Disk,
    data_key: bytes,
    rng: random.Random,
    which: SnapshotId,
    content: tuple[bytes, Iterable[bytes]],
) -> None:
    """Write a whole snapshot (meta, chunks); raises OSError, and then leaves nothing behind."""
    meta, chunks = content
    writer = SnapshotWriter(disk, data_key, rng.randbytes(SALT_BYTES), which, meta)
    try:
        for chunk in chunks:
            writer.write(chunk)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


class SnapshotReader:
    """Reads one finished snapshot from the front; every call may raise StorageCorrupt."""

    def __init__(self, disk: Disk, data_key: bytes, which: SnapshotId) -> None:
        self.which = which
        self._path = f"{disk.label}/{which.name}"
        self._file = disk.open(which.name)
        try:
            self._begin(data_key)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, data_key: bytes) -> None:
        which = self.which
        header = self._file.read_at(0, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise StorageCorrupt(self._path, 0, "the header is cut short")
        magic, index, term, key_name, salt, crc = _HEADER.unpack(header)
        if crc != zlib.crc32(header[:-4]) or magic != _MAGIC:
            raise StorageCorrupt(self._path, 0, "the header is damaged")
        if (index, term) != (which.index, which.term):
            raise StorageCorrupt(self._path, 0, "the header is another snapshot's")
        if key_name != fingerprint(data_key):
            raise StorageCorrupt(self._path, 0, "it was written under another data key")
        self._sealer = Sealer(data_key, salt)
        self._offset = HEADER_BYTES
        self._count = self._bytes = 0
        kind, self.meta = self._record()
        if kind != META:
            raise StorageCorrupt(self._path, HEADER_BYTES, "the description is missing")

    def next_chunk(self) -> bytes | None:
        """Return the next chunk, None after the last."""
        offset = self._offset
        kind, clear = self._record()
        if kind == CHUNK:
            self._count += 1
            self._bytes += len(clear)
            return clear
        if kind != END or msgspec.msgpack.encode((self._count, self._bytes)) != clear:
            raise StorageCorrupt(self._path, offset, "chunks are missing")
        return None

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks that are left."""
        while (chunk := self.next_chunk()) is not None:
            yield chunk

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _record(self) -> tuple[int, bytes]:
        head = self._file.read_at(self._offset, records.RECORD_HEADER_BYTES)
        size = records.body_bytes(head)
        data = head + self._file.read_at(self._offset + len(head), size)
        record = records.read_record(data, 0)
        if record is None:
            raise StorageCorrupt(self._path, self._offset, "a record is damaged or cut short")
        clear = self._sealer.open(self._offset, record.body, record.header)
        if clear is None:
            raise StorageCorrupt(self._path, self._offset, "a record was altered")
        self._offset += len(data)
        return record.kind, clear


def or_close(reader: SnapshotReader, work: Callable[[], Any]) -> Any:
    """Do something with a reader that nobody else could close if it fails."""
    try:
        return work()
    except BaseException:
        reader.close()
        raise


def ignore_result(_result: Any, error: BaseException | None) -> None:
    """Hear how clearing up on a lane ended: nobody waits for it."""
    if error is not None:
        _logger.warning("cleaning up after a snapshot failed: %s", error)
