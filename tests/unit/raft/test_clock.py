"""The real clock's timers: the kernel's, on the clock that goes on while the machine sleeps."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest

from swarmops.raft import BootClock


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_timers_come_in_order_and_not_before_their_time():
    """Whatever the order in which they were asked for; those of one time in that order."""
    clock, came, done = BootClock(), list[tuple[str, float]](), asyncio.Event()
    began = clock.time()

    def come(name: str) -> None:
        came.append((name, clock.time() - began))
        if len(came) == 4:
            done.set()

    for name, delay in (("late", 0.06), ("soon", 0.02), ("at once", 0.0), ("past", -5.0)):
        clock.call_later(delay, come, name)
    async with asyncio.timeout(30):
        await done.wait()
    assert [name for name, _ in came] == ["past", "at once", "soon", "late"]
    assert came[2][1] >= 0.02
    assert came[3][1] >= 0.06


async def test_a_timer_that_was_cancelled_never_comes():
    """Nor does it keep the others from coming, be it the first of them or the last."""
    clock, came, done = BootClock(), list[str](), asyncio.Event()
    first = clock.call_later(0.01, came.append, "first")
    clock.call_later(0.02, came.append, "second")
    third = clock.call_later(0.03, came.append, "third")
    clock.call_later(0.04, done.set)
    first.cancel()
    third.cancel()
    async with asyncio.timeout(30):
        await done.wait()
    assert came == ["second"]


async def test_timers_that_were_cancelled_do_not_pile_up():
    """Each read and each write that waits has one, of half a minute, and most end before."""
    clock, came, done = BootClock(), list[int](), asyncio.Event()
    clock.call_later(0.05, came.append, 1)
    for _ in range(10_000):
        clock.call_later(30, came.append, 2).cancel()
        assert len(clock._waiting) <= 250
    twice = clock.call_later(30, came.append, 3)
    twice.cancel()
    twice.cancel()
    clock.call_later(0.06, done.set)
    async with asyncio.timeout(30):
        await done.wait()
    assert came == [1]


async def test_an_earlier_timer_that_comes_later_is_not_late():
    """The kernel's is set anew: what waits for a minute holds up nothing."""
    clock, done = BootClock(), asyncio.Event()
    minute = clock.call_later(60, done.set)
    clock.call_later(0.01, done.set)
    async with asyncio.timeout(30):
        await done.wait()
    minute.cancel()


async def test_a_callback_that_raises_is_told_of_and_harms_no_other():
    """As with the event loop's own timers."""
    clock, told, done = BootClock(), list[dict[str, Any]](), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: told.append(context))

    def fail() -> None:
        raise RuntimeError("no")

    clock.call_later(0.0, fail)
    clock.call_later(0.0, done.set)
    async with asyncio.timeout(30):
        await done.wait()
    assert [str(context["exception"]) for context in told] == ["no"]


async def test_a_clock_that_nobody_waits_for_keeps_no_file_open():
    """Members come and go with promotions; and it can be waited for again."""
    clock, before = BootClock(), open_files()
    for _ in range(3):
        done = asyncio.Event()
        clock.call_later(0.0, done.set)
        assert open_files() == before + 1
        async with asyncio.timeout(30):
            await done.wait()
        assert open_files() == before


async def test_without_a_file_descriptor_there_is_a_sentence():
    """And no timer that never comes."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(OSError, match="the kernel's timer: Too many open files"):
            BootClock().call_later(0.0, print)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
