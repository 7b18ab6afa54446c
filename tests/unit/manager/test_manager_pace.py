"""What many sessions want to do at once goes over many turns of the event loop."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from swarmops.manager.pace import Pace, by_turns


async def _turns(done: list[int], count: int) -> list[int]:
    """Return how much was done at each turn of the event loop, until so much is."""
    seen = [len(done)]
    while len(done) < count:
        await asyncio.sleep(0)
        seen.append(len(done))
    return seen


async def test_no_turn_has_more_than_its_share_and_all_keep_their_order() -> None:
    """A hundred that come at once go on three at a time."""
    pace, done = Pace(per_turn=3), list[int]()

    async def caller(number: int) -> None:
        await pace.turn()
        done.append(number)

    callers = [asyncio.create_task(caller(number)) for number in range(100)]
    async with asyncio.timeout(60):
        seen = await _turns(done, 100)
        await asyncio.gather(*callers)
    assert done == list(range(100))
    assert max(after - before for before, after in pairwise(seen)) <= 3


async def test_who_comes_alone_does_not_wait() -> None:
    """The event loop has no turn in between."""
    pace, others = Pace(per_turn=3), list[str]()
    asyncio.get_running_loop().call_soon(others.append, "ran")
    for _ in range(3):
        await pace.turn()
    assert others == []
    await pace.turn()
    assert others == ["ran"]


async def test_a_caller_that_is_cancelled_holds_up_nobody() -> None:
    """Those behind it go on."""
    pace = Pace(per_turn=1)
    callers = [asyncio.create_task(pace.turn()) for _ in range(20)]
    await asyncio.sleep(0)
    for caller in callers[1:19]:
        caller.cancel()
    async with asyncio.timeout(60):
        await callers[0]
        await callers[19]
        await pace.turn()


async def test_what_is_passed_by_turns_lets_others_go_between() -> None:
    """Ten items, four a turn: two turns for others; what is added meanwhile is not passed."""
    items, others = dict.fromkeys(range(10), ""), list[int]()

    async def other() -> None:
        for _ in range(2):
            others.append(len(passed))
            items[100 + len(others)] = ""
            await asyncio.sleep(0)

    passed = list[int]()
    beside = asyncio.create_task(other())
    async for item in by_turns(items, per_turn=4):
        passed.append(item)
    await beside
    assert (passed, others) == (list(range(10)), [4, 8])
