"""A store that applies at once, and schedulers over it: no loop, no clock, no log."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from swarmops.manager.scheduler import Scheduler
from swarmops.model.defaults import ports
from swarmops.model.ids import new_id
from swarmops.model.node import (
    Availability,
    EngineDescription,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Plugin,
)
from swarmops.model.service import (
    ContainerSpec,
    DiscreteGenericResource,
    GenericResource,
    Placement,
    Platform,
    ResourceRequirements,
    Resources,
    Service,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import Task, TaskInternal
from swarmops.store import Store, Transaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Swarm:
    """A store that applies at once, and the scheduler over it."""

    def __init__(self) -> None:
        self.store = Store(now=lambda: NOW)
        self.rng = random.Random(7)
        self.index = 0

    def put(self, *objects: Node | Service | Task) -> None:
        """Store these objects."""
        tx = Transaction()
        for obj in objects:
            tx.put(obj)
        self.apply(tx)

    def apply(self, tx: Transaction) -> None:
        """Apply a transaction as one log entry."""
        for batch in tx.batches():
            self.index += 1
            applied = self.store.apply(self.index, batch.encode(NOW))
            assert not applied.failures

    def node(self, node_id: str, **parts: object) -> None:
        """Store a READY node with both kinds of executor."""
        self.put(node(node_id, **parts))

    def service(self, name: str, spec: TaskSpec, count: int, **parts: object) -> None:
        """Store a service and so many tasks that wait."""
        service = Service(id=name, spec=ServiceSpec(name=name, task_template=spec, **parts))  # type: ignore[arg-type]
        self.put(service)
        self.put(
            *(
                Task(
                    id=new_id(self.rng),
                    service_id=name,
                    slot=slot,
                    spec=spec,
                    internal=TaskInternal(spec_version=1, ports=ports(service.spec)),
                )
                for slot in range(1, count + 1)
            )
        )

    def schedule(self) -> None:
        """Step a fresh scheduler until it has nothing more to say."""
        scheduler = Scheduler()
        groups = [group for group in scheduler.reset(self.store) if group]
        for _ in range(100):
            step = scheduler.step(self.store, groups, NOW)
            if not len(step.tx):
                return
            with self.store.watch() as watch:
                self.apply(step.tx)
                events, _ = watch.take()
            found = [group for event in events for group in scheduler.observe(self.store, event)]
            groups = list(dict.fromkeys([*step.again, *found]))
        raise AssertionError("the scheduler does not come to an end")

    def spread(self, service_id: str) -> Counter[str]:
        """Return how many tasks of the service each node has."""
        tasks = self.store.tasks.by_service(service_id)
        return Counter(task.node_id for task in tasks if task.node_id is not UNSET)

    def reasons(self) -> set[str]:
        """Return why tasks wait."""
        return {str(task.status.err) for task in self.store.tasks.unassigned()}


def node(node_id: str, **parts: object) -> Node:
    """Return a READY node; ``labels``, ``cpus``, ``memory``, ``executors``, … as given."""
    drivers: Any = parts.get("drivers", ())
    labels: Any = parts.get("labels", {})
    executors: Any = parts.get("executors", ("process", "docker"))
    availability: Any = parts.get("availability", Availability.ACTIVE)
    state: Any = parts.get("state", NodeState.READY)
    cpus: Any = parts.get("cpus", 4)
    memory: Any = parts.get("memory", 2**30)
    units: Any = parts.get("gpus", 0)
    return Node(
        id=node_id,
        spec=NodeSpec(labels=labels, availability=availability),
        status=NodeStatus(state=state),
        description=NodeDescription(
            hostname=node_id,
            platform=Platform(architecture=str(parts.get("arch", "x86_64")), os="linux"),
            resources=Resources(
                nano_cpus=int(cpus * 1e9),
                memory_bytes=memory,
                generic_resources=[gpus(units)],
            ),
            engine=EngineDescription(
                plugins=[
                    *(Plugin(type="Executor", name=name) for name in executors),
                    *(Plugin(type=kind, name=name) for kind, name in drivers),
                ]
            ),
        ),
    )


def gpus(count: int) -> GenericResource:
    """Return so many GPUs."""
    return GenericResource(discrete_resource_spec=DiscreteGenericResource(kind="gpu", value=count))


def spec(image: str = "host", **parts: object) -> TaskSpec:
    """Return a task template; ``placement`` fields and ``reserve`` as given."""
    reserve: Any = parts.pop("reserve", UNSET)
    needs = UNSET if reserve is UNSET else ResourceRequirements(reservations=reserve)
    return TaskSpec(
        container_spec=ContainerSpec(image=image),
        placement=Placement(**parts),  # type: ignore[arg-type]
        resources=needs,
    )
