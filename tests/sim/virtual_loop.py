"""An asyncio event loop whose clock jumps to the next timer whenever nothing is left to do.

Tests and simulations run hours of timers in moments, always in the same order. It waits for no
socket and no thread: what is simulated must not use them. Callbacks come in the very order of
asyncio's own loop; only the way there is shorter, since a simulation spends its time in callbacks.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_RESOLUTION_S = 1e-9
_CANCELLED_MAX = 100


class Deadlock(Exception):  # noqa: N818 - what happened, in one word
    """Nothing is ready and no timer is set: the simulated program waits for ever."""


class _Callback(asyncio.Handle):
    """What ``call_soon`` gives back."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualTimeLoop,
        context: Context | None,
    ) -> None:
        self._callback, self._args, self._loop = callback, args, loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._source_traceback = self._repr = None


class _Timer(asyncio.TimerHandle):
    """What ``call_later`` and ``call_at`` give back."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualTimeLoop,
        context: Context | None,
    ) -> None:
        self._when = when
        self._callback, self._args, self._loop = callback, args, loop
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._scheduled = True
        self._source_traceback = self._repr = None


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` begins at 0 and only moves while the loop is idle."""

    _ready: Any  # asyncio's own, to which all of its ways in append
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self) -> None:
        self.virtual_s = 0.0
        self._timers: list[tuple[float, _Timer]] = []
        super().__init__()

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self.virtual_s

    def now(self) -> datetime:
        """Return the virtual wall time."""
        return EPOCH + timedelta(seconds=self.virtual_s)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back next."""
        handle = _Callback(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back when so much virtual time has passed."""
        when = self.virtual_s + delay
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, timer))
        return timer

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at this virtual time."""
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, timer))
        return timer

    def _run_once(self) -> None:
        """Stand in for asyncio's: move the clock when idle, then call what is ready by now."""
        ready = self._ready
        self._forget_cancelled()
        timers = self._timers
        if not ready and not self._stopping:
            if not timers:
                raise Deadlock
            # Added, not set: a float's last digit is then the same as when asyncio slept so long.
            self.virtual_s += max(0.0, timers[0][0] - self.virtual_s)
        end = self.virtual_s + _RESOLUTION_S
        while timers and timers[0][0] < end:
            timer = heapq.heappop(timers)[1]
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - asyncio's rule: a callback harms no other
                message = f"exception in {handle._callback!r}"
                self.call_exception_handler({"message": message, "exception": error})

    def _forget_cancelled(self) -> None:
        """Drop cancelled timers from the front; all of them when they are the most."""
        timers = self._timers
        if len(timers) > _CANCELLED_MAX and 2 * self._timer_cancelled_count > len(timers):
            self._timers = [item for item in timers if not item[1]._cancelled]
            heapq.heapify(self._timers)
            self._timer_cancelled_count = 0
            return
        while timers and timers[0][1]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(timers)[1]._scheduled = False


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a virtual clock, as ``asyncio.run`` does on the real one."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a coroutine test run on a virtual clock."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def virtual_now() -> datetime:
    """Return the running virtual loop's wall time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop.now()
