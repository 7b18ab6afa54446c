"""The clock of a real member: seconds that go on while the machine sleeps.

Given to ``Raft`` by the runtime. A lease rests on time that has passed everywhere; the event loop's
own clock (CLOCK_MONOTONIC) stands still while a machine is suspended, so a leader that wakes up
would still believe in the lease that it fell asleep with.

Its timers are the kernel's, on the same clock (timerfd_create(2)): one that came due in suspension
is due at once after it. And the event loop needn't time its waits for them: it would arm and disarm
a timer of the processor's with each message that comes, which on a virtual machine costs an idle
member a seventh of all that it does (``bench.raft idle``).
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import heapq
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

_NS = 1_000_000_000
_ABSOLUTE = 1  # linux/timerfd.h: TFD_TIMER_ABSTIME
_CANCELLED_MAX = 100
_Spec = ctypes.c_long * 4
"""struct itimerspec: the interval's seconds and nanoseconds, then the time's."""


class BootClock:
    """Plays ``seam.Clock`` on the running event loop, with the time since the machine's boot."""

    def __init__(self) -> None:
        self._waiting: list[_Timer] = []
        """A heap; cancelled ones stay until they are the first, or are many."""
        self._cancelled = 0
        self._order = itertools.count()
        self._fd: _TimerFd | None = None
        """Open while anything waits."""
        self._armed_for = float("inf")

    def time(self) -> float:
        """Return the seconds since boot, those in suspension included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> _Timer:
        """Call back once, ``delay`` seconds from now. Raises OSError: no file descriptor left."""
        if self._fd is None:
            self._fd = _TimerFd(self._due)
        timer = _Timer(self.time() + delay, next(self._order), callback, args, self._forget)
        heapq.heappush(self._waiting, timer)
        self._arm()
        return timer

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> asyncio.Handle:
        """Call back once, after what is running now."""
        return asyncio.get_running_loop().call_soon(callback, *args)

    def _arm(self) -> None:
        if self._fd is not None and self._waiting and self._waiting[0].at < self._armed_for:
            self._armed_for = self._waiting[0].at
            self._fd.set(self._armed_for)

    def _forget(self) -> None:
        """Note that one was cancelled; what nearly all callers cancel must not pile up."""
        self._cancelled += 1
        if self._cancelled > _CANCELLED_MAX and 2 * self._cancelled > len(self._waiting):
            self._waiting = [timer for timer in self._waiting if timer.callback is not None]
            heapq.heapify(self._waiting)
            self._cancelled = 0

    def _due(self) -> None:
        self._armed_for = float("inf")
        now = self.time()
        while self._waiting and (self._waiting[0].callback is None or self._waiting[0].at <= now):
            timer = heapq.heappop(self._waiting)
            if timer.callback is None:
                self._cancelled -= 1
            else:
                timer.run()
        if self._waiting:
            self._arm()
        elif self._fd is not None:
            self._fd.close()
            self._fd = None


class _Timer:
    """One call to come; ``cancel`` it before."""

    __slots__ = ("_args", "_cancelled", "_order", "at", "callback")

    def __init__(
        self,
        at: float,
        order: int,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        cancelled: Callable[[], None],
    ) -> None:
        self.at = at
        self.callback: Callable[..., Any] | None = callback
        self._args = args
        self._order = order
        self._cancelled = cancelled

    def __lt__(self, other: _Timer) -> bool:
        return (self.at, self._order) < (other.at, other._order)

    def cancel(self) -> None:
        """Don't call back; nothing if that was done, or is being done."""
        if self.callback is not None:
            self.callback, self._args = None, ()
            self._cancelled()

    def run(self) -> None:
        """Call back; what that raises is for the event loop to tell."""
        callback, args = self.callback, self._args
        self.callback, self._args = None, ()
        try:
            if callback is not None:
                callback(*args)
        except Exception as error:  # noqa: BLE001 - the other timers are due all the same
            context = {"message": f"a timer's callback {callback!r} raised", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


class _TimerFd:
    """The kernel's timer, watched by the running event loop."""

    def __init__(self, due: Callable[[], None]) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = _checked(_libc().timerfd_create(time.CLOCK_BOOTTIME, flags))
        self._spec = _Spec()
        loop = self._loop = asyncio.get_running_loop()
        # Not read from: to set it anew is enough to make it unreadable. The daemon's loop serves it
        # ahead of other descriptors (``runtime.fair_loop``).
        try:
            getattr(loop, "add_urgent_reader", loop.add_reader)(self._fd, due)
        except BaseException:
            self.close()
            raise

    def set(self, at: float) -> None:
        """Expire at that time instead of any other; at once where it has passed."""
        # All zero would disarm it.
        self._spec[2], self._spec[3] = divmod(max(1, int(at * _NS) + 1), _NS)
        _checked(_libc().timerfd_settime(self._fd, _ABSOLUTE, self._spec, None))

    def close(self) -> None:
        """Give the file descriptor back."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


@functools.cache
def _libc() -> ctypes.CDLL:
    """Return the system's library: Python has these calls from 3.13 on."""
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the kernel's timer: {os.strerror(number)}")
    return result
