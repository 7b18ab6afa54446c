"""The file that holds the current term and the vote given in it, whose they are, and the log's end.

Written whole beside the old one, synced and renamed, before any message that rests on it leaves.
A file that fails its check is refused, never read as "no vote yet": that would vote twice.
"""

from __future__ import annotations

import zlib

import msgspec

from swarmops.raft.disk import Disk
from swarmops.raft.errors import StorageCorrupt
from swarmops.raft.seam import Member

NAME = "term"
_MAGIC = b"SWOPTRM1"
_CRC_BYTES = 4


class LogEnd(msgspec.Struct, frozen=True):
    """A place in the log: a segment's number, and the bytes of it before that place."""

    segment: int
    offset: int


NO_LOG = LogEnd(0, 0)


class TermState(msgspec.Struct, frozen=True):
    """The member's id, the newest term it knows and whom it voted for in that term.

    ``peers`` are those it was told to join: a joiner that crashes before any configuration reached
    it would know nobody and listen to nobody. ``log_end`` is how far the log was durable when this
    was written: a log that ends before it has lost something.
    """

    raft_id: str
    term: int
    vote: str | None
    peers: tuple[Member, ...] = ()
    log_end: LogEnd = NO_LOG


def load(disk: Disk) -> TermState | None:
    """Read the file, None when there is none; raises StorageCorrupt."""
    if NAME not in disk.names():
        return None
    path = f"{disk.label}/{NAME}"
    data = disk.read(NAME)
    body = data[len(_MAGIC) : -_CRC_BYTES]
    if not data.startswith(_MAGIC) or len(data) <= len(_MAGIC) + _CRC_BYTES:
        raise StorageCorrupt(path, 0, "the term file is cut short or is none")
    if zlib.crc32(body) != int.from_bytes(data[-_CRC_BYTES:], "big"):
        raise StorageCorrupt(path, len(_MAGIC), "the checksum does not fit")
    try:
        return msgspec.msgpack.decode(body, type=TermState)
    except msgspec.DecodeError as error:
        raise StorageCorrupt(path, len(_MAGIC), "the content makes no sense") from error


def store(disk: Disk, state: TermState) -> None:
    """Replace the file; when it returns, the state survives a loss of power. Raises OSError."""
    body = msgspec.msgpack.encode(state)
    file = disk.create(f"{NAME}.new")
    try:
        file.write(_MAGIC + body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big"))
        file.sync()
    finally:
        file.close()
    disk.replace(f"{NAME}.new", NAME)
