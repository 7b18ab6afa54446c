"""What an entry holds: its first byte is the kind (the engine's numbers), the rest ours.

A regular command carries the request it belongs to, so that applying it twice can be avoided.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

REGULAR, NO_OP, MEMBERSHIP = 0, 1, 2
_REQUEST = struct.Struct(">BQQQ")
HEADER_BYTES = _REQUEST.size


class Request(NamedTuple):
    """One run of a proposer, the request's number in it, and below which number all is done."""

    session: int
    number: int
    floor: int


def regular(session: int, number: int, floor: int, data: bytes) -> bytes:
    """Spell a regular command."""
    return _REQUEST.pack(REGULAR, session, number, floor) + data


def request(command: bytes) -> Request:
    """Read whose request a regular command is; its data follow after HEADER_BYTES."""
    _, session, number, floor = _REQUEST.unpack_from(command)
    return Request(session, number, floor)


def membership(configuration: bytes) -> bytes:
    """Spell a membership command."""
    return bytes((MEMBERSHIP,)) + configuration
