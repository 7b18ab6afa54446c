"""Turns: only so many at a time do what keeps processors busy.

Used by the container executors. More starts at once than there are processors only get into each
other's way: each needs more processor time then, and all of them are there later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """``most`` at a time, first come, first served; a turn is over after ``within_s`` seconds.

    What goes on for longer than that is waiting for something, and makes way for the next.
    """

    def __init__(self, most: int, within_s: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._within_s = within_s

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs."""
        await self._free.acquire()
        held = True

        def end() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._within_s, end)
        try:
            yield
        finally:
            timer.cancel()
            end()
