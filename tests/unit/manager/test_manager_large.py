"""Large services are looked at over many steps, none of which holds up the event loop."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from swarmops.manager import registry
from swarmops.manager.look import CHANGED_PER_STEP, LOOKED_PER_STEP
from swarmops.manager.loop import Step
from swarmops.manager.orchestrator import MORE, Orchestrator
from swarmops.manager.reaper import Reaper
from swarmops.manager.scheduler import PLACED_PER_STEP, Scheduler
from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.node import Node, NodeState, NodeStatus
from swarmops.model.service import (
    ContainerSpec,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Store, Transaction
from tests.sim.manager_lab import lab
from tests.sim.virtual_loop import virtual

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASKS = 2 * LOOKED_PER_STEP
SPEC = TaskSpec(container_spec=ContainerSpec(image="host"))


class Large:
    """A service of many tasks that run, and the orchestrator that looks at it."""

    def __init__(self) -> None:
        self.store, self.rng = Store(now=lambda: NOW), random.Random(1)
        self.orchestrator = Orchestrator(self.rng)
        tx = Transaction()
        tx.put(Node(id="n", status=NodeStatus(state=NodeState.READY)))
        mode = ServiceMode(replicated=ReplicatedMode(replicas=TASKS))
        spec = ServiceSpec(name="web", task_template=SPEC, mode=mode)
        tx.put(Service(id="web", spec=spec))
        self.apply(tx)
        version = self.store.applied
        tx = Transaction()
        for slot in range(1, TASKS + 1):
            tx.put(
                Task(
                    id=new_id(self.rng),
                    service_id="web",
                    slot=slot,
                    spec=SPEC,
                    node_id="n",
                    status=TaskStatus(state=TaskState.RUNNING),
                    internal=TaskInternal(spec_version=version),
                )
            )
        self.apply(tx)

    def apply(self, tx: Transaction) -> None:
        """Apply as the log does."""
        for batch in tx.batches():
            self.store.apply(self.store.applied + 1, batch.encode(NOW))

    def change(self, **changes: object) -> None:
        """Give the service another spec."""
        service = self.store.services["web"]
        tx = Transaction()
        tx.put(replace(service, spec=replace(service.spec, **changes)))
        self.apply(tx)

    def step(self, keys: list[tuple[str, str]]) -> Step[tuple[str, str]]:
        """Do one step, and what it wants."""
        step = self.orchestrator.step(self.store, keys, NOW)
        assert len(step.tx) <= CHANGED_PER_STEP + 1
        self.apply(step.tx)
        return step

    def settle(self) -> tuple[int, int]:
        """Step until nothing is left; return how many steps that took, and how many wrote."""
        keys, steps, wrote = [("web", "")], 0, 0
        while keys:
            step = self.step(keys)
            keys, steps, wrote = step.again, steps + 1, wrote + bool(len(step.tx))
        return steps, wrote

    def wanted(self) -> list[Task]:
        """Return the tasks that shall run."""
        tasks = self.store.tasks.by_service("web")
        return [task for task in tasks if task.desired_state is TaskState.RUNNING]


@pytest.fixture(scope="module")
def prepared() -> Large:
    """Return one that nothing has changed yet."""
    return Large()


def test_a_look_at_a_service_that_is_well_takes_many_steps_and_writes_nothing(
    prepared: Large,
) -> None:
    """In each, no more tasks are passed than one step may; the next goes on where it stopped."""
    assert prepared.step([("web", "")]).again == [("web", MORE)]
    steps, wrote = prepared.settle()
    assert steps >= TASKS // LOOKED_PER_STEP
    assert wrote == 0


def test_what_changes_during_a_look_is_seen_by_the_next() -> None:
    """A spec that changes in the middle ends the look; in the end as many are wanted as it says."""
    large = Large()
    assert large.step([("web", "")]).again == [("web", MORE)]
    large.change(mode=ServiceMode(replicated=ReplicatedMode(replicas=TASKS - 700)))
    _, wrote = large.settle()
    assert len(large.wanted()) == TASKS - 700
    assert wrote >= 700 // CHANGED_PER_STEP
    slots = sorted(given(task.slot, 0) for task in large.wanted())
    assert slots == list(range(1, TASKS - 700 + 1))


def test_an_update_of_all_at_once_goes_over_many_steps() -> None:
    """Each place gets exactly one task of the new spec."""
    large = Large()
    new = TaskSpec(container_spec=ContainerSpec(image="host", args=["2"]))
    config = UpdateConfig(parallelism=0, order="start-first")
    large.change(task_template=new, update_config=config)
    large.settle()
    fresh = [task for task in large.store.tasks.by_service("web") if task.spec == new]
    assert sorted(given(task.slot, 0) for task in fresh) == list(range(1, TASKS + 1))


def test_the_tasks_of_a_large_service_that_is_removed_go_over_many_steps() -> None:
    """None is left."""
    large = Large()
    tx = Transaction()
    tx.delete(large.store.services["web"])
    large.apply(tx)
    steps, _ = large.settle()
    assert steps >= TASKS // CHANGED_PER_STEP
    assert all(task.desired_state is TaskState.REMOVE for task in large.store.tasks)


def test_a_new_leader_looks_at_no_place_that_is_well(prepared: Large) -> None:
    """It passes all tasks once, and has only the service to look at, and none to delete."""
    keys = [key for key in prepared.orchestrator.reset(prepared.store) if key is not None]
    assert keys == [("web", "")]
    assert [key for key in Reaper().reset(prepared.store) if key is not None] == []


@pytest.mark.parametrize(
    "change",
    [
        {"status": TaskStatus(state=TaskState.FAILED)},
        {"desired_state": TaskState.SHUTDOWN},
        {"desired_state": TaskState.READY},
        {"node_id": "gone"},
        {"id": new_id(random.Random(2))},
    ],
    ids=["failed", "shall stop", "waits", "node is gone", "has another beside it"],
)
def test_a_new_leader_looks_at_every_other_place(change: dict[str, object]) -> None:
    """Whatever the former one may have left undone there."""
    store = _with_task(change)
    assert ("web", "7") in list(Orchestrator(random.Random(1)).reset(store))


@pytest.mark.parametrize(
    "change",
    [
        {"desired_state": TaskState.REMOVE},
        {"id": new_id(random.Random(2))},
    ],
    ids=["shall be removed", "has history"],
)
def test_a_new_leader_sees_whatever_may_be_deleted(change: dict[str, object]) -> None:
    """Where the former one told a node to stop it, and where there is history."""
    gone = {"status": TaskStatus(state=TaskState.SHUTDOWN), **change}
    assert ("web", "7") in list(Reaper().reset(_with_task(gone)))


def _with_task(change: dict[str, object]) -> Store:
    """Return a store with a task that runs in slot 7, changed; or beside it, if its ID is."""
    store = Store(now=lambda: NOW)
    tx = Transaction()
    tx.put(Node(id="n", status=NodeStatus(state=NodeState.READY)))
    tx.put(Service(id="web", spec=ServiceSpec(name="web", task_template=SPEC)))
    runs = TaskStatus(state=TaskState.RUNNING)
    well = Task(id="t", service_id="web", slot=7, spec=SPEC, node_id="n", status=runs)
    if "id" in change:
        tx.put(well)
    tx.put(replace(well, **change))
    store.apply(1, tx.encode(NOW))
    return store


def test_why_a_large_service_waits_is_told_over_many_steps() -> None:
    """No node takes any of its tasks: in the end all say why, and no step wrote on many."""
    store, tasks = Store(now=lambda: NOW), 3 * PLACED_PER_STEP + 1
    tx = Transaction()
    tx.put(Node(id="n"))
    tx.put(Service(id="web", spec=ServiceSpec(name="web", task_template=SPEC)))
    for slot in range(1, tasks + 1):
        tx.put(Task(id=f"t{slot:05}", service_id="web", slot=slot, spec=SPEC))
    store.apply(1, tx.encode(NOW))
    scheduler = Scheduler()
    groups = [group for group in scheduler.reset(store) if group is not None]
    steps = 0
    while groups:
        step = scheduler.step(store, groups, NOW)
        assert len(step.tx) <= PLACED_PER_STEP
        groups, steps = step.again, steps + 1
        if len(step.tx):
            store.apply(store.applied + 1, step.tx.encode(NOW))
    assert steps > tasks // PLACED_PER_STEP
    reason = "no suitable node (1 node not available for new tasks)"
    assert {task.status.err for task in store.tasks} == {reason}


@virtual
async def test_a_new_leader_places_before_it_tidies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that lacks tasks gets them at once; what is too much may wait by their number."""
    async with lab(managers=3, workers=2) as swarm:
        service_id = await swarm.create("old", 10)
        await swarm.until(lambda: len(swarm.running_on("old")) == 10)
        monkeypatch.setattr(registry, "TASKS_PER_S", 0.5)
        swarm.lead("m2")
        tx = Transaction()
        tx.delete(swarm.store.services[service_id])
        await swarm.store.commit(tx)
        await swarm.create("new", 4)
        await swarm.until(lambda: len(swarm.running_on("new")) == 4, within_s=5)
        await asyncio.sleep(10)
        assert len(swarm.store.tasks.by_service(service_id)) == 10
        await swarm.until(lambda: not swarm.store.tasks.by_service(service_id), within_s=30)
