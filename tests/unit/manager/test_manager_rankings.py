"""What the scheduler keeps between steps: it changes no decision, and makes each one cheap."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from swarmops.manager.ranking import Inner
from swarmops.manager.scheduler import Scheduler
from swarmops.model.ids import new_id
from swarmops.model.node import Availability, NodeSpec
from swarmops.model.service import Resources, Service, ServiceSpec
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Event, Transaction
from tests.sim.scheduler_lab import NOW, Swarm, spec

SPECS = {
    "plain": spec(),
    "large": spec(reserve=Resources(nano_cpus=int(1e9))),
    "few": spec(max_replicas=2),
}


class Living:
    """A swarm whose scheduler lives on, fed with the store's events."""

    def __init__(self, nodes: int, cpus: int) -> None:
        self.swarm = Swarm()
        self.rng = self.swarm.rng
        for number in range(nodes):
            self.swarm.node(f"n{number:04}", cpus=cpus)
        for name, template in SPECS.items():
            self.swarm.put(Service(id=name, spec=ServiceSpec(name=name, task_template=template)))
        self.scheduler = Scheduler()
        self.groups = [group for group in self.scheduler.reset(self.swarm.store) if group]

    def apply(self, tx: Transaction) -> None:
        """Store this, and let the scheduler hear of it."""
        with self.swarm.store.watch() as watch:
            self.swarm.apply(tx)
            self._hear(watch.take()[0])

    def wait(self, service_id: str) -> Task:
        """Store one more task of the service."""
        internal = TaskInternal(spec_version=1)
        task = Task(id=new_id(self.rng), service_id=service_id, slot=1, spec=SPECS[service_id])
        tx = Transaction()
        tx.put(replace(task, internal=internal))
        self.apply(tx)
        return task

    def _hear(self, events: Iterable[Event]) -> None:
        found = [
            group for each in events for group in self.scheduler.observe(self.swarm.store, each)
        ]
        self.groups = list(dict.fromkeys([*self.groups, *found]))

    def decide(self) -> tuple[bytes, bytes]:
        """Return what this scheduler decides, and what one that begins now would."""
        store, groups, another = self.swarm.store, self.groups, Scheduler()
        list(another.reset(store))
        mine = self.scheduler.step(store, groups, NOW)
        self.groups = list(mine.again)
        found = mine.tx.encode(NOW), another.step(store, groups, NOW).tx.encode(NOW)
        self.apply(mine.tx)
        return found

    def happen(self) -> None:
        """Let a task come, end, fail or be told to stop, or a node change."""
        store, rng = self.swarm.store, self.rng
        what = rng.choice(["come"] * 6 + ["end"] * 3 + ["fail"] * 2 + ["stop", "node"])
        bound = sorted(t.id for t in store.tasks if t.status.state is TaskState.ASSIGNED)
        tx = Transaction()
        if what == "node":
            node = rng.choice(sorted(store.nodes, key=lambda each: each.id))
            availability = rng.choice([*Availability, Availability.ACTIVE])
            tx.put(replace(node, spec=NodeSpec(availability=availability)))
        elif what == "come" or not bound:
            for _ in range(rng.choice([1, 1, 1, 4])):
                self.wait(rng.choice(sorted(SPECS)))
        elif what == "stop":
            tx.patch_task(rng.choice(bound), desired_state=TaskState.SHUTDOWN)
        else:
            state = TaskState.FAILED if what == "fail" else TaskState.COMPLETE
            tx.patch_task(rng.choice(bound), status=TaskStatus(timestamp=NOW, state=state))
        if len(tx):
            self.apply(tx)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_changes_no_decision(seed: int) -> None:
    """Whatever happened before, a scheduler that has just begun would decide the same."""
    living = Living(nodes=6, cpus=3)
    living.rng = random.Random(seed)
    for _ in range(80):
        living.happen()
        mine, anothers = living.decide()
        assert mine == anothers


@pytest.mark.parametrize("service_id", sorted(SPECS))
def test_a_single_task_costs_no_look_at_every_node(service_id: str) -> None:
    """Of 300 nodes the first task sees all; each of the next, placed alone, a handful."""
    living = Living(nodes=300, cpus=64)
    living.wait(service_id)
    living.decide()
    before = living.scheduler.looked
    for _ in range(20):
        living.wait(service_id)
        step = living.scheduler.step(living.swarm.store, living.groups, NOW)
        living.groups = list(step.again)
        living.apply(step.tx)
    assert len({task.node_id for task in living.swarm.store.tasks}) == 21
    assert living.scheduler.looked - before < 20 * 10


class Branch:
    """A branch of a tree of preferences that notes how often it is looked at."""

    looked = 0

    def __init__(self, loads: list[object]) -> None:
        self._loads = loads
        self._count = 0

    @property
    def count(self) -> int:
        """Return the tasks in this branch."""
        Branch.looked += 1
        return self._count

    def take(self) -> object | None:
        """Take one of its nodes."""
        self._count += bool(self._loads)
        return self._loads.pop() if self._loads else None


def test_a_task_costs_no_look_at_every_branch_of_a_preference() -> None:
    """Spreading over 1,000 values, each task looks at the least of them alone."""
    Branch.looked = 0
    branches = [Branch([number] * (number % 3)) for number in range(1000)]
    tree = Inner(branches)  # type: ignore[arg-type]
    built = Branch.looked
    taken: list[object] = [tree.take() for _ in range(999)]
    assert taken == [number for number in range(1000) if number % 3] + [
        number for number in range(1000) if number % 3 == 2
    ]
    assert tree.take() is None
    assert Branch.looked - built < 3 * 1000
