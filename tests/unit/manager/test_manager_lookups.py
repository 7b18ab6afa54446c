"""What the control loops look at: what changed and what it names, never all there is of a kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.node import Availability
from swarmops.model.service import (
    EndpointSpec,
    GlobalMode,
    PortConfig,
    ReplicatedMode,
    ServiceMode,
    TaskSpec,
)
from swarmops.model.task import Task
from swarmops.store import Table, Transaction
from tests.sim.manager_lab import lab
from tests.sim.virtual_loop import virtual

FEW = ("clusters", "networks")
"""One, and as many as there are subnets: whoever asks for a free one looks at all."""
ALLOWED = {"nodes": {"look_places.py:_fill_nodes"}}
"""A global service has a place on each node: a look at the whole of it is one at all nodes."""


def test_no_loop_looks_at_all_of_a_kind_for_one_change(monkeypatch: pytest.MonkeyPatch):
    """Scaling, ports, updates, draining, a dead worker, removals: each lookup has its index."""
    readers: dict[str, set[str]] = {}
    every = Table.__iter__

    def seen(self: Table[Any]) -> Iterator[Any]:
        caller = sys._getframe(1).f_code
        if "/swarmops/" in caller.co_filename and self.name not in FEW:
            where = f"{caller.co_filename.rpartition('/')[2]}:{caller.co_name}"
            readers.setdefault(self.name, set()).add(where)
        return every(self)

    @virtual
    async def run() -> None:
        async with lab(workers=4) as swarm:
            await swarm.create("web", 6)
            await swarm.create("each", mode=ServiceMode(global_=GlobalMode()))
            await swarm.until(lambda: len(swarm.running_on("web") + swarm.running_on("each")) == 11)
            monkeypatch.setattr(Table, "__iter__", seen)
            more = ServiceMode(replicated=ReplicatedMode(replicas=9))
            await swarm.change("web", lambda spec: replace(spec, mode=more))
            await swarm.until(lambda: len(swarm.running_on("web")) == 9)
            template = given(swarm.store.services["web"].spec.task_template, TaskSpec())
            other = replace(template, force_update=1)
            await swarm.change("web", lambda spec: replace(spec, task_template=other))
            await swarm.until(lambda: _updated(list(swarm.store.tasks.by_service("web"))), 60)
            ports = EndpointSpec(ports=[PortConfig(target_port=80, protocol="tcp")])
            await swarm.change("web", lambda spec: replace(spec, endpoint_spec=ports))
            await swarm.until(lambda: bool(swarm.store.services.publishing(30_000, "tcp")))
            await swarm.until(lambda: _updated(list(swarm.store.tasks.by_service("web"))), 60)
            await swarm.set_availability("w1", Availability.DRAIN)
            await swarm.until(lambda: "w1" not in swarm.running_on("web"), 60)
            await swarm.agents["w2"].power_off()
            await swarm.until(lambda: "w2" not in swarm.running_on("web"), 60)
            await swarm.until(lambda: len(swarm.running_on("web")) == 9, 60)
            tx = Transaction()
            tx.delete(swarm.store.services["web"])
            tx.delete(swarm.store.nodes["w2"])
            await swarm.store.commit(tx)
            await swarm.until(lambda: not swarm.store.tasks.by_service("web"), 60)
            monkeypatch.setattr(Table, "__iter__", every)

    run()
    assert readers == ALLOWED


def _updated(tasks: list[Task]) -> bool:
    live = [t for t in tasks if not t.status.state.terminal and t.desired_state.value == "running"]
    return len(live) == 9 and all(t.spec.force_update == 1 for t in live)
