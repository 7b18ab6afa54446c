"""When a member ticks: soon after something happened, and when something is due.

Made by ``run``, which says what a tick is and how long it can wait. Knows nothing but the clock.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmops.raft.seam import Clock, Handle


class Ticker:
    """Calls ``tick`` once soon after any number of kicks, and ``when_due`` when time has come.

    ``pause_s`` is asked, with the time, how long nothing will be due.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        tick: Callable[[], None],
        when_due: Callable[[], None],
        pause_s: Callable[[float], float],
    ) -> None:
        self._clock = clock
        self._tick = tick
        self._when_due = when_due
        self._pause_s = pause_s
        self._kicked = False
        self._stopped = False
        self._timer: Handle | None = None
        self._timer_at = 0.0

    def kick(self) -> None:
        """Tick once soon, however often this is called before."""
        if not self._kicked and not self._stopped:
            self._kicked = True
            self._clock.call_soon(self.run)

    def run(self) -> None:
        """Tick now."""
        self._kicked = False
        self._tick()

    def beat(self) -> None:
        """Do what is due, and come again."""
        if self._stopped:
            return
        self._timer = None
        try:
            self._when_due()
        finally:
            if self._timer is None:  # a tick has armed it
                self.arm()

    def arm(self) -> None:
        """Come again when something is due, if that is before the time already set."""
        if self._stopped:
            return
        now = self._clock.time()
        pause_s = self._pause_s(now)
        if self._timer is not None:
            if self._timer_at <= now + pause_s:
                return
            self._timer.cancel()
            self._timer = None
        self._timer_at = now + pause_s
        self._timer = self._clock.call_later(pause_s, self.beat)

    def stop(self) -> None:
        """Never tick again."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
