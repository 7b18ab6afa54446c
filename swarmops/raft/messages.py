"""The closed set of messages between members, and their encoding; nothing else is understood.

Built by the engine and the seam, carried by the transport. A frame that is none of these, or has
a wrong type inside, is refused by msgspec before anyone looks at it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from swarmops.raft.seam import COMMAND_BYTES_MAX, Member

PROTOCOL = 1
FRAME_BYTES_MAX = 4 * 1024 * 1024

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Command = Annotated[bytes, msgspec.Meta(max_length=COMMAND_BYTES_MAX)]
"""What a member asks the leader to propose: larger, and no frame could carry it on."""
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Entry = tuple[int, bytes]
"""(term, command); its index follows from its place in the message."""


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base: arrays on the wire, tagged with a short name, immutable."""


class Hello(_Message, frozen=True, tag="hello"):
    """First frame of a connection: who dials, from where, and whom it means to reach."""

    protocol: int
    sender: str
    receiver: str
    addr: str = ""


class Append(_Message, frozen=True, tag="append"):
    """Leader → follower. ``prev_index`` 0 says nothing about the log: a heartbeat alone."""

    term: int
    round: int
    prev_index: int
    prev_term: int
    commit: int
    entries: list[Entry]


class AppendAck(_Message, frozen=True, tag="append-ack"):
    """Follower → leader: all up to ``match`` is the leader's, and durable here.

    ``ok`` false: the entry before was missing or another; try again from ``hint``.
    """

    term: int
    round: int
    ok: bool
    match: int
    hint: int


class Vote(_Message, frozen=True, tag="vote"):
    """Candidate → voter. ``pre``: would you vote for me? ``force``: the leader asked me to."""

    term: int
    last_index: int
    last_term: int
    pre: bool
    force: bool


class VoteReply(_Message, frozen=True, tag="vote-reply"):
    """Voter → candidate; a refusal carries the voter's own term."""

    term: int
    pre: bool
    granted: bool


class TimeoutNow(_Message, frozen=True, tag="timeout-now"):
    """Leader → its chosen successor: stand for election at once."""

    term: int


class SnapshotChunk(_Message, frozen=True, tag="snapshot"):
    """Leader → follower: chunk ``number`` of the snapshot at ``index``; ``last`` has no data."""

    term: int
    round: int
    index: int
    index_term: int
    number: int
    last: bool
    meta: bytes
    data: bytes


class SnapshotAck(_Message, frozen=True, tag="snapshot-ack"):
    """Follower → leader: chunk ``next_number`` is wanted; ``done``: installed, or not needed."""

    term: int
    round: int
    index: int
    next_number: int
    done: bool


class Forward(_Message, frozen=True, tag="forward"):
    """Follower → leader: propose these for me, ``(number, command)`` each."""

    session: Number
    floor: Number
    items: list[tuple[Number, Command]]


class ForwardRefused(_Message, frozen=True, tag="forward-refused"):
    """Asked member → proposer: I don't lead, ask another."""

    numbers: list[int]


class ReadIndex(_Message, frozen=True, tag="read"):
    """Follower → leader: asks what it must have applied for a read to be current."""

    request: int


class ReadIndexReply(_Message, frozen=True, tag="read-reply"):
    """Leader → follower; index 0: I can't tell, ask again."""

    request: int
    index: int


class Admin(_Message, frozen=True, tag="admin"):
    """Any member → leader: change the membership, or hand over the leadership."""

    request: int
    action: str
    member: Member | None
    raft_id: str
    bound_s: Seconds


class AdminReply(_Message, frozen=True, tag="admin-reply"):
    """Leader → asker: ``error`` names the refusal ("" is done, "retry" ask again)."""

    request: int
    error: str
    text: str


class Removed(_Message, frozen=True, tag="removed"):
    """Member → removed member: the group has committed your removal."""

    raft_id: str


Message = (
    Append
    | AppendAck
    | Vote
    | VoteReply
    | TimeoutNow
    | SnapshotChunk
    | SnapshotAck
    | Forward
    | ForwardRefused
    | ReadIndex
    | ReadIndexReply
    | Admin
    | AdminReply
    | Removed
)
Frame = Hello | Message
CONSENSUS = (Append, AppendAck, Vote, VoteReply, TimeoutNow, SnapshotChunk, SnapshotAck)
"""What the engine takes; the most frequent first."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """Spell a frame's body."""
    return _encoder.encode(frame)


def decode(body: bytes) -> Frame:
    """Read a frame's body; raises msgspec.DecodeError for whatever is not of the closed set."""
    frame: Frame = _decoder.decode(body)
    return frame
