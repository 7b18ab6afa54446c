"""The clock of a real member: seconds that go on while the machine sleeps.

Given to ``Raft`` by the runtime. A lease rests on time that has passed everywhere; the event loop's
own clock (CLOCK_MONOTONIC) stands still while a machine is suspended, so a leader that wakes up
would still believe in the lease that it fell asleep with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


class BootClock:
    """Plays ``seam.Clock`` on the running event loop, with the time since the machine's boot."""

    def time(self) -> float:
        """Return the seconds since boot, those in suspension included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any
    ) -> asyncio.TimerHandle:
        """Call back once, ``delay`` waking seconds from now."""
        return asyncio.get_running_loop().call_later(delay, callback, *args)

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        """Call back once, after what is running now."""
        return asyncio.get_running_loop().call_soon(callback, *args)
