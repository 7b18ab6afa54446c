"""What holds a manager's event loop, and for how long: every loop of it, in a swarm of thousands.

    python -m bench.loops [--nodes 5000] [--tasks 100000] [--services 10]

Managers, stores and agents in one process on a virtual clock, without Raft and without network; so
it says nothing about time to wait, and all about the turns between: by the processor time of each
turn of the event loop, whatever else the machine does. The agents' own turns are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import random
import time
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from typing import Any

from msgspec.structs import replace

from bench.held_loop import WORTH_NOTING_S, Turns, name_of, watch
from bench.simulated_agents import Agent, Seen
from swarmops.model.base import given
from swarmops.model.node import Availability, Node
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    ReplicatedMode,
    ServiceMode,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.session import Channel
from swarmops.runtime.collector import Collector
from swarmops.store import Transaction
from tests.sim.manager_lab import Lab, channel_pair
from tests.sim.virtual_loop import VirtualTimeLoop

WITHIN_S = 600.0
AGENT = "Agent."
SHOWN = 10
GLOBAL = ServiceMode(global_=GlobalMode())


class Timed:
    """In the stead of a callback's context: notes how long its turn took."""

    def __init__(self, handle: asyncio.Handle, turns: Turns) -> None:
        self._handle, self._turns = handle, turns
        self._context = handle._context  # type: ignore[attr-defined]  # noqa: SLF001 - as held_loop

    def run(self, callback: Callable[..., object], *args: object) -> object:
        """Call back."""
        began_s = time.thread_time()
        try:
            return self._context.run(callback, *args)
        finally:
            took_s = time.thread_time() - began_s
            if took_s > WORTH_NOTING_S:
                self._turns.note(name_of(self._handle), took_s)


class TimedLoop(VirtualTimeLoop):
    """The virtual loop calls back without asyncio's ``Handle._run``, where others are timed."""

    turns = Turns()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See the base class."""
        handle = super().call_soon(callback, *args, context=context)
        handle._context = Timed(handle, self.turns)  # type: ignore[attr-defined]  # noqa: SLF001
        return handle


class Bench:
    """One swarm: the lab's managers, and agents that cost little."""

    def __init__(self, nodes: int) -> None:
        self.swarm = Lab(managers=2, workers=0)
        self.seen = Seen()
        self.names = [f"w{number:05}" for number in range(nodes)]
        self.agents: dict[str, asyncio.Task[None]] = {}
        self._rng = random.Random(1)
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Form the swarm; its managers get no tasks."""
        await self.swarm.start()
        for node_id in ("m1", "m2"):
            await self.swarm.set_availability(node_id, Availability.DRAIN)
        for start in range(0, len(self.names), 200):
            tx = Transaction()
            for name in self.names[start : start + 200]:
                tx.put(Node(id=name))
            await self.swarm.store.commit(tx)

    def power_on(self, name: str) -> None:
        """Start a node's agent."""

        async def dial(addr: str) -> Channel:
            near, far = channel_pair()
            dispatcher = self.swarm.managers[addr].dispatcher
            serving = asyncio.create_task(dispatcher.serve(far, name, "10.0.0.1"))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
            return near

        agent = Agent(name, dial, ["m1", "m2"], self.seen, self._rng)
        self.agents[name] = asyncio.create_task(agent.run(self._rng.choice(["m1", "m2"])))

    async def running(self, count: int) -> None:
        """Wait until so many tasks run."""
        await self.swarm.until(lambda: self.seen.running == count, WITHIN_S)


@contextlib.asynccontextmanager
async def phase(turns: Turns, name: str) -> AsyncIterator[None]:
    """Print what was longest in this context."""
    gc.collect()
    gc.freeze()  # what came together here is no manager's alone
    turns.longest_s.clear()
    turns.count.clear()
    clock = asyncio.get_running_loop()
    began_s, real_s = clock.time(), time.process_time()
    yield
    spent_s = time.process_time() - real_s
    print(f"{name}: {clock.time() - began_s:.1f} virtual seconds, {spent_s:.1f} s of processor")
    found = [
        (longest_s, kind)
        for kind, longest_s in turns.longest_s.items()
        if AGENT not in kind and "main" not in kind and "Bench." not in kind
    ]
    for longest_s, kind in sorted(found, reverse=True)[:SHOWN]:
        print(f"    {1000 * longest_s:7.1f} ms  {turns.count[kind]:5}x  {kind}", flush=True)


async def main(nodes: int, tasks: int, services: int) -> None:  # noqa: PLR0915 - a list of phases
    """Go through everything that a swarm does."""
    turns = TimedLoop.turns
    watch(turns)
    Collector().begin(asyncio.get_running_loop())
    bench = Bench(nodes)
    swarm = bench.swarm
    await bench.start()
    async with phase(turns, f"{nodes} nodes join"):
        for name in bench.names:
            bench.power_on(name)
        await swarm.until(lambda: bench.seen.sessions == nodes, WITHIN_S)
        await asyncio.sleep(5)
    total, each = tasks, tasks // services
    config = UpdateConfig(parallelism=500, monitor=1_000_000_000)
    async with phase(turns, f"{tasks} tasks of {services} services are placed"):
        for number in range(services):
            await swarm.create(f"s{number}", each, update_config=config)
        await bench.running(total)
        await asyncio.sleep(1)
    async with phase(turns, "10 seconds of nothing"):
        await asyncio.sleep(10)
    async with phase(turns, "one service is updated"):
        new = TaskSpec(container_spec=ContainerSpec(image="host", args=["2"]))
        await swarm.change("s0", lambda spec: replace(spec, task_template=new))
        await swarm.until(lambda: _completed(swarm, "s0"), WITHIN_S)
    async with phase(turns, "one service is scaled down by half"):
        half = ServiceMode(replicated=ReplicatedMode(replicas=each // 2))
        await swarm.change("s0", lambda spec: replace(spec, mode=half))
        total -= each - each // 2
        await bench.running(total)
        await asyncio.sleep(5)
    async with phase(turns, "one service is removed"):
        tx = Transaction()
        tx.delete(swarm.store.services["s1"])
        await swarm.store.commit(tx)
        total -= each
        await bench.running(total)
        await asyncio.sleep(5)
    async with phase(turns, "50 nodes are drained"):
        for name in bench.names[:50]:
            await swarm.set_availability(name, Availability.DRAIN)
        await bench.running(total)
        await asyncio.sleep(20)
    async with phase(turns, "50 nodes die"):
        for name in bench.names[50:100]:
            bench.agents[name].cancel()
        await asyncio.sleep(60)
    async with phase(turns, "a global service comes and goes"):
        await swarm.create("g", mode=GLOBAL)
        await asyncio.sleep(20)
        tx = Transaction()
        tx.delete(swarm.store.services["g"])
        await swarm.store.commit(tx)
        await asyncio.sleep(20)
    async with phase(turns, "another manager leads"):
        swarm.lead("m2")
        await asyncio.sleep(20)
    await swarm.stop()
    for task in bench.agents.values():
        task.cancel()


def _completed(swarm: Lab, service_id: str) -> bool:
    status = given(swarm.store.services[service_id].update_status, None)
    return status is not None and status.state == "completed"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--services", type=int, default=10)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        runner.run(main(arguments.nodes, arguments.tasks, arguments.services))
