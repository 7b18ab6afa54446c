"""The apply lock as data: who holds it, since when and why, and whether it stops anybody else.

Written and read by ``lease``; pure. Times are Unix seconds by the clock of where the lock is kept
(the managers', or the first manager's host), so that operators' clocks may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from swarmops.errors import SwarmopsError

LOCK_LABEL = "swarmops.lock"
"""Label of the swarm's spec; empty: nobody has it (Docker keeps a label that was once set)."""
FREED_LABEL = "swarmops.lock.freed"
TTL_S = 30.0
"""A lock that was not renewed for this long may be taken over."""


class LockedError(SwarmopsError):
    """Somebody else changes the swarm now; the text says who, since when, why and what to do."""

    exit_code = 4


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """One run's hold on a swarm. ``process`` finds the run on the machine where it is."""

    id: str
    owner: str
    reason: str
    since_s: float
    renewed_s: float
    ttl_s: float = TTL_S
    process: str = ""


class Freed(msgspec.Struct, frozen=True, kw_only=True):
    """That a person took the lock from its holder: who, why, when, and whose lock it was."""

    owner: str
    reason: str
    at_s: float
    lock_id: str


def encode(lock: Lock | None) -> str:
    """Return the text that is kept; empty for none."""
    return "" if lock is None else msgspec.json.encode(lock).decode()


def decode(text: str) -> Lock | None:
    """Read what is kept. What is not understood is a lock that never ends: a newer swarmops'."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=Lock)
    except msgspec.MsgspecError:
        return Lock(id="", owner="another release of swarmops", reason="", since_s=0, renewed_s=0)


def decode_freed(labels: Mapping[str, str]) -> Freed | None:
    """Return who freed the lock last, None if nobody did or it is not understood."""
    try:
        return msgspec.json.decode(labels.get(FREED_LABEL, ""), type=Freed)
    except msgspec.MsgspecError:
        return None


def blocks(lock: Lock | None, own_id: str, now_s: float, is_gone: Callable[[str], bool]) -> bool:
    """Say whether a lock keeps the run ``own_id`` from going on.

    ``is_gone(process)``: that process is known to have ended, on this very machine.
    """
    if lock is None or lock.id == own_id:
        return False
    if not lock.id:
        return True
    return now_s - lock.renewed_s < lock.ttl_s and not is_gone(lock.process)


def locked_error(lock: Lock, now_s: float) -> LockedError:
    """Return the error that tells of the lock and of the ways out."""
    if not lock.id:
        return LockedError(
            f"the swarm is locked by {lock.owner}, whose lock this one can't read: use that"
            " release, or free it with 'swarmops unlock-apply --reason WHY'"
        )
    since = datetime.fromtimestamp(lock.since_s, UTC)
    return LockedError(
        f"the swarm is locked by {lock.owner} since {since:%Y-%m-%d %H:%M:%S} UTC"
        f" ({_ago(now_s - lock.since_s)}): {lock.reason}: try again when that is done; if it was"
        f" cut off, its lock ends {lock.ttl_s:.0f} s after the last sign of life"
        f" ({_ago(now_s - lock.renewed_s)}), or at once with"
        " 'swarmops unlock-apply --reason WHY'"
    )


def _ago(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:  # noqa: PLR2004 - two minutes
        return f"{whole} s ago"
    minutes = whole // 60
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"  # noqa: PLR2004 - two hours
