"""The state machine that the simulation replicates: registers, and a chain over what was applied.

A command is a write or a compare-and-set of one key, with an id that no other has. The chain makes
two members that applied the same commands in the same order at the same indexes comparable by one
number; the set of ids shows a command that was applied twice.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec

ABSENT = -1


class Command(msgspec.Struct, frozen=True, array_like=True):
    """Write ``value`` to a key; with ``expect``, only if that is its value now."""

    id: int
    key: int
    value: int
    expect: int | None = None
    padding: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Command).decode


def encode(command: Command) -> bytes:
    """Spell a command."""
    return _encode(command)


class _State(msgspec.Struct):
    values: dict[int, int]
    ids: list[int]
    chain: int


class Machine:
    """Registers by key."""

    def __init__(
        self, applied: Callable[[int, int, int, bool], None], counts: Counter[str]
    ) -> None:
        self._counts = counts
        self.values: dict[int, int] = {}
        self.ids: set[int] = set()
        self.chain = 0
        self._applied = applied

    def apply(self, index: int, data: bytes) -> int:
        """Apply one command; return the value before."""
        command = _decode(data)
        again = command.id in self.ids
        self.ids.add(command.id)
        self.chain = zlib.crc32(data, zlib.crc32(index.to_bytes(8, "big"), self.chain))
        before = self.values.get(command.key, ABSENT)
        if command.expect is None or command.expect == before:
            self.values[command.key] = command.value
        self._applied(index, command.id, self.chain, again)
        return before

    def snapshot(self) -> Iterable[bytes]:
        """Freeze now, spell later."""
        self._counts["(snapshot taken)"] += 1
        state = _State(dict(self.values), sorted(self.ids), self.chain)
        return self._chunks(state)

    @staticmethod
    def _chunks(state: _State) -> Iterator[bytes]:
        data = msgspec.msgpack.encode(state)
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Take the state of a snapshot."""
        self._counts["(snapshot restored or installed)"] += 1
        state = msgspec.msgpack.decode(b"".join(chunks), type=_State)
        self.values, self.ids, self.chain = state.values, set(state.ids), state.chain


class LoadingMachine(Machine):
    """The same, restored off the loop."""

    def load(self, chunks: Iterator[bytes]) -> Callable[[], None]:
        """Read now, swap in when called."""
        data = b"".join(chunks)
        return lambda: self.restore(iter((data,)))
