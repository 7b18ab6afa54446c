"""Watches: what changed in the store, in order, through queues of bounded size.

Control loops, dispatchers and the API's event stream wait on them. A reader that falls behind loses
events but never silently: it is told to read everything again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Literal, Self

import msgspec

from swarmops.model.object import Object

QUEUE_EVENTS_MAX = 10_000
EVENTS_PER_SLICE = 500
"""Other work of the event loop gets its turn after so many events."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One object's change at one log index."""

    table: str
    kind: Literal["create", "update", "remove"]
    new: Object | None
    old: Object | None
    index: int


class Watch:
    """One reader's queue; a context manager that ends it."""

    def __init__(self, hub: Hub, tables: frozenset[str], size: int) -> None:
        self._hub = hub
        self._tables = tables
        self._size = size
        self._events: list[Event] = []
        self._resync = False
        self._awake = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop collecting."""
        self._hub.drop(self)

    async def next(self) -> tuple[list[Event], bool]:
        """Wait for a change; return all since the last call, and whether some were lost."""
        await self.wait()
        return self.take()

    @property
    def waiting(self) -> bool:
        """Whether ``take`` would return something."""
        return self._awake.is_set()

    async def wait(self) -> None:
        """Wait until ``take`` would return something."""
        await self._awake.wait()

    def take(self) -> tuple[list[Event], bool]:
        """Return what there is now without waiting, as ``next``."""
        events, resync = self._events, self._resync
        self._events, self._resync = [], False
        self._awake.clear()
        return events, resync

    def offer(self, events: Iterable[Event]) -> None:
        """Queue the events of this watch's tables, or note that there were too many."""
        wanted = [event for event in events if not self._tables or event.table in self._tables]
        if not wanted:
            return
        if self._resync or len(self._events) + len(wanted) > self._size:
            self.lose()
            return
        self._events.extend(wanted)
        self._awake.set()

    def lose(self) -> None:
        """Drop the queue: the reader shall read everything again."""
        self._events.clear()
        self._resync = True
        self._awake.set()


async def sliced(events: Iterable[Event]) -> AsyncIterator[Event]:
    """Iterate over events, and let others have their turn after some of them."""
    for place, event in enumerate(events, start=1):
        yield event
        if place % EVENTS_PER_SLICE == 0:
            await asyncio.sleep(0)


class Hub:
    """All watches of a store."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []

    def watch(self, tables: frozenset[str], size: int) -> Watch:
        """Begin a watch of these tables, all if empty."""
        watch = Watch(self, tables, size)
        self._watches.append(watch)
        return watch

    def drop(self, watch: Watch) -> None:
        """End a watch; safe to call twice."""
        if watch in self._watches:
            self._watches.remove(watch)

    def publish(self, events: list[Event]) -> None:
        """Hand one entry's events to every watch."""
        for watch in self._watches:
            watch.offer(events)

    def resync(self) -> None:
        """Tell every reader to read everything again."""
        for watch in self._watches:
            watch.lose()
