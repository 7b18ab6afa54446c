"""What a watch promises: every change once, in order, or a clear word that some were lost."""

from __future__ import annotations

import asyncio

from swarmops.model.node import Node
from swarmops.model.task import Task, TaskState
from swarmops.store import Store, Transaction
from tests.sim.memory_log import MemoryLog


def make() -> Store:
    """Return a store on a log of its own."""
    store = Store()
    MemoryLog(delay_s=0).attach(store)
    return store


async def create(store: Store, *objects: Node | Task) -> None:
    """Commit puts of these objects."""
    tx = Transaction()
    for obj in objects:
        tx.put(obj)
    await store.commit(tx)


async def test_events_carry_old_and_new() -> None:
    """Create, update, delete: one event each, with both sides and the index."""
    store = make()
    with store.watch("tasks") as watch:
        await create(store, Task(id="t1"), Node(id="n1"))
        tx = Transaction()
        tx.patch_task("t1", desired_state=TaskState.SHUTDOWN)
        await store.commit(tx)
        tx = Transaction()
        tx.delete(store.tasks["t1"])
        await store.commit(tx)
        events, resync = await watch.next()
    assert not resync
    assert [(event.kind, event.index) for event in events] == [
        ("create", 1),
        ("update", 2),
        ("remove", 3),
    ]
    assert events[1].old is events[0].new
    assert events[2].new is None


async def test_next_waits_for_a_change() -> None:
    """A reader sleeps until something of its tables changes."""
    store = make()
    with store.watch("nodes") as watch:
        waiting = asyncio.create_task(watch.next())
        await create(store, Task(id="t1"))
        assert not waiting.done()
        await create(store, Node(id="n1"))
        events, _ = await waiting
        assert [event.table for event in events] == ["nodes"]


async def test_a_reader_that_falls_behind_is_told_to_resync() -> None:
    """The queue is bounded; what is lost is lost loudly, and the watch goes on."""
    store = make()
    with store.watch(size=3) as watch:
        for number in range(5):
            await create(store, Node(id=f"n{number}"))
        assert await watch.next() == ([], True)
        await create(store, Node(id="n9"))
        events, resync = await watch.next()
        assert (len(events), resync) == (1, False)


async def test_a_closed_watch_collects_nothing() -> None:
    """After the block the store doesn't hold on to the reader."""
    store = make()
    with store.watch() as watch:
        pass
    await create(store, Node(id="n1"))
    assert watch.take() == ([], False)
