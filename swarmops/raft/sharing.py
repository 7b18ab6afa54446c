"""One answer for everybody who came before it was asked for: reads that share a question.

Used by ``requests``, for questions to the leader and for a leader's rounds of heartbeats. Who comes
while one is under way never gets its answer, which may be older than what that caller must see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from swarmops.raft.seam import Clock, Handle


class Shared:
    """A question that is asked once for all who wait to ask it; its answer is a number, 0 is none.

    Those who come while one is under way share the next, which is asked when that one has ended, or
    after ``hold_s``: one that is lost holds nobody up for long.
    """

    def __init__(
        self, clock: Clock, ask: Callable[[float], Coroutine[Any, Any, int]], hold_s: float
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._hold_s = hold_s
        self._next: dict[asyncio.Future[int], float] = {}
        self._tasks: set[asyncio.Task[int]] = set()
        self._held: Handle | None = None
        self._newest: asyncio.Task[int] | None = None

    async def answer(self, timeout_s: float) -> int:
        """Return the answer to a question that is asked from now on; 0 at the bound."""
        mine: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(timeout_s, _tell, [mine], 0)
        self._next[mine] = timeout_s
        if self._newest is None:
            self._begin()
        try:
            return await mine
        finally:
            timer.cancel()
            self._next.pop(mine, None)

    def _begin(self) -> None:
        """Ask for all who wait; whoever comes from here on waits for the next."""
        askers, self._next = self._next, {}
        task = asyncio.get_running_loop().create_task(self._ask(max(askers.values())))
        self._newest = task
        self._tasks.add(task)
        self._held = self._clock.call_later(self._hold_s, self._release, task)
        task.add_done_callback(lambda ended: self._ended(ended, askers))

    def _ended(self, task: asyncio.Task[int], askers: Iterable[asyncio.Future[int]]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            _tell(askers, 0)
        elif error := task.exception():
            for asker in askers:
                if not asker.done():
                    asker.set_exception(error)
        else:
            _tell(askers, task.result())
        self._release(task)

    def _release(self, task: asyncio.Task[int]) -> None:
        """Let the next be asked, if this is the one that it waited for."""
        if task is not self._newest:
            return
        self._newest = None
        if self._held is not None:
            self._held.cancel()
        if self._next:
            self._begin()

    def close(self) -> None:
        """Ask no more: tell all who wait that there is no answer."""
        _tell(self._next, 0)
        self._next = {}
        for task in self._tasks:
            task.cancel()


def _tell(askers: Iterable[asyncio.Future[int]], answer: int) -> None:
    for asker in askers:
        if not asker.done():
            asker.set_result(answer)
