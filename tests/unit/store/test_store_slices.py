"""Readers of many events at once leave others their turn."""

from __future__ import annotations

import asyncio

from swarmops.store import Event, sliced
from swarmops.store.watch import EVENTS_PER_SLICE


async def test_many_events_are_read_over_several_turns() -> None:
    """All of them, in order; something else has run by the time of the second slice."""
    events = [Event("tasks", "remove", None, None, index) for index in range(EVENTS_PER_SLICE + 1)]
    ran: list[int] = []
    seen: list[Event] = []
    asyncio.get_running_loop().call_soon(lambda: ran.append(len(seen)))
    async for event in sliced(events):
        assert event.index == len(seen)
        seen.append(event)
    assert seen == events
    assert ran == [EVENTS_PER_SLICE]
