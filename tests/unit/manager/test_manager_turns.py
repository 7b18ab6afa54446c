"""No turn of the event loop has more than its share of what control loops do to a large swarm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from swarmops.manager import enforcer, orphans
from swarmops.manager.ingress import IngressTable, Key
from swarmops.manager.loop import FEW, LoopContext, Step, run_loop
from swarmops.manager.pace import LOOKED_PER_TURN
from swarmops.manager.timing import ManagerTiming
from swarmops.model.node import Node, NodeInternal, NodeState, NodeStatus
from swarmops.model.service import Endpoint, PortConfig, Service, ServiceSpec
from swarmops.model.task import PortStatus, Task, TaskState, TaskStatus
from swarmops.store import Event, Store, Transaction

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAYS = timedelta(days=2)
PORT = PortConfig(protocol="tcp", target_port=80, published_port=8080, publish_mode="ingress")
WEB = ("tcp", 8080)


def apply(store: Store, tx: Transaction) -> None:
    """Apply as the log does."""
    for batch in tx.batches():
        store.apply(store.applied + 1, batch.encode(NOW))


@pytest.mark.parametrize("state", [NodeState.READY, NodeState.DOWN], ids=["enforcer", "orphans"])
def test_what_looks_at_the_tasks_of_nodes_takes_some_nodes_in_a_step(state: NodeState) -> None:
    """Of 40 nodes with 100 tasks each a step takes ten, and asks for the others again."""
    store, tx = Store(now=lambda: NOW), Transaction()
    names = [f"n{number:02}" for number in range(40)]
    for name in names:
        internal = NodeInternal(down_since=NOW - DAYS)
        tx.put(Node(id=name, status=NodeStatus(state=state), internal=internal))
        for number in range(100):
            status = TaskStatus(state=TaskState.RUNNING)
            tx.put(Task(id=f"{name}-{number}", service_id="web", node_id=name, status=status))
    apply(store, tx)
    loop = enforcer.Enforcer() if state is NodeState.READY else orphans.Orphans(ManagerTiming())
    steps, keys = 0, names
    while keys:
        step = loop.step(store, keys, NOW)
        assert step.again == keys[10:]
        steps, keys = steps + 1, step.again
    assert steps == 4


class Told:
    """Hears of ports."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    async def hear(self, keys: Sequence[Key]) -> None:
        """Remember them."""
        self.keys.extend(keys)


def published(store: Store, tasks: int) -> Transaction:
    """Return a transaction that makes a service with so many running tasks behind a port."""
    del store
    tx = Transaction()
    tx.put(Node(id="n", status=NodeStatus(state=NodeState.READY, addr="10.0.0.1")))
    tx.put(Service(id="web", spec=ServiceSpec(name="web"), endpoint=Endpoint(ports=[PORT])))
    for number in range(tasks):
        there = replace(PORT, published_port=20_000 + number)
        status = TaskStatus(state=TaskState.RUNNING, port_status=PortStatus(ports=[there]))
        tx.put(Task(id=f"t{number:05}", service_id="web", node_id="n", status=status))
    return tx


@asynccontextmanager
async def followed(tasks: int) -> AsyncIterator[tuple[Store, IngressTable, Told]]:
    """Yield a table that is being kept."""
    store, told = Store(now=lambda: NOW), Told()
    apply(store, published(store, tasks))
    table = IngressTable(store, told.hear)
    following = asyncio.create_task(table.follow())
    try:
        yield store, table, told
    finally:
        following.cancel()


async def test_a_large_published_service_is_read_over_many_turns() -> None:
    """Whoever asks for the table meanwhile waits until it has every task."""
    turns = 0
    async with asyncio.timeout(60), followed(4 * LOOKED_PER_TURN) as (_, table, told):
        settled = asyncio.create_task(table.settled())
        while not settled.done():
            turns += 1
            await asyncio.sleep(0)
        (port,) = table.complete().ports
        assert len(port.backends) == 4 * LOOKED_PER_TURN
        assert told.keys == [WEB]
    assert turns >= 8


async def test_a_task_that_shall_stop_is_out_of_the_table_before_its_agent_is_told() -> None:
    """Whoever tells agents of tasks waits for the table, however long it takes to read."""
    async with asyncio.timeout(60), followed(3 * LOOKED_PER_TURN) as (store, table, _):
        await table.settled()
        for gone in range(2):  # the second while the first is read
            tx = Transaction()
            tx.patch_task(f"t{gone:05}", desired_state=TaskState.SHUTDOWN)
            apply(store, tx)
            if not gone:
                await asyncio.sleep(0)
        await table.settled()
        (port,) = table.changes([WEB]).ports
        assert [each.port for each in port.backends[:2]] == [20_002, 20_003]
        tx = Transaction()
        tx.put(Node(id="other"))  # nothing to the table
        apply(store, tx)
        await table.settled()
        await table.settled()


class Counting:
    """A control loop that notes in which turn of the event loop it does what."""

    tables = ("nodes",)

    def __init__(self) -> None:
        self.turn = 0
        self.observed: set[int] = set()
        self.decided = 0
        self.decides: Callable[[], None] = lambda: None

    async def count(self) -> None:
        """Count the turns."""
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    def reset(self, store: Store) -> list[str]:
        """Begin with a key, so that there is a step."""
        del store
        return ["begin"]

    def observe(self, store: Store, event: Event) -> list[str]:
        """Note it."""
        del store
        self.observed.add(self.turn)
        return [event.new.id] if event.new else []

    def step(self, store: Store, keys: Sequence[str], now: datetime) -> Step[str]:
        """Note it."""
        del store, keys, now
        self.decided = self.turn
        self.decides()
        return Step()


async def test_others_go_between_observing_much_and_deciding() -> None:
    """A step's time doesn't add to that of the events before it."""
    store, loop, decided = Store(now=lambda: NOW), Counting(), asyncio.Event()
    loop.decides = decided.set
    running = [
        asyncio.create_task(run_loop(loop, _context(store))),
        asyncio.create_task(loop.count()),
    ]
    async with asyncio.timeout(60):
        await decided.wait()  # it has begun
        decided.clear()
        tx = Transaction()
        for number in range(FEW + 1):
            tx.put(Node(id=f"n{number:03}"))
        apply(store, tx)
        await decided.wait()
    for task in running:
        task.cancel()
    assert len(loop.observed) == 1
    assert loop.decided not in loop.observed


def _context(store: Store) -> LoopContext:
    return LoopContext(
        store=store,
        raft=None,  # type: ignore[arg-type]  # it asks the group for nothing
        node_id="m1",
        fence=0,
        now=lambda: NOW,
        rng=random.Random(1),
        timing=ManagerTiming(),
        settled_s=lambda: 0.0,
    )
