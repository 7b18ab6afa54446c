"""One simulated run of a swarm, from one seed: formed, harmed, left in peace, judged.

``simulate(seed)`` returns a ``Report`` or raises ``Failure``, which tells what happened.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from dataclasses import dataclass

from swarmops.model.task import Task
from tests.sim.manager.chaos import Chaos
from tests.sim.manager.settled import lacks
from tests.sim.manager.swarm import Swarm
from tests.sim.virtual_loop import run_virtual

SETTLE_S = 120.0
"""Replicas are restored within this after the last fault: a node's death takes 13 s to be known
after a leader's, then come updates of up to ten tasks, one after another, with delays."""
CALM_S = 15.0


@dataclass(frozen=True)
class Report:
    """What one seed did."""

    seed: int
    virtual_s: float
    wall_s: float
    entries: int
    tasks: int
    settled_s: float
    trace: int
    """One number for all that happened, to see that a seed always does the same."""


class Failure(Exception):  # noqa: N818 - the seed's outcome
    """A seed that broke an invariant."""

    def __init__(self, seed: int, cause: BaseException, told: str) -> None:
        super().__init__(f"seed {seed}: {cause!r} {getattr(cause, '__notes__', '')}\n{told}")
        self.seed = seed


def simulate(seed: int) -> Report:
    """Run one seed; raises Failure."""
    return run_virtual(_run(seed))


async def _run(seed: int) -> Report:
    began_s = time.perf_counter()
    clock = asyncio.get_running_loop()
    swarm = Swarm(seed)
    chaos = Chaos(swarm)
    try:
        await swarm.form()
        swarm.spawn(swarm.watching.loops())
        await chaos.run()
        await chaos.make_peace()
        peace_s = clock.time()
        settled_s = await _settle(swarm)
        await _stay_calm(swarm)
        tasks: list[Task] = list(swarm.store.tasks)
        trace = zlib.crc32(repr((chaos.history, tasks)).encode())
        return Report(
            seed=seed,
            virtual_s=clock.time(),
            wall_s=time.perf_counter() - began_s,
            entries=swarm.watching.entries,
            tasks=len(tasks),
            settled_s=settled_s - peace_s,
            trace=trace,
        )
    except Exception as error:
        raise Failure(seed, error, _picture(swarm, chaos, error)) from error
    finally:
        await swarm.stop()


async def _settle(swarm: Swarm) -> float:
    """Wait until nothing is lacking; return when that was."""
    clock = asyncio.get_running_loop()
    end_s = clock.time() + SETTLE_S
    while found := list(lacks(swarm)):
        swarm.check()
        if clock.time() > end_s:
            raise AssertionError(f"not settled within {SETTLE_S:g} s: {'; '.join(found)}")
        await asyncio.sleep(0.5)
    return clock.time()


async def _stay_calm(swarm: Swarm) -> None:
    """A swarm that has settled stays so, and has nothing more to write."""
    await swarm.until(lambda: not list(lacks(swarm)), 30, "a settled swarm stays so")
    clock = asyncio.get_running_loop()
    before, end_s = swarm.watching.entries, clock.time() + CALM_S
    await swarm.until(lambda: clock.time() >= end_s, CALM_S + 1, "time passes")
    written = swarm.watching.entries - before
    if written:
        # The history of what failed is kept for five minutes; then a rebalance looks once more.
        await swarm.until(lambda: not list(lacks(swarm)), SETTLE_S, "a settled swarm stays so")
        before, end_s = swarm.watching.entries, clock.time() + CALM_S
        await swarm.until(lambda: clock.time() >= end_s, CALM_S + 1, "time passes")
        assert swarm.watching.entries == before, "a settled swarm goes on writing"
    assert not list(lacks(swarm)), f"a settled swarm came apart: {list(lacks(swarm))}"


def _picture(swarm: Swarm, chaos: Chaos, error: Exception) -> str:
    """Tell what happened, and how it stands."""
    lines = [*chaos.history, ""]
    for name, machine in swarm.machines.items():
        status = machine.raft.status() if machine.is_running else None
        lines.append(f"{name}: {status and (status.is_leader, status.term, status.applied_index)}")
    store = swarm.store
    lines += [f"{n.id}: {n.status.state.value} {n.spec.availability.value}" for n in store.nodes]
    told = str(error)
    for service in store.services:
        if service.id not in told and "task" not in told:
            continue
        lines.append(f"{service.id}: {service.update_status} {service.spec}")
        lines += [
            f"    {t.id[:6]} {t.slot} on {t.node_id}: {t.status.state.value}/"
            f"{t.desired_state.value} {t.status.err} {t.internal}"[:400]
            for t in store.tasks.by_service(service.id)
        ]
    return "\n".join(lines)
