"""What the control loops look at: what changed and what it names, never all tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.node import Availability
from swarmops.model.service import GlobalMode, ReplicatedMode, ServiceMode, TaskSpec
from swarmops.model.task import Task
from swarmops.store import TaskTable
from tests.sim.manager_lab import lab
from tests.sim.virtual_loop import virtual


def test_no_loop_looks_at_all_tasks_for_one_change(monkeypatch: pytest.MonkeyPatch):
    """Scaling, updating, draining, a dead worker, a removal: each lookup has its index."""
    readers: set[str] = set()
    every = TaskTable.__iter__

    def seen(self: TaskTable) -> Iterator[Task]:
        caller = sys._getframe(1).f_code
        if "/swarmops/" in caller.co_filename:
            readers.add(f"{caller.co_filename.rpartition('/')[2]}:{caller.co_name}")
        return every(self)

    @virtual
    async def run() -> None:
        async with lab(workers=4) as swarm:
            await swarm.create("web", 6)
            await swarm.create("each", mode=ServiceMode(global_=GlobalMode()))
            await swarm.until(lambda: len(swarm.running_on("web") + swarm.running_on("each")) == 11)
            monkeypatch.setattr(TaskTable, "__iter__", seen)
            more = ServiceMode(replicated=ReplicatedMode(replicas=9))
            await swarm.change("web", lambda spec: replace(spec, mode=more))
            await swarm.until(lambda: len(swarm.running_on("web")) == 9)
            template = given(swarm.store.services["web"].spec.task_template, TaskSpec())
            other = replace(template, force_update=1)
            await swarm.change("web", lambda spec: replace(spec, task_template=other))
            await swarm.until(lambda: _updated(list(swarm.store.tasks.by_service("web"))), 60)
            await swarm.set_availability("w1", Availability.DRAIN)
            await swarm.until(lambda: "w1" not in swarm.running_on("web"), 60)
            await swarm.agents["w2"].power_off()
            await swarm.until(lambda: "w2" not in swarm.running_on("web"), 60)
            await swarm.until(lambda: len(swarm.running_on("web")) == 9, 60)
            monkeypatch.setattr(TaskTable, "__iter__", every)

    run()
    assert readers == set()


def _updated(tasks: list[Task]) -> bool:
    live = [t for t in tasks if not t.status.state.terminal and t.desired_state.value == "running"]
    return len(live) == 9 and all(t.spec.force_update == 1 for t in live)
