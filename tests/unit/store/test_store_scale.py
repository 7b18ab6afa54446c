"""What many tasks cost a manager in memory; ``bench`` measures a whole one with 100,000."""

from __future__ import annotations

import gc
import random
import tracemalloc
from datetime import UTC, datetime

from msgspec.structs import replace

from swarmops.model.ids import new_id
from swarmops.model.node import Node
from swarmops.model.service import ContainerSpec, Service, ServiceSpec, TaskSpec
from swarmops.model.task import ContainerStatus, Task, TaskState, TaskStatus
from swarmops.store import Store, Transaction
from tests.sim.memory_log import MemoryLog

AT = datetime(2026, 5, 4, 3, 2, 1, 500_000, tzinfo=UTC)
TASKS = 4_000
BYTES_PER_TASK_MAX = 1500
"""100,000 then take 150 MB of the 400 that a manager may have; 1,040 when this was written."""


def _containers(number: int) -> TaskSpec:
    env = [f"VARIABLE_{n}=some value of some length" for n in range(10)]
    return TaskSpec(container_spec=ContainerSpec(image=f"host:{number}", args=["x"], env=env))


async def test_a_task_costs_a_manager_less_than_fifteen_hundred_bytes():
    """Made, bound, run and reported as a service's tasks are, on a replica that only applies."""
    rng = random.Random(1)
    log = MemoryLog(delay_s=0)
    writer, replica = Store(now=lambda: AT), Store(now=lambda: AT)
    log.attach(writer)
    entries: list[bytes] = []
    propose = writer.propose

    async def note(data: bytes) -> object:
        entries.append(data)
        return await propose(data)

    writer.propose = note
    services = [new_id(rng) for _ in range(20)]
    nodes = [new_id(rng) for _ in range(50)]
    first = Transaction()
    for number, service_id in enumerate(services):
        template = _containers(number)
        wanted = ServiceSpec(name=f"service-{number}", task_template=template)
        first.put(Service(id=service_id, spec=wanted))
    for node_id in nodes:
        first.put(Node(id=node_id))
    await writer.commit(first)
    made = []
    for number in range(TASKS):
        service_id = services[number % len(services)]
        spec = _containers(number % len(services))
        status = TaskStatus(state=TaskState.NEW, timestamp=AT, message="created")
        slot = number // len(services) + 1
        made.append(
            Task(id=new_id(rng), service_id=service_id, slot=slot, spec=spec, status=status)
        )
    everything = Transaction()
    for task in made:
        everything.put(task)
    for task in made:
        everything.patch_task(task.id, node_id=rng.choice(nodes))
    for task in made:
        container = ContainerStatus(
            container_id=rng.randbytes(32).hex(), pid=rng.randrange(1 << 22)
        )
        status = replace(task.status, state=TaskState.RUNNING, message="started")
        everything.patch_task(task.id, status=replace(status, container_status=container))
    for batch in everything.batches():
        await writer.commit(batch)
    gc.collect()
    tracemalloc.start()
    for index, data in enumerate(entries, 1):
        replica.apply(index, data)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(replica.tasks) == TASKS
    assert used / TASKS < BYTES_PER_TASK_MAX
    assert used / TASKS > 500, "it was not measured"
