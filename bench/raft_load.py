"""A load on a raft member, and what came of it: so many commands in flight, all of the time.

Used by the member processes (``raft_member``, ``raft_stock``); the same numbers for both.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable

Numbers = dict[str, float]
now_s = time.perf_counter


_BIN_S = 0.00001
_BINS = 500_000


class Count:
    """Commands answered since the warm-up, and how long each took, to 10 µs and up to 5 s.

    Counted in bins: this runs in a member's event loop, which millions of numbers to be sorted at
    the end would hold for seconds, long enough to cost it the leadership.
    """

    def __init__(self, warm_up_s: float, length_s: float) -> None:
        self.begins_s = now_s() + warm_up_s
        self.ends_s = self.begins_s + length_s
        self._bins = array("L", bytes(array("L").itemsize * _BINS))
        self._answered = 0
        self._longest_s = 0.0
        self.failed = 0

    def is_over(self) -> bool:
        """Say whether no more shall be sent."""
        return now_s() >= self.ends_s

    def answered(self, sent_s: float) -> None:
        """Note an answer; those after the end or to what was sent in the warm-up don't count."""
        at_s = now_s()
        if sent_s >= self.begins_s and at_s <= self.ends_s:
            took_s = at_s - sent_s
            self._bins[min(int(took_s / _BIN_S), _BINS - 1)] += 1
            self._answered += 1
            self._longest_s = max(self._longest_s, took_s)

    def numbers(self) -> Numbers:
        """Return the rate and the times that half, and 99 of 100, took at most."""
        return {
            "rate": self._answered / (self.ends_s - self.begins_s),
            "p50_ms": 1000 * self._part_took_s(0.5),
            "p99_ms": 1000 * self._part_took_s(0.99),
            "max_ms": 1000 * self._longest_s,
            "failed": self.failed,
        }

    def _part_took_s(self, part: float) -> float:
        """Return what this part of the answers took at most; NaN if there were none."""
        so_far = 0
        for number, count in enumerate(self._bins):
            so_far += count
            if so_far > part * self._answered:
                return number * _BIN_S
        return float("nan")


async def load(propose: Callable[[bytes], Awaitable[object]], order: Numbers) -> Numbers:
    """Keep so many proposals in flight; ``order`` has in_flight, bytes, warm_up_s, length_s."""
    count = Count(order["warm_up_s"], order["length_s"])
    command = bytes(int(order["bytes"]))

    async def one_after_the_other() -> None:
        while not count.is_over():
            sent_s = now_s()
            try:
                await propose(command)
            except Exception:  # noqa: BLE001 - whatever it is, it is a failure in the table
                count.failed += 1
                await asyncio.sleep(0.01)
            else:
                count.answered(sent_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(int(order["in_flight"])):
            group.create_task(one_after_the_other())
    return count.numbers()
