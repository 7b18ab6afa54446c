"""Waiting for a condition on a clock that may be virtual: used by the seam's coroutines.

Conditions are looked at after each tick; a wait ends with True, or with False at its bound. One
that raises ends its own wait with that, and harms no other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from swarmops.raft.seam import Clock


class Waiters:
    """Conditions that somebody waits for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[asyncio.Future[bool], Callable[[], bool]] = {}

    async def until(
        self,
        condition: Callable[[], bool],
        timeout_s: float,
        answer: asyncio.Future[bool] | None = None,
    ) -> bool:
        """Wait until the condition holds, at most ``timeout_s``; say whether it does.

        Who has what ``answer`` waits for sets it: nobody's condition is looked at for that.
        """
        if condition():
            return True
        if timeout_s <= 0:
            return False
        future = answer or asyncio.get_running_loop().create_future()
        self._waiting[future] = condition
        timer = self._clock.call_later(timeout_s, self._answer, future, False)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.pop(future, None)

    async def pause(self, delay_s: float) -> None:
        """Let time pass."""
        await self.until(lambda: False, delay_s)

    def any_waiting(self) -> bool:
        """Say whether anybody waits."""
        return bool(self._waiting)

    def look(self) -> None:
        """Look at every condition; called after each tick."""
        if self._waiting:
            for future, condition in list(self._waiting.items()):
                try:
                    holds = condition()
                except Exception as error:  # noqa: BLE001 - whatever it is, it is who waits's
                    if not future.done():
                        future.set_exception(error)
                    continue
                if holds:
                    self._answer(future, True)

    def _answer(self, future: asyncio.Future[bool], holds: bool) -> None:  # noqa: FBT001 - a callback
        if not future.done():
            future.set_result(holds)
