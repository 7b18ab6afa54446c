"""Which requests were applied already, so that one that was sent twice is applied once.

Part of the replicated state: every member fills it in log order and carries it in snapshots, so
all decide alike. A session is one run of one proposer; its requests are numbered. Each request
also says below which number its proposer waits for nothing any more, which bounds the memory.
"""

from __future__ import annotations

import msgspec

SESSIONS_MAX = 256
"""The least recently used session goes first; a live one is never that old."""


Run = tuple[int, int]
"""The first and the last of numbers that follow each other."""


class Session(msgspec.Struct):
    """All below ``floor`` is done; above it, ``done`` names what was applied."""

    floor: int
    done: set[int]
    used_index: int


class Sessions:
    """The table; ``first_time`` is called for each applied command, in log order."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}

    def first_time(self, index: int, session_id: int, number: int, floor: int) -> bool:
        """Record a request and say whether it was not applied before."""
        session = self._sessions.get(session_id)
        if session is None:
            self._make_room()
            session = self._sessions[session_id] = Session(floor, set(), index)
        session.used_index = index
        fresh = number >= session.floor and number not in session.done
        if fresh:
            session.done.add(number)
        if floor > session.floor:
            session.floor = floor
            session.done = {done for done in session.done if done >= floor}
        return fresh

    def was_applied(self, session_id: int, number: int) -> bool:
        """Say whether a request of a session is recorded."""
        session = self._sessions.get(session_id)
        return session is not None and (number < session.floor or number in session.done)

    def _make_room(self) -> None:
        if len(self._sessions) >= SESSIONS_MAX:
            oldest = min(self._sessions, key=lambda key: (self._sessions[key].used_index, key))
            del self._sessions[oldest]

    def dump(self) -> bytes:
        """Spell the table for a snapshot."""
        table = {
            key: (value.floor, _runs(value.done), value.used_index)
            for key, value in sorted(self._sessions.items())
        }
        return msgspec.msgpack.encode(table)

    def load(self, data: bytes) -> None:
        """Replace the table by what ``dump`` wrote; raises msgspec.DecodeError."""
        table = msgspec.msgpack.decode(data, type=dict[int, tuple[int, list[Run], int]])
        self._sessions = {
            key: Session(floor, {n for first, last in runs for n in range(first, last + 1)}, used)
            for key, (floor, runs, used) in table.items()
        }


def _runs(numbers: set[int]) -> list[Run]:
    """Spell numbers as runs: what was in flight when a proposer died stands here for long.

    Number by number, a few that died under load would make a table that no frame can carry.
    """
    runs: list[Run] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
