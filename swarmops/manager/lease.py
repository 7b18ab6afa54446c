"""How long a manager may serve agents without a leader: it may be cut off from the quorum.

Kept by the dispatcher, which sends its agents away once the lease is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from swarmops.manager.absences import heartbeat_period_s
from swarmops.manager.group import RaftGroup
from swarmops.manager.timing import ManagerTiming, until_beat_s
from swarmops.model.defaults import HEARTBEAT_PERIOD_S
from swarmops.store import Store

LATER_PER_PERIOD, LATER_S_MAX = 2.0, 8.0
"""Agents wait so much longer for a manager that they dial, where heartbeats are rarer."""


class Lease:
    """Follows whether there is a leader, by the event loop's clock."""

    def __init__(
        self,
        store: Store,
        raft: RaftGroup,
        timing: ManagerTiming,
        *,
        on_outage: Callable[[], None],
        on_over: Callable[[], Awaitable[None]],
    ) -> None:
        """``on_outage``: there is a leader again, after long; ``on_over``: the lease is over."""
        self._store = store
        self._raft = raft
        self._timing = timing
        self._on_outage = on_outage
        self._on_over = on_over
        self._leaderless_s: float | None = None
        self.settled_s = 0.0
        """Until this time agents may still be on their way back."""

    def begin(self) -> None:
        """Begin as one that doesn't know a leader yet."""
        self._leaderless_s = _clock_s()
        self.settled_s = _clock_s() + self._rejoin_s()

    @property
    def has_leader(self) -> bool:
        """Whether there was a leader when this was last looked at."""
        return self._leaderless_s is None

    @property
    def over(self) -> bool:
        """Whether there has been no leader for so long that agents are better off elsewhere."""
        since_s = self._leaderless_s
        return since_s is not None and _clock_s() - since_s > self._length_s()

    def _length_s(self) -> float:
        """Return how long it is: no less than the heartbeats' period.

        The more agents there are, the more it costs to send them away and to take them back.
        """
        return max(self._timing.lease_s, self._period_s())

    def _rejoin_s(self) -> float:
        later_s = LATER_PER_PERIOD * max(self._period_s() - HEARTBEAT_PERIOD_S, 0.0)
        return self._timing.rejoin_grace_s + min(later_s, LATER_S_MAX)

    def _period_s(self) -> float:
        return heartbeat_period_s(self._store.cluster, len(self._store.nodes))

    async def follow(self) -> None:
        """Notice when there is no leader, and when the lease is over; until cancelled."""
        while True:
            now_s = _clock_s()
            if self._raft.status().leader is not None:
                if self._leaderless_s is not None:
                    self._found_leader(now_s - self._leaderless_s, now_s)
            elif self._leaderless_s is None:
                self._leaderless_s = now_s
            elif self.over:
                await self._on_over()
            await asyncio.sleep(until_beat_s(self._timing.sweep_s, _clock_s()))

    def _found_leader(self, outage_s: float, now_s: float) -> None:
        self._leaderless_s = None
        if outage_s > self._timing.outage_s:
            self.settled_s = now_s + self._rejoin_s()
            self._on_outage()


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
