"""What a snapshot promises: the whole state as of one index, and nothing half restored."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from msgspec.structs import replace

from swarmops.model.node import Node, NodeInternal, Role
from swarmops.model.secret import Secret, SecretSpec
from swarmops.model.service import ContainerSpec, Service, ServiceSpec, TaskSpec
from swarmops.model.task import Task
from swarmops.store import Store, Transaction
from tests.sim.memory_log import MemoryLog

AT = datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)


async def filled(tasks: int = 450) -> Store:
    """Return a store with a service, a node and this many tasks."""
    store = Store(now=lambda: AT)
    MemoryLog(delay_s=0).attach(store)
    tx = Transaction()
    spec = TaskSpec(container_spec=ContainerSpec(image="host"))
    tx.put(Service(id="s1", spec=ServiceSpec(name="web", task_template=spec)))
    tx.put(Node(id="n1", internal=NodeInternal(role=Role.MANAGER, session_holder="n1")))
    for number in range(tasks):
        tx.put(Task(id=f"t{number}", service_id="s1", slot=number, spec=spec, node_id="n1"))
    for batch in tx.batches():
        await store.commit(batch)
    return store


def everything(store: Store) -> list[object]:
    """Return all that two equal replicas share."""
    return [list(store.services), list(store.nodes), list(store.tasks), store.applied]


@pytest.mark.parametrize("cut", [1, 7, 4096, None])
async def test_a_restored_replica_is_equal(cut: int | None) -> None:
    """Rows, indexes and shared specs come back, however the stream was cut on its way."""
    store = await filled()
    data = b"".join(store.snapshot())
    marks = range(0, len(data) + (cut or len(data)), cut or len(data))
    other = Store()
    tables = other.tasks
    other.restore(data[start:end] for start, end in pairwise(marks))
    assert everything(other) == everything(store)
    assert other.tasks is tables
    assert len(other.tasks.by_service("s1")) == 450
    assert len({id(task.spec) for task in other.tasks}) == 1
    assert [node.id for node in other.nodes.by_holder("n1")] == ["n1"]


async def test_a_snapshot_is_frozen_when_it_is_taken() -> None:
    """Changes made while it is being encoded are not in it."""
    store = await filled(10)
    parts = store.snapshot()
    before = everything(store)
    tx = Transaction()
    tx.delete(store.tasks["t3"])
    tx.put(replace(store.nodes["n1"], internal=NodeInternal()))
    await store.commit(tx)
    other = Store()
    other.restore(parts)
    assert everything(other) == before


async def test_slices_are_small() -> None:
    """No slice holds more than 200 objects, so encoding never holds the event loop for long."""
    store = await filled(1000)
    assert len(list(store.snapshot())) == 1 + 2 + 5


async def test_no_chunk_is_larger_than_a_mebibyte() -> None:
    """However large the objects are, the chunks fit the log's limit and come back whole."""
    store = await filled(1)
    for number in range(3):
        tx = Transaction()
        tx.put(Secret(id=f"x{number}", spec=SecretSpec(name=f"x{number}", data="a" * 700_000)))
        await store.commit(tx)
    chunks = list(store.snapshot())
    assert max(map(len, chunks)) <= 1024 * 1024
    other = Store()
    other.restore(chunks)
    assert list(other.secrets) == list(store.secrets)


@pytest.mark.parametrize("lost", ["bytes", "slice"])
async def test_a_cut_snapshot_is_refused_whole(lost: str) -> None:
    """Half a snapshot restores nothing: the replica keeps what it had."""
    parts = list((await filled()).snapshot())
    broken = [*parts[:-1], parts[-1][:-3]] if lost == "bytes" else parts[:-1]
    other = await filled(3)
    before = everything(other)
    with pytest.raises(ValueError, match="snapshot"):
        other.restore(broken)
    assert everything(other) == before


async def test_restoring_wakes_every_watch() -> None:
    """Readers learn that they must read everything again."""
    store = await filled(3)
    with store.watch("secrets") as watch:
        store.restore(list(store.snapshot()))
        assert await watch.next() == ([], True)


async def test_the_fence_survives() -> None:
    """A replica that was restored fences off former leaders as the others do."""
    store = await filled(1)
    fence = await store.seize()
    other = Store(now=lambda: AT)
    other.restore(store.snapshot())
    MemoryLog(delay_s=0).attach(other)
    tx = Transaction()
    tx.put(Node(id="n7"))
    await other.commit(tx, fence=fence)
    assert "n7" in other.nodes
