"""How fast the scheduler decides, alone: no Raft, no network, no loop; one core.

    python bench/scheduler.py [--tasks 20000]

For each size of swarm it places tasks of one service until all have nodes, and prints decisions a
second of CPU time (choosing the node and what is written about it, not applying it) and the longest
step. The
second table is how long one step of the orchestrator looks at a service of so many replicas.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from datetime import UTC, datetime

from swarmops.manager.orchestrator import Orchestrator
from swarmops.manager.scheduler import Scheduler
from swarmops.model.ids import new_id
from swarmops.model.node import (
    EngineDescription,
    Node,
    NodeDescription,
    NodeState,
    NodeStatus,
    Plugin,
)
from swarmops.model.service import (
    ContainerSpec,
    ReplicatedMode,
    ResourceRequirements,
    Resources,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Store, Transaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = TaskSpec(
    container_spec=ContainerSpec(image="host"),
    resources=ResourceRequirements(
        reservations=Resources(nano_cpus=1_000_000, memory_bytes=1 << 20)
    ),
)


def swarm(nodes: int, tasks: int, *, running: bool = False) -> Store:
    """Return a store with so many nodes, and a service whose tasks wait, or run."""
    store, rng = Store(now=lambda: NOW), random.Random(1)
    engine = EngineDescription(plugins=[Plugin(type="Executor", name="process")])
    offered = Resources(nano_cpus=64 * 10**9, memory_bytes=1 << 40)
    tx = Transaction()
    ids = [new_id(rng) for _ in range(nodes)]
    for node_id in ids:
        description = NodeDescription(hostname=node_id, engine=engine, resources=offered)
        status = NodeStatus(state=NodeState.READY)
        tx.put(Node(id=node_id, description=description, status=status))
    mode = ServiceMode(replicated=ReplicatedMode(replicas=tasks))
    tx.put(Service(id="web", spec=ServiceSpec(name="web", task_template=SPEC, mode=mode)))
    apply(store, tx)
    version = store.applied
    tx = Transaction()
    for slot in range(1, tasks + 1):
        task = Task(
            id=new_id(rng),
            service_id="web",
            slot=slot,
            spec=SPEC,
            internal=TaskInternal(spec_version=version),
        )
        if running:
            status_ = TaskStatus(state=TaskState.RUNNING)
            task = Task(
                id=task.id,
                service_id="web",
                slot=slot,
                spec=SPEC,
                status=status_,
                node_id=ids[slot % nodes],
                internal=task.internal,
            )
        tx.put(task)
    apply(store, tx)
    return store


def apply(store: Store, tx: Transaction) -> None:
    """Apply a transaction as the log would."""
    for batch in tx.batches():
        store.apply(store.applied + 1, batch.encode(NOW))


def place(nodes: int, tasks: int) -> tuple[float, float]:
    """Place everything; return decisions a second of CPU time, and the longest step in ms."""
    store = swarm(nodes, tasks)
    scheduler = Scheduler()
    groups = [group for group in scheduler.reset(store) if group]
    spent_s = longest_s = 0.0
    decided = 0
    while groups:
        gc.collect()
        began_s = time.process_time()
        step = scheduler.step(store, groups, NOW)
        took_s = time.process_time() - began_s
        spent_s += took_s
        longest_s = max(longest_s, took_s)
        decided += len(step.tx)
        with store.watch(size=1_000_000) as watch:
            apply(store, step.tx)
            events, _ = watch.take()
        found = [group for event in events for group in scheduler.observe(store, event)]
        groups = list(dict.fromkeys([*step.again, *found]))
    if decided != tasks:
        raise SystemExit(f"{decided} of {tasks} tasks were placed")
    return decided / spent_s, 1000 * longest_s


def look(nodes: int, replicas: int) -> float:
    """Return the longest step in milliseconds of looking at a settled service as a whole."""
    store = swarm(nodes, replicas, running=True)
    orchestrator = Orchestrator(random.Random(1))
    longest_s = 0.0
    keys = [("web", "")]
    for _ in range(1000):
        if not keys:
            break
        gc.collect()
        began_s = time.process_time()
        step = orchestrator.step(store, keys, NOW)
        longest_s = max(longest_s, time.process_time() - began_s)
        keys = step.again
    return 1000 * longest_s


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    tasks = parser.parse_args().tasks
    print(f"{'nodes':>6} {'tasks':>7} {'decisions/s':>12} {'longest step':>13}")
    for nodes in (100, 500, 1000, 5000):
        rate, longest_ms = place(nodes, tasks)
        print(f"{nodes:>6} {tasks:>7} {rate:>12,.0f} {longest_ms:>10.1f} ms")
    print(f"\n{'nodes':>6} {'replicas':>9} {'longest look':>13}")
    for nodes, replicas in ((1000, 5000), (5000, 50_000)):
        print(f"{nodes:>6} {replicas:>9} {look(nodes, replicas):>10.1f} ms")


if __name__ == "__main__":
    main()
