"""The format of a log segment: a header, then records that are checked, sealed and self-delimiting.

Pure functions over bytes; ``logfile`` does the reading and writing. One record is one group commit.
Each says how much of its file was durable when it was written. That is what tells a torn tail,
which nobody was promised, from damage to something that was; for the last ones, the note of the
log's end in the term file does.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.sealing import FINGERPRINT_BYTES, SALT_BYTES, Sealer, fingerprint

Entry = tuple[bytes, int, int]
"""(command, index, term), the engine's own order."""

FILE_MAGIC = b"SWOPLOG1"
_FILE = struct.Struct(f">8sQ{FINGERPRINT_BYTES}s{SALT_BYTES}sI")
FILE_HEADER_BYTES = _FILE.size

RECORD_MAGIC = b"\xa7SWR"
_RECORD = struct.Struct(">4sBIQ")
_CRC = struct.Struct(">I")
RECORD_HEADER_BYTES = _RECORD.size + _CRC.size
BODY_BYTES_MAX = 256 * 1024 * 1024

ENTRIES, RESET = 1, 2
_entries_decoder = msgspec.msgpack.Decoder(list[Entry])
_reset_decoder = msgspec.msgpack.Decoder(tuple[int, int])


class Record(NamedTuple):
    """One record that passed its checks; ``body`` is still sealed."""

    kind: int
    offset: int
    end: int
    synced_to: int
    header: bytes
    body: bytes


def file_header(number: int, data_key: bytes, salt: bytes) -> bytes:
    """Spell the header of segment ``number``."""
    clear = _FILE.pack(FILE_MAGIC, number, fingerprint(data_key), salt, 0)[: -_CRC.size]
    return clear + _CRC.pack(zlib.crc32(clear))


def read_file_header(path: str, data: bytes, number: int, data_key: bytes) -> Sealer:
    """Check a segment's header; raises StorageCorrupt."""
    if len(data) < FILE_HEADER_BYTES:
        raise StorageCorrupt(path, 0, "the header is cut short")
    clear = data[: FILE_HEADER_BYTES - _CRC.size]
    magic, found, key_name, salt, crc = _FILE.unpack(data[:FILE_HEADER_BYTES])
    if crc != zlib.crc32(clear) or magic != FILE_MAGIC or found != number:
        raise StorageCorrupt(path, 0, "the header is damaged")
    if key_name != fingerprint(data_key):
        raise StorageCorrupt(path, 0, "it was written under another data key")
    return Sealer(data_key, salt)


def holds_anything(data: bytes, number: int) -> bool:
    """Say whether a segment got further than its creation: its header or any record is whole."""
    clear = data[: FILE_HEADER_BYTES - _CRC.size]
    if len(data) >= FILE_HEADER_BYTES:
        magic, found, _, _, crc = _FILE.unpack(data[:FILE_HEADER_BYTES])
        if crc == zlib.crc32(clear) and (magic, found) == (FILE_MAGIC, number):
            return True
    position = data.find(RECORD_MAGIC)
    while position >= 0:
        if read_record(data, position) is not None:
            return True
        position = data.find(RECORD_MAGIC, position + 1)
    return False


def encode_record(kind: int, offset: int, synced_to: int, clear: bytes, sealer: Sealer) -> bytes:
    """Spell one record that will stand at ``offset``."""
    size = len(clear) + 16
    header = _RECORD.pack(RECORD_MAGIC, kind, size, synced_to)
    body = sealer.seal(offset, clear, header)
    return b"".join((header, _CRC.pack(zlib.crc32(body, zlib.crc32(header))), body))


def body_bytes(header: bytes) -> int:
    """How many bytes follow a record's header; 0 when it is none."""
    if len(header) < RECORD_HEADER_BYTES:
        return 0
    magic, _, size, _ = _RECORD.unpack(header[: _RECORD.size])
    return int(size) if magic == RECORD_MAGIC and size <= BODY_BYTES_MAX else 0


def read_record(data: bytes, offset: int) -> Record | None:
    """Return the record at ``offset`` when it is whole and its checksum is right."""
    start = offset + RECORD_HEADER_BYTES
    if start > len(data):
        return None
    header = data[offset : offset + _RECORD.size]
    magic, kind, size, synced_to = _RECORD.unpack(header)
    if magic != RECORD_MAGIC or size > BODY_BYTES_MAX or start + size > len(data):
        return None
    (crc,) = _CRC.unpack(data[offset + _RECORD.size : start])
    body = data[start : start + size]
    if crc != zlib.crc32(body, zlib.crc32(header)):
        return None
    return Record(kind, offset, start + size, synced_to, header, body)


def records(data: bytes) -> Iterator[Record]:
    """Yield whole records from the front, up to the first that is not."""
    offset = FILE_HEADER_BYTES
    while (record := read_record(data, offset)) is not None:
        yield record
        offset = record.end


def promised_to(data: bytes, offset: int) -> int:
    """How far any whole record from ``offset`` on says that this file was durable; 0 if none."""
    promised = 0
    position = data.find(RECORD_MAGIC, offset)
    while position >= 0:
        record = read_record(data, position)
        if record is not None:
            promised = max(promised, record.synced_to)
        position = data.find(RECORD_MAGIC, record.end if record else position + 1)
    return promised


def encode_entries(entries: list[Entry]) -> bytes:
    """Spell the content of an ENTRIES record."""
    return msgspec.msgpack.encode(entries)


def decode_entries(clear: bytes) -> list[Entry]:
    """Read an ENTRIES record's content; raises msgspec.DecodeError."""
    return _entries_decoder.decode(clear)


def encode_reset(index: int, term: int) -> bytes:
    """Spell the content of a RESET record: the log begins after ``index``."""
    return msgspec.msgpack.encode((index, term))


def decode_reset(clear: bytes) -> tuple[int, int]:
    """Read a RESET record's content; raises msgspec.DecodeError."""
    return _reset_decoder.decode(clear)
