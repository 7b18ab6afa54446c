"""A load on a raft member, and what came of it: so many commands in flight, all of the time.

Used by the member processes (``raft_member``, ``raft_stock``); the same numbers for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

Numbers = dict[str, float]
now_s = time.perf_counter


class Count:
    """Commands answered since the warm-up, and how long each took."""

    def __init__(self, warm_up_s: float, length_s: float) -> None:
        self.begins_s = now_s() + warm_up_s
        self.ends_s = self.begins_s + length_s
        self._took_s: list[float] = []
        self.failed = 0

    def is_over(self) -> bool:
        """Say whether no more shall be sent."""
        return now_s() >= self.ends_s

    def answered(self, sent_s: float) -> None:
        """Note an answer; those after the end or to what was sent in the warm-up don't count."""
        at_s = now_s()
        if sent_s >= self.begins_s and at_s <= self.ends_s:
            self._took_s.append(at_s - sent_s)

    def numbers(self) -> Numbers:
        """Return the rate and the times that half, and 99 of 100, took at most."""
        took = sorted(self._took_s) or [float("nan")]
        return {
            "rate": len(self._took_s) / (self.ends_s - self.begins_s),
            "p50_ms": 1000 * took[len(took) // 2],
            "p99_ms": 1000 * took[len(took) * 99 // 100],
            "max_ms": 1000 * took[-1],
            "failed": self.failed,
        }


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
