"""A store as full as a large swarm's: so many tasks, and configs up to a size; for benchmarks."""

from __future__ import annotations

import base64
import random
from datetime import datetime
from typing import Any

from swarmops.model.ids import new_id
from swarmops.model.node import EngineDescription, Node, NodeDescription, NodeState, NodeStatus
from swarmops.model.secret import Config, ConfigSpec
from swarmops.model.service import (
    ContainerSpec,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import ContainerStatus, Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Store, Transaction

NODES, SERVICES = 100, 100
CONFIG_BYTES = 400_000


def transactions(tasks: int, at: datetime) -> list[Transaction]:
    """Return what makes a swarm of 100 nodes, 100 services and so many running tasks."""
    rng = random.Random(1)
    first = Transaction()
    nodes = [new_id(rng) for _ in range(NODES)]
    for node_id in nodes:
        description = NodeDescription(hostname=f"host-{node_id}", engine=EngineDescription())
        status = NodeStatus(state=NodeState.READY)
        first.put(Node(id=node_id, description=description, status=status))
    specs = [
        TaskSpec(
            container_spec=ContainerSpec(
                image=f"registry.example/app-{n}:1.0", env=[f"N={n}", "MODE=production"]
            )
        )
        for n in range(SERVICES)
    ]
    services = [new_id(rng) for _ in range(SERVICES)]
    for n, service_id in enumerate(services):
        mode = ServiceMode(replicated=ReplicatedMode(replicas=tasks // SERVICES))
        spec = ServiceSpec(name=f"app-{n}", task_template=specs[n], mode=mode)
        first.put(Service(id=service_id, spec=spec))
    rest = Transaction()
    for n in range(tasks):
        status_ = TaskStatus(
            timestamp=at,
            state=TaskState.RUNNING,
            message="started",
            container_status=ContainerStatus(
                container_id=f"{rng.getrandbits(256):064x}", pid=rng.randrange(2, 1 << 22)
            ),
        )
        rest.put(
            Task(
                id=new_id(rng),
                service_id=services[n % SERVICES],
                slot=n // SERVICES + 1,
                spec=specs[n % SERVICES],
                node_id=nodes[n % NODES],
                status=status_,
                desired_state=TaskState.RUNNING,
                internal=TaskInternal(),
            )
        )
    return [first, *rest.batches()]


async def fill(store: Store, at: datetime, tasks: int, size: int) -> dict[str, Any]:
    """Write tasks, then configs, through the store's own way until a snapshot has the size."""
    for tx in transactions(tasks, at):
        await store.commit(tx)
    have = sum(len(chunk) for chunk in store.snapshot())
    rng = random.Random(2)
    for n in range(max(0, size - have) // CONFIG_BYTES):
        tx = Transaction()
        data = base64.b64encode(rng.randbytes(CONFIG_BYTES * 3 // 4)).decode()
        spec = ConfigSpec(name=f"config-{n}", data=data)
        tx.put(Config(id=new_id(rng), spec=spec))
        await store.commit(tx)
    return {"tasks_bytes": have}
