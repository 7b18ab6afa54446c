"""So many at a time, and nobody waits for one that only waits itself."""

from __future__ import annotations

import asyncio

import pytest

from swarmops.agent.executors.turns import Turns
from tests.sim.virtual_loop import virtual

TURN_S = 5.0


class Taker:
    """Takes a turn, and keeps it until it is let go."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.has = asyncio.Event()
        self.let_go = asyncio.Event()
        self.task = asyncio.create_task(self._take())

    async def _take(self) -> None:
        async with self._turns.taken():
            self.has.set()
            await self.let_go.wait()


async def several(turns: Turns, count: int) -> list[Taker]:
    """Have so many come, one after the other; those that can have a turn have it."""
    takers = [Taker(turns) for _ in range(count)]
    await asyncio.sleep(0.1)
    return takers


def having(takers: list[Taker]) -> list[bool]:
    """Say who has or had a turn."""
    return [taker.has.is_set() for taker in takers]


@virtual
async def test_who_comes_first_has_the_first_turn():
    """The others wait until one is over."""
    takers = await several(Turns(2, TURN_S), 4)
    assert having(takers) == [True, True, False, False]
    takers[1].let_go.set()
    await asyncio.sleep(0.1)
    assert having(takers) == [True, True, True, False]
    for taker in takers:
        taker.let_go.set()
    await asyncio.gather(*(taker.task for taker in takers))


@virtual
async def test_one_that_takes_longer_makes_way_and_gives_back_no_second_turn():
    """Else there would be more turns with each that took longer."""
    takers = await several(Turns(1, TURN_S), 3)
    await asyncio.sleep(TURN_S)
    assert having(takers) == [True, True, False]
    takers[0].let_go.set()
    await takers[0].task
    await asyncio.sleep(0.1)
    assert having(takers) == [True, True, False]
    await asyncio.sleep(TURN_S)
    assert having(takers) == [True, True, True]
    for taker in takers:
        taker.task.cancel()


@virtual
@pytest.mark.parametrize("cancelled", [0, 1], ids=["its turn", "the wait for it"])
async def test_a_cancelled_one_leaves_its_turn_to_others(cancelled: int):
    """Whether it had it already or not."""
    takers = await several(Turns(1, TURN_S), 3)
    takers[cancelled].task.cancel()
    takers[0].let_go.set()
    await asyncio.sleep(0.1)
    assert having(takers) == [True, cancelled == 0, cancelled == 1]
    for taker in takers:
        taker.task.cancel()
