"""What runs while a manager leads, and what happens when a loop fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise

import structlog

from swarmops.manager.loop import LoopContext, Step, run_loop
from swarmops.manager.supervisor import RunLoop, Supervisor
from swarmops.manager.timing import ManagerTiming
from swarmops.model.node import Node
from swarmops.raft.errors import NoLeader
from swarmops.raft.seam import Status
from swarmops.store import Event, Store, Transaction
from tests.sim.memory_log import MemoryLog
from tests.sim.virtual_loop import virtual, virtual_now


class _NoGroup:
    """A group that these tests never ask."""

    def status(self) -> Status:
        raise AssertionError

    async def remove_member(self, raft_id: str) -> None:
        raise AssertionError(raft_id)

    async def transfer_leadership(self) -> None:
        raise AssertionError


def context_of(store: Store, fence: int = 0) -> LoopContext:
    """Return what a loop gets."""
    return LoopContext(
        store=store,
        raft=_NoGroup(),
        node_id="m1",
        fence=fence,
        now=virtual_now,
        rng=random.Random(1),
        timing=ManagerTiming(),
        settled_s=lambda: 0.0,
    )


def supervise(*loops: tuple[str, RunLoop]) -> tuple[Supervisor, Store]:
    """Return a supervisor of these loops, on a store of its own."""
    store = Store(now=virtual_now)
    MemoryLog().attach(store)

    async def take_lead() -> LoopContext:
        return context_of(store, await store.seize())

    return Supervisor(loops, take_lead, ManagerTiming()), store


async def forever(context: LoopContext) -> None:
    """Run until cancelled."""
    del context
    await asyncio.Event().wait()


@virtual
async def test_a_crashing_loop_is_logged_and_started_again_alone() -> None:
    """The pause grows from 0.1 s; the traceback is logged; the neighbour runs on."""
    starts: list[float] = []
    clock = asyncio.get_running_loop()

    async def crash(_context: LoopContext) -> None:
        starts.append(clock.time())
        raise ValueError("broken")

    supervisor, _ = supervise(("crash", crash), ("calm", forever))
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(supervisor.run())
        supervisor.set_leading(True)
        await asyncio.sleep(2)
        assert supervisor.running == {"crash", "calm"}
        running.cancel()
        await asyncio.wait([running])
    pauses = [round(b - a, 3) for a, b in pairwise(starts)]
    assert pauses == [0.1, 0.2, 0.4, 0.8]
    crashes = [entry for entry in logs if entry["event"] == "crashed"]
    assert len(crashes) == len(starts)
    assert all(entry["exc_info"] and entry["part"] == "crash" for entry in crashes)


@virtual
async def test_a_fenced_loop_ends_the_term_and_a_leader_takes_it_again() -> None:
    """When another manager seized the lead, all loops stop; who still leads seizes it back."""
    fences: list[int] = []

    async def write(context: LoopContext) -> None:
        fences.append(context.fence)
        while True:
            tx = Transaction()
            tx.put(Node(id=f"n{len(context.store.nodes)}"))
            await context.store.commit(tx, fence=context.fence)
            await asyncio.sleep(0.5)

    supervisor, store = supervise(("write", write), ("calm", forever))
    running = asyncio.create_task(supervisor.run())
    supervisor.set_leading(True)
    await asyncio.sleep(1)
    await store.seize()
    await asyncio.sleep(2)
    assert len(fences) == 2
    assert fences[0] < fences[1]
    running.cancel()
    await asyncio.wait([running])
    assert not supervisor.running


@virtual
async def test_without_a_quorum_taking_the_lead_is_tried_again() -> None:
    """The first entry can't be written yet: the loops start as soon as it can."""
    attempts: list[int] = []

    async def take_lead() -> LoopContext:
        attempts.append(1)
        if len(attempts) < 4:
            raise NoLeader
        return context_of(Store(now=virtual_now))

    supervisor = Supervisor([("calm", forever)], take_lead, ManagerTiming())
    running = asyncio.create_task(supervisor.run())
    supervisor.set_leading(True)
    await asyncio.sleep(0.25)
    assert not supervisor.running
    await asyncio.sleep(0.25)
    assert supervisor.running == {"calm"}
    running.cancel()
    await asyncio.wait([running])


@virtual
async def test_leading_again_at_once_leaves_one_set_of_loops() -> None:
    """Lost and won back in the same moment: the old loops are gone before the new ones start."""
    live: list[int] = [0, 0]

    async def count(_context: LoopContext) -> None:
        live[0] += 1
        live[1] = max(live)
        try:
            await asyncio.Event().wait()
        finally:
            live[0] -= 1

    supervisor, _ = supervise(("count", count))
    running = asyncio.create_task(supervisor.run())
    for _ in range(5):
        supervisor.set_leading(True)
        await asyncio.sleep(0.3)
        supervisor.set_leading(False)
        supervisor.set_leading(True)
        await asyncio.sleep(0.3)
    assert live == [1, 1]
    running.cancel()
    await asyncio.wait([running])
    assert live[0] == 0


class _Recorder:
    """A loop that writes down what it is asked."""

    tables = ("nodes",)

    def __init__(self) -> None:
        self.steps: list[tuple[float, list[str]]] = []

    def reset(self, store: Store) -> Iterable[str]:
        return [node.id for node in store.nodes]

    def observe(self, store: Store, event: Event) -> Iterable[str]:
        del store
        return [event.new.id] if event.new else ()

    def step(self, store: Store, keys: Sequence[str], now: datetime) -> Step[str]:
        del store, now
        self.steps.append((asyncio.get_running_loop().time(), list(keys)))
        return Step()


@virtual
async def test_changes_that_come_together_are_one_step_and_soon() -> None:
    """A step within 20 ms of the change, with all that came meanwhile."""
    store = Store(now=virtual_now)
    MemoryLog(delay_s=0.001).attach(store)
    loop = _Recorder()
    running = asyncio.create_task(run_loop(loop, context_of(store)))
    await asyncio.sleep(1)
    began_s = asyncio.get_running_loop().time()
    for number in range(3):
        tx = Transaction()
        tx.put(Node(id=f"n{number}"))
        await store.commit(tx)
    await asyncio.sleep(1)
    [(when_s, keys)] = loop.steps
    assert keys == ["n0", "n1", "n2"]
    assert when_s - began_s <= 0.02
    running.cancel()
    await asyncio.wait([running])


@virtual
async def test_many_keys_are_stepped_in_slices() -> None:
    """No step gets more than 100 keys."""
    store = Store(now=virtual_now)
    MemoryLog(delay_s=0).attach(store)
    tx = Transaction()
    for number in range(250):
        tx.put(Node(id=f"n{number}"))
    await store.commit(tx)
    loop = _Recorder()
    context = context_of(store)
    running = asyncio.create_task(run_loop(loop, context))
    await asyncio.sleep(1)
    assert [len(keys) for _, keys in loop.steps] == [100, 100, 50]
    assert (context.work.steps, context.work.changes) == (3, 0)
    running.cancel()
    await asyncio.wait([running])
