"""The whole store as bytes, in slices, and back.

Used by ``Store`` for the log's compaction and for replicas that are far behind. The objects are
immutable, so freezing the tables copies only references; encoding happens as slices are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from swarmops.model.object import Object
from swarmops.model.service import TaskSpec
from swarmops.model.task import Task
from swarmops.store import actions
from swarmops.store.actions import SPEC_KEPT, AnyAction, Delete, PatchTask, Put, PutTask
from swarmops.store.tables import Tables

SLICE_OBJECTS = 200
CHUNK_BYTES_MAX = 1024 * 1024
_LENGTH_BYTES = 4
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot holds besides objects."""

    applied: int
    fence: int
    slices: int
    rules: int = 0


_decode_header = msgspec.msgpack.Decoder(Header).decode


def dump(tables: Tables, applied: int) -> Iterator[bytes]:
    """Freeze the tables now; return an iterator that encodes them slice by slice."""
    frozen: list[list[Any]] = [list(table) for table in tables.by_table.values()]
    slices = sum(-(-len(rows) // SLICE_OBJECTS) for rows in frozen)
    return _encoded(Header(applied, tables.fence, slices, actions.RULES), frozen)


def _encoded(header: Header, frozen: list[list[Any]]) -> Iterator[bytes]:
    yield from _framed(actions.encode(header))
    for rows in frozen:
        for start in range(0, len(rows), SLICE_OBJECTS):
            specs = actions.SpecList()
            puts: list[AnyAction] = [
                actions.put_action(row, row.version.index, specs)
                for row in rows[start : start + SLICE_OBJECTS]
            ]
            yield from _framed(actions.encode(actions.Entry(_ANY_TIME, False, puts, specs.specs)))


def load(tables: Tables, chunks: Iterable[bytes]) -> int:
    """Fill empty tables; return the index of the last entry in the snapshot.

    Raises ValueError for a snapshot that is cut short or not one of ours, WrittenByNewer for one
    that a newer release made.
    """
    frames = _frames(chunks)
    header = _decode_header(next(frames, b""))
    actions.check_rules(header.rules)
    tables.fence = header.fence
    count = 0
    for frame in frames:
        count += 1
        entry = actions.decode_entry(frame)
        for action in entry.actions:
            if not isinstance(action, Delete | PatchTask):
                _load_one(tables, action, entry.specs)
    if count != header.slices:
        raise ValueError(f"the snapshot has {count} of its {header.slices} parts")
    return header.applied


def _load_one(tables: Tables, action: Put, specs: list[TaskSpec]) -> None:
    obj: Object = action.obj
    if isinstance(obj, Task) and isinstance(action, PutTask) and action.spec != SPEC_KEPT:
        obj = tables.slim(msgspec.structs.replace(obj, spec=specs[action.spec]))
    tables.replace(tables.by_table[actions.TABLE_OF[type(obj)]], obj.id, obj)


def _framed(data: bytes) -> Iterator[bytes]:
    """Put the length before the data, and cut it into chunks that a log takes."""
    framed = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    for start in range(0, len(framed), CHUNK_BYTES_MAX):
        yield framed[start : start + CHUNK_BYTES_MAX]


def _frames(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream in chunks of any size into the frames that were written."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        while len(rest) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "big")
            if len(rest) < end:
                break
            yield bytes(rest[_LENGTH_BYTES:end])
            del rest[:end]
    if rest:
        raise ValueError("the snapshot is cut short")
