"""The garbage collector of a daemon: short passes, and still no garbage that stays."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from swarmops.runtime.collector import Collector


class Knot:
    """An object that refers to itself, so that only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


class Clock:
    """A clock that is set."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return what it is set to."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return one that stands at zero."""
    return Clock()


@pytest.fixture
def collector(clock: Clock) -> Iterator[Collector]:
    """Yield one that has not begun; afterwards everything is Python's again."""
    made = Collector(clock)
    yield made
    made.end()


async def test_what_lives_on_is_not_looked_at_again_and_again(collector: Collector) -> None:
    """While much is made that stays, the collector keeps only the newest of it in view."""
    collector.begin(asyncio.get_running_loop())
    kept: list[Knot] = []
    seen = 0
    for _ in range(200):
        kept.extend(Knot() for _ in range(1000))
        await asyncio.sleep(0)
        seen = max(seen, len(gc.get_objects()))
    assert len(kept) == 200_000
    assert seen < 40_000


async def test_garbage_is_freed_before_it_is_set_aside(collector: Collector) -> None:
    """What nobody refers to by the time it is old goes at once."""
    collector.begin(asyncio.get_running_loop())
    knots = [Knot() for _ in range(1000)]
    gone = weakref.ref(knots[0])
    knots.clear()
    collector.look()
    assert gone() is None


async def test_garbage_among_what_was_set_aside_is_found_in_the_end(
    collector: Collector, clock: Clock
) -> None:
    """By the pass over everything, which comes after a time that is a million times its cost."""
    collector.begin(asyncio.get_running_loop())
    knots = [Knot()]
    collector.look()
    gone = weakref.ref(knots.pop())
    collector.look()
    assert gone() is not None
    clock.now_s = 30 * 3600.0
    collector.look()
    assert gone() is None
