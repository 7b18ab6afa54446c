"""What the scheduler decides about one group of equal tasks: their nodes, or why they wait.

Pure but for the loads, which bear what was decided until the scheduler takes it off again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from swarmops.manager import filters
from swarmops.manager.filters import Filter
from swarmops.manager.load import GENERIC, Burden, NodeLoad, host_ports, reservations, units_of
from swarmops.manager.ranking import Ranking
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Transaction


def assign(
    tasks: Sequence[Task], ranking: Ranking, tx: Transaction, now: datetime
) -> list[tuple[str, NodeLoad]]:
    """Give nodes to as many tasks as fit; their loads bear them until the caller takes them off."""
    tried: list[tuple[str, NodeLoad]] = []
    needs = reservations(tasks[0])
    generic = any(kind.startswith(GENERIC) for kind in needs)
    burden = Burden(tasks[0].service_id, True, needs, host_ports(tasks[0]))
    status = TaskStatus(
        timestamp=now, state=TaskState.ASSIGNED, message="scheduler assigned task to node"
    )
    for task in tasks:
        load = ranking.take()
        if load is None:
            break
        tried.append((task.id, load))
        if generic:
            chosen = load.choose(needs)
            load.add(task.id, msgspec.structs.replace(burden, units=units_of(chosen)))
            tx.put(
                msgspec.structs.replace(
                    task, node_id=load.node.id, status=status, assigned_generic_resources=chosen
                )
            )
        else:
            load.add(task.id, burden)
            tx.patch_task(task.id, node_id=load.node.id, status=status)
        ranking.put_back(load)
    return tried


def passes(load: NodeLoad, checks: Sequence[Filter]) -> bool:
    """Whether a node passes all of these filters."""
    for each in checks:  # noqa: SIM110 - the innermost loop of all: no generator
        if not each.check(load):
            return False
    return True


def reason(checks: Sequence[Filter], loads: Iterable[NodeLoad]) -> str:
    """Say why no node is fit: each node counts for the first filter that it fails."""
    counts = [0] * len(checks)
    for load in loads:
        for place, each in enumerate(checks):
            if not each.check(load):
                counts[place] += 1
                break
    return filters.explain(list(zip(checks, counts, strict=True)))


def explain(tasks: Iterable[Task], why: str, tx: Transaction, now: datetime) -> None:
    """Write the reason on the tasks that don't carry it yet."""
    status = TaskStatus(
        timestamp=now, state=TaskState.PENDING, message="pending task scheduling", err=why
    )
    for task in tasks:
        if task.status.err != why or task.status.state is not TaskState.PENDING:
            tx.patch_task(task.id, status=status)
