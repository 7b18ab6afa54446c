"""What a manager knows of itself in numbers: the source of ``/metrics``."""

from __future__ import annotations

import msgspec


class LoopFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One control loop's work since the manager part started, over all terms of leadership."""

    runs: bool
    """Whether it runs here now."""
    steps: int = 0
    step_s: float = 0.0
    """How long its steps took, all together; writing what they decided not included."""
    changes: int = 0
    """What they decided to write: for the scheduler, nodes given and reasons to wait told."""


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
    loops: dict[str, LoopFigures]
    sessions: int
    """Agents whose session is here."""
    log_streams: int
    events: int
    """Events told since the manager part started."""
