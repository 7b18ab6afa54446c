"""The shape of a control loop, and the one runner of all of them.

A loop observes events and says which of its keys they concern; its step looks at the store and
those keys, and returns what to write and when to look again. It never waits, writes or calls
another loop: ``run_loop`` does the waiting and writing, and the supervisor starts and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import structlog

from swarmops.errors import SwarmopsError
from swarmops.manager.group import RaftGroup
from swarmops.manager.timing import ManagerTiming
from swarmops.store import Event, Fenced, OutOfSequence, Store, TooLarge, Transaction, Watch

K = TypeVar("K", bound=Hashable)

KEYS_PER_STEP = 100
EVENTS_PER_SLICE = 500
"""Other work of the event loop gets its turn after so many events."""
KEYS_PER_SLICE = 1_000
"""The same for the objects that a loop begins with, or that one event concerns."""
FEW = 50
"""Fewer events, or changes, than this are no reason to let others go first."""
QUEUE_EVENTS_MAX = 50_000
"""A loop that begins with a large swarm is busy for a while."""
WAIT_S_MAX = 60.0
"""Timers are wall times; that the clock was set back is noticed after this time at most."""
SET_BACK = timedelta(seconds=1)
"""If the clock was set back by more than this, a loop begins anew: its memo is of other times."""

log = structlog.get_logger(__name__)


@dataclass
class LoopWork:
    """How much a loop has done, for the metrics."""

    steps: int = 0
    step_s: float = 0.0
    changes: int = 0

    def note(self, step_s: float, changes: int) -> None:
        """Count one step."""
        self.steps += 1
        self.step_s += step_s
        self.changes += changes


@dataclass(frozen=True)
class LoopContext:
    """What a loop gets when this manager begins to lead."""

    store: Store
    raft: RaftGroup
    node_id: str
    fence: int
    now: Callable[[], datetime]
    rng: random.Random
    timing: ManagerTiming
    settled_s: Callable[[], float]
    """Before this time of the event loop's clock, absent nodes may still be on their way back."""
    work: LoopWork = field(default_factory=LoopWork)
    """Where one loop's steps are counted; nothing is decided by it."""


@dataclass
class Step(Generic[K]):
    """What a step decided."""

    tx: Transaction = field(default_factory=lambda: Transaction(partial=True))
    wake: dict[K, datetime] = field(default_factory=dict)
    """Look at these keys again at these times."""
    again: list[K] = field(default_factory=list)
    """Look at these keys again once the transaction is applied."""


class ControlLoop(Protocol[K]):
    """One loop. Made anew for each term of leadership; its attributes are only a memo."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables whose changes it observes."""
        ...

    def reset(self, store: Store) -> Iterable[K | None]:
        """Begin from the store as it is: forget the memo, return every key.

        An iterator may take its time: others have their turn between its items, so it reads tables
        that it has copied. None is no key, and only gives them that turn.
        """
        ...

    def observe(self, store: Store, event: Event) -> Iterable[K | None]:
        """Return the keys that a change concerns; see ``reset``."""
        ...

    def step(self, store: Store, keys: Sequence[K], now: datetime) -> Step[K]:
        """Decide what these keys need. Reads the store, changes nothing."""
        ...


class Alarms(Generic[K]):
    """Keys and the times at which to look at them again."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, K]] = []
        self._count = 0

    def set(self, key: K, when: datetime) -> None:
        """Remember to look at the key."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))

    def due(self, now: datetime) -> Iterator[K]:
        """Take out the keys whose time has come."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]

    def next_s(self, now: datetime) -> float:
        """Return the seconds until the next key is due."""
        if not self._heap:
            return WAIT_S_MAX
        return min(max((self._heap[0][0] - now).total_seconds(), 0.0), WAIT_S_MAX)


async def run_loop(loop: ControlLoop[K], context: LoopContext) -> None:
    """Run until cancelled. Raises Fenced once another manager leads, and whatever a step raises."""
    store = context.store
    alarms: Alarms[K] = Alarms()
    with store.watch(*loop.tables, size=QUEUE_EVENTS_MAX) as watch:
        dirty: dict[K, None] = {}
        await _collect(loop.reset(store), dirty)
        seen = context.now()
        while True:
            if not dirty:
                await _changed(watch, alarms.next_s(context.now()), context.timing.debounce_s)
            await asyncio.sleep(0)
            events, anew = watch.take()
            now, before = context.now(), seen
            anew, seen = anew or now < before - SET_BACK, now
            if anew:
                dirty.clear()
                await _collect(loop.reset(store), dirty)
            for place, event in enumerate(() if anew else events, start=1):
                await _collect(loop.observe(store, event), dirty)
                if place % EVENTS_PER_SLICE == 0:
                    await asyncio.sleep(0)
            await _give_way(len(events))
            now = context.now()
            dirty.update(dict.fromkeys(alarms.due(now)))
            keys = list(islice(dirty, KEYS_PER_STEP))
            for key in keys:
                del dirty[key]
            begun_s = perf_counter()
            step = loop.step(store, keys, now)
            context.work.note(perf_counter() - begun_s, len(step.tx))
            for key, when in step.wake.items():
                alarms.set(key, when)
            await _give_way(len(step.tx))
            if not await write(step.tx, context):
                dirty.update(dict.fromkeys(keys))
            dirty.update(dict.fromkeys(step.again))


async def _give_way(done: int) -> None:
    """Let others have their turn after so much: observing, deciding and writing are one each."""
    if done > FEW:
        await asyncio.sleep(0)


async def _collect(keys: Iterable[K | None], dirty: dict[K, None]) -> None:
    """Take up the keys, some at a time."""
    for place, key in enumerate(keys, start=1):
        if key is not None:
            dirty[key] = None
        if place % KEYS_PER_SLICE == 0:
            await asyncio.sleep(0)


async def _changed(watch: Watch, timeout_s: float, debounce_s: float) -> None:
    """Wait for a change and what comes along with it, or for the next alarm."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await watch.wait()
            await asyncio.sleep(debounce_s)


async def write(tx: Transaction, context: LoopContext) -> bool:
    """Commit in entries of bounded size; return whether nothing has to be tried again.

    Raises Fenced. Without a leader it waits a little and returns False.
    """
    clean = True
    for batch in tx.batches():
        try:
            failures = await context.store.commit(batch, fence=context.fence)
        except Fenced:
            raise
        except TooLarge:
            if len(batch) == 1:
                raise
            for half in batch.halves():
                clean = await write(half, context) and clean
        except SwarmopsError as error:
            log.warning("write failed", error=str(error), changes=len(batch))
            await asyncio.sleep(context.timing.retry_s)
            return False
        else:
            clean = clean and not any(isinstance(each.error, OutOfSequence) for each in failures)
        await asyncio.sleep(0)
    return clean
