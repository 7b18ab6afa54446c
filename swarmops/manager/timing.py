"""Every period and bound of the manager, in seconds.

Tests, and operators of odd networks, change them.
"""

from __future__ import annotations

import msgspec


class ManagerTiming(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults suit a LAN; ``swarmops.model.defaults`` has what the swarm's users may set."""

    debounce_s: float = 0.005
    """A control loop waits so long after a change, so that one step sees what came together."""
    retry_s: float = 0.1
    """After a write that failed for want of a leader, a loop tries again so much later."""
    restart_min_s: float = 0.1
    restart_max_s: float = 5.0
    """A loop that raised is started again after a pause that doubles between these bounds."""
    sweep_s: float = 0.25
    """How often silent nodes are looked for, and the group is compared with the nodes."""
    joining_s: float = 0.05
    """The same, while a manager has joined the group and can't vote yet: that is soon over."""
    rejoin_grace_s: float = 10.0
    """After this manager was without a leader, nodes get so long to come back: more than an
    agent's longest pause between two attempts (8 s)."""
    outage_s: float = 3.0
    """Without a leader for longer than this, agents may be in their long pauses."""
    lease_s: float = 1.0
    """Without a leader for longer than this, a manager sends its agents to another one."""
    hello_s: float = 5.0
    """An agent that connects must say Hello within this time."""
    assignments_s: float = 0.005
    """Assignments that change together go out in one frame."""
    statuses_s: float = 0.005
    """Statuses that come together are written in one entry."""
    demote_retry_s: float = 1.0
    """A demotion that would cost the quorum is tried again so much later."""
    orphan_s: float = 24 * 3600.0
    """The tasks of a node that is DOWN for so long are given up for lost."""


def until_beat_s(period_s: float, now_s: float) -> float:
    """Return the seconds until the next multiple of a period.

    Who looks at something regularly sleeps so long: all of them wake the process together, once.
    """
    pause_s = period_s - now_s % period_s
    return pause_s if pause_s > period_s / 10 else pause_s + period_s
