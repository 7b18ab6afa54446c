"""Python's garbage collector, so that it never has much to look at.

Used by ``node``. A pass over all objects takes as long as there are objects: a tenth of a second
with the sessions of a thousand agents, in which Raft's timers are late. But what has lived for a
moment lives for long here: sessions, connections, tables. So whenever a few thousand objects have
grown old, they alone are looked at, and then set aside, where no pass looks at them again. Nearly
all of them are freed without the collector once nobody refers to them; the few that refer to each
other are found by a pass over everything, which is rare: it takes a millionth of the time.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

OLD_PASSES = 1
"""Passes over the middle generation, of some 7,000 objects each, until what is old is looked at."""
_YOUNG_OBJECTS, _YOUNG_PASSES = 700, 10  # Python's own
_NEVER = 2**31 - 1
_MIDDLE = 1
_TIMES_ITS_COST = 1_000_000
_ASSUMED_COST_S = 0.02


class Collector:
    """Sets the collector of this process; one for each."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._passes = 0
        self._everything_due_s = clock_s() + _TIMES_ITS_COST * _ASSUMED_COST_S

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set aside what lives now, and look at the rest in turns of this event loop."""
        self._loop = loop
        gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_PASSES, _NEVER)
        gc.freeze()
        gc.callbacks.append(self._passed)

    def end(self) -> None:
        """Leave it to Python again."""
        gc.callbacks.remove(self._passed)
        gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_PASSES, _YOUNG_PASSES)
        gc.unfreeze()

    def _passed(self, phase: str, info: dict[str, Any]) -> None:
        """Count passes; called by Python on whatever thread has made too many objects."""
        if phase != "stop" or info["generation"] != _MIDDLE or self._loop is None:
            return
        self._passes += 1
        if self._passes == OLD_PASSES and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.look)

    def look(self) -> None:
        """Free what is garbage among the old objects, and set the others aside."""
        began_s = self._clock_s()
        everything = began_s >= self._everything_due_s
        if everything:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._passes = 0
        if everything:
            now_s = self._clock_s()
            self._everything_due_s = now_s + _TIMES_ITS_COST * (now_s - began_s)
