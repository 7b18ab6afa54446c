"""A pace for what thousands of sessions want to do at the same moment: a few in each turn.

Changes reach many sessions at once, and each costs a fraction of a millisecond to tell. One after
the other without a pause they would hold the event loop for a second; so whoever tells asks here
first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import TypeVar

PER_TURN = 10
LOOKED_PER_TURN = 500
"""So many sessions or tasks are looked at, or marked, in a turn: microseconds each."""

T = TypeVar("T")


async def by_turns(items: Collection[T], per_turn: int = LOOKED_PER_TURN) -> AsyncIterator[T]:
    """Iterate over the items as they are now, and let others have their turn after some of them."""
    for place, item in enumerate(list(items), start=1):
        yield item
        if place % per_turn == 0:
            await asyncio.sleep(0)


class Pace:
    """Lets so many callers go on in each turn of the event loop, the first of them first."""

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = per_turn
        self._passed = 0
        """How many went on in this turn."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Return at once, or when this caller's turn has come."""
        if self._passed < self._per_turn and not self._waiting:
            self._pass()
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        await mine

    def _pass(self) -> None:
        if not self._passed:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._passed += 1

    def _next_turn(self) -> None:
        self._passed = 0
        while self._waiting and self._passed < self._per_turn:
            mine = self._waiting.popleft()
            if not mine.done():  # its caller may have been cancelled
                mine.set_result(None)
                self._pass()
