"""What a leader knows about one follower's replication: how much is under way, in which state.

Pure bookkeeping for the engine: bounded pipelining while all goes well, one message at a time while
the place where the logs agree is being looked for, none while a snapshot travels.
"""

from __future__ import annotations

from collections import deque


class Progress:
    """Flow control towards one follower."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._inflight: deque[tuple[int, int]] = deque()
        self._inflight_bytes = 0
        self.probing = True
        self.snapshot = False
        self.commit_sent = 0
        self.acked_round = 0
        self._goal: tuple[int, float] | None = None

    def has_room(self) -> bool:
        """Say whether another batch may be sent."""
        if self.snapshot:
            return False
        if self.probing:
            return not self._inflight
        return len(self._inflight) < self._messages_max and self._inflight_bytes < self._bytes_max

    def sent(self, last_index: int, size: int) -> None:
        """Note a batch that ends with an index."""
        self._inflight.append((last_index, size))
        self._inflight_bytes += size

    def acknowledged(self, match: int) -> None:
        """Pipeline: the follower has all up to ``match``."""
        self.probing = False
        while self._inflight and self._inflight[0][0] <= match:
            self._inflight_bytes -= self._inflight.popleft()[1]

    def keeps_pace(self, match: int, last: int, now: float, within_s: float) -> bool:
        """Say whether the follower has just taken, within a bound, all that the log then held.

        The rounds of Raft's thesis, 4.2.1: under load nobody ever has the whole log.
        """
        if self._goal is not None and match < self._goal[0]:
            return False
        before, self._goal = self._goal, (last, now)
        return before is not None and now - before[1] <= within_s

    def probe(self) -> None:
        """Something was lost or differs: go step by step from here."""
        self.probing = True
        self._inflight.clear()
        self._inflight_bytes = 0
