"""Tasks leave nodes that no longer fulfil what they were placed for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from swarmops.manager.enforcer import REASON, Wanted, misplaced
from swarmops.manager.filters import available
from swarmops.model.node import Availability, EngineDescription, Node, NodeDescription, Plugin
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    Placement,
    ResourceRequirements,
    Resources,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateStatus,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Store, Transaction
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 2**30
SSD = TaskSpec(
    container_spec=ContainerSpec(image="host"),
    placement=Placement(constraints=["node.labels.disk==ssd"]),
)
BIG = TaskSpec(
    container_spec=ContainerSpec(image="host"),
    resources=ResourceRequirements(reservations=Resources(memory_bytes=2 * GIB)),
)


async def label(swarm: Lab, node_id: str, **labels: str) -> None:
    """Give a node these labels alone."""
    await swarm.store.modify(
        swarm.store.nodes,
        node_id,
        lambda node: replace(node, spec=replace(node.spec, labels=labels)),
    )


async def remember(swarm: Lab, node_id: str, memory_bytes: int) -> None:
    """Let a node offer so much memory."""
    engine = EngineDescription(plugins=[Plugin(type="Executor", name="process")])
    description = NodeDescription(
        hostname=node_id, engine=engine, resources=Resources(memory_bytes=memory_bytes)
    )
    await swarm.store.modify(
        swarm.store.nodes, node_id, lambda node: replace(node, description=description)
    )


@pytest.mark.parametrize("wanted", [None, ServiceMode(global_=GlobalMode())], ids=["one", "global"])
def test_a_label_taken_away_evicts(wanted: ServiceMode | None) -> None:
    """The task ends, on the node too; where one can go elsewhere, it says why it left."""

    @virtual
    async def run() -> None:
        async with lab(workers=2) as swarm:
            await label(swarm, "w1", disk="ssd")
            await swarm.create("web", 1, SSD, mode=wanted)
            await swarm.until(lambda: swarm.running_on("web") == ["w1"])
            await label(swarm, "w2", disk="ssd")
            await label(swarm, "w1", disk="hdd")
            await swarm.until(lambda: swarm.running_on("web") == ["w2"])
            await swarm.until(lambda: not swarm.agents["w1"].running())
            if wanted is None:
                [left] = [t for t in swarm.store.tasks.by_service("web") if t.node_id == "w1"]
                assert left.status.state is TaskState.REJECTED
                assert left.status.err == REASON

    run()


@pytest.mark.parametrize(
    ("state", "version", "stays"),
    [
        ("updating", 1, True),
        ("paused", 1, True),
        ("rollback_paused", 1, True),
        ("completed", 1, False),
        ("updating", 2, False),
    ],
)
def test_constraints_of_an_update_reject_no_task_that_it_has_not_come_to(
    state: str,
    version: int,
    stays: bool,  # noqa: FBT001
) -> None:
    """They would all go at once, at the next change of the node or of the leader."""
    store = Store(now=lambda: NOW)
    tx = Transaction()
    tx.put(Node(id="n1"))
    store.apply(1, tx.encode(NOW))
    tx = Transaction()
    spec = ServiceSpec(name="web", task_template=SSD)
    tx.put(Service(id="web", spec=spec, update_status=UpdateStatus(state=state)))
    store.apply(2, tx.encode(NOW))  # the version of its spec, then
    tx = Transaction()
    old = TaskSpec(container_spec=ContainerSpec(image="host"))
    tx.put(
        Task(
            id="t1",
            service_id="web",
            slot=1,
            node_id="n1",
            spec=SSD if version == 2 else old,
            status=TaskStatus(state=TaskState.RUNNING),
            desired_state=TaskState.RUNNING,
            internal=TaskInternal(spec_version=version),
        )
    )
    store.apply(3, tx.encode(NOW))
    found = misplaced(store.nodes["n1"], store.tasks.by_node("n1"), Wanted(store))
    assert (not list(found)) is stays


@virtual
async def test_a_node_with_less_memory_keeps_what_fits_the_oldest_first() -> None:
    """Two of three tasks stay where they are."""
    async with lab(workers=1) as swarm:
        await remember(swarm, "w1", 6 * GIB)
        await swarm.create("big", 3, BIG)
        await swarm.until(lambda: swarm.running_on("big") == ["w1"] * 3)
        oldest = sorted(swarm.store.tasks, key=lambda task: (task.created_at, task.id))
        await remember(swarm, "w1", 5 * GIB)
        await swarm.until(lambda: swarm.running_on("big") == ["w1"] * 2)
        rejected = [t.id for t in swarm.store.tasks if t.status.err == REASON]
        assert rejected == [oldest[-1].id]


@virtual
async def test_a_node_that_is_not_active_is_left_alone() -> None:
    """Paused, it keeps its tasks until it is active again."""
    async with lab(workers=2) as swarm:
        await label(swarm, "w1", disk="ssd")
        await swarm.create("web", 1, SSD)
        await swarm.until(lambda: swarm.running_on("web") == ["w1"])
        await swarm.set_availability("w1", Availability.PAUSE)
        assert not available(swarm.store.nodes["w1"])
        await label(swarm, "w1")
        await asyncio.sleep(5)
        assert swarm.running_on("web") == ["w1"]
        await swarm.set_availability("w1", Availability.ACTIVE)
        await swarm.until(lambda: not swarm.running_on("web"))
