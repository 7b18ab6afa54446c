"""What a manager knows of itself in numbers: the source of ``/metrics``."""

from __future__ import annotations

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One manager at one moment."""

    leads: bool
    leader_known: bool
    disk_refuses: bool
    """Whether the disk refuses Raft's writes, so that this manager neither leads nor votes."""
    term: int
    commit_index: int
    applied_index: int
    voters: int
    learners: int
    reachable: int
    """Members that answer, as far as this one knows; itself included."""
    loops: dict[str, bool]
    """Each control loop, and whether it runs here now."""
    sessions: int
    """Agents whose session is here."""
    log_streams: int
    events: int
    """Events told since the manager part started."""
