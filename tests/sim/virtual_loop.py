"""An asyncio event loop whose clock jumps to the next timer whenever nothing is left to do.

Tests and simulations run hours of timers in moments, always in the same order. It waits for no
socket and no thread: what is simulated must not use them.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Deadlock(Exception):  # noqa: N818 - what happened, in one word
    """Nothing is ready and no timer is set: the simulated program waits for ever."""


class _JumpSelector(selectors.SelectSelector):
    """Instead of waiting, move the clock."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self.loop.advance(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` begins at 0 and only moves while the loop is idle."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        selector = _JumpSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._virtual_s

    def advance(self, seconds: float) -> None:
        """Move the clock; the loop's selector alone calls it."""
        self._virtual_s += seconds

    def now(self) -> datetime:
        """Return the virtual wall time."""
        return EPOCH + timedelta(seconds=self._virtual_s)


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
