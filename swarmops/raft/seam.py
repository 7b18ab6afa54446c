"""What the rest of swarmops sees of consensus: the shapes, and what a caller must bring.

Plain data and protocols only. The store implements ``StateMachine``, the runtime brings the
transport, tests and the simulation bring their own clock, disk and network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

COMMAND_BYTES_MAX = 1_572_864
"""1.5 MiB: the largest command that may be proposed, SwarmKit's limit."""


class Member(msgspec.Struct, frozen=True):
    """One manager in the group: a raft id is random and never used again; addr is ``ip:port``."""

    raft_id: str
    node_id: str
    addr: str


class StateMachine(Protocol):
    """What the log is applied to. All three methods are called on the event loop's thread."""

    def apply(self, index: int, data: bytes) -> object:
        """Apply one command, deterministically; the result goes to the local proposer.

        What it raises goes there too and harms nothing else; but ``errors.CannotApply``, which says
        that this member can't go on, stops it before it is another than the others.
        """

    def snapshot(self) -> Iterable[bytes]:
        """Freeze the state now (copy shallowly) and return its chunks, each at most 1 MiB.

        The chunks are drawn later, on another thread, while ``apply`` goes on: the returned
        iterable must not look at anything that ``apply`` changes.
        """

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the whole state by what ``snapshot`` gave, in the same order.

        A state machine that also has ``load(chunks) -> commit`` is not blocked on: ``load`` runs
        on another thread and touches nothing live; ``commit()`` swaps the state in, on the loop.
        """


class Handle(Protocol):
    """What ``Clock.call_later`` returns."""

    def cancel(self) -> None:
        """Make the call not happen."""


class Clock(Protocol):
    """The part of an asyncio event loop that is time; seconds, monotonic."""

    def time(self) -> float:
        """Return the time now."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Call back once, ``delay`` seconds from now."""

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> Handle:
        """Call back once, after what is running now."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Every period and bound; seconds, entries or bytes as the name says."""

    heartbeat_s: float = 0.1
    election_min_s: float = 0.5
    election_max_s: float = 1.0
    read_lease_s: float = 0.4
    """Below election_min_s by the drift that clocks may have: no other leader can exist in it."""
    step_down_s: float = 1.0
    """A leader that heard no majority for so long is none any more."""
    snapshot_entries: int = 10_000
    snapshot_log_bytes: int = 64 * 1024 * 1024
    trailing_entries: int = 500
    segment_bytes: int = 16 * 1024 * 1024
    apply_slice_s: float = 0.005
    batch_bytes: int = 1024 * 1024
    inflight_messages: int = 64
    inflight_bytes: int = 8 * 1024 * 1024
    pending_bytes: int = 64 * 1024 * 1024
    """What one member may have proposed and not yet seen applied; more waits."""
    retry_s: float = 1.0
    """An unanswered proposal is sent again after so long, under the same request id."""
    disk_retry_s: float = 1.0
    disk_stall_s: float = 5.0
    """A leader whose disk has been at one write for so long hands over: it can commit nothing."""
    lagging_entries: int = 100_000
    lagging_bytes: int = 64 * 1024 * 1024
    """Up to so many the log keeps for followers that answer and are behind."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A member's view of its group at one moment."""

    raft_id: str
    leader: str | None
    """raft id of the leader, as far as known here."""
    is_leader: bool
    """Leader within its lease, its own log fully applied, and no successor told to stand."""
    term: int
    commit_index: int
    applied_index: int
    voters: tuple[Member, ...]
    """The committed configuration's, as far as applied here; so are learners and removed."""
    learners: tuple[Member, ...]
    removed: frozenset[str]
    reachable: frozenset[str]
    """raft ids that answered within the lease (leader) or are connected (others); self included."""
    disk_error: str | None
    """Why the disk refuses writes, or None."""
    failure: str | None = None
    """Why this member takes no part any more until it is started again, or None."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Voters, then learners."""
        return self.voters + self.learners
