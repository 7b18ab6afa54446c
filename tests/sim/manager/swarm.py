"""A whole swarm in one process on a virtual clock: three managers on simulated Raft, nine agents.

``tests.sim.manager_lab`` has the agents, ``tests.sim.raft`` network and disks below the managers.
Here they are put together; what happens to them is drawn in ``chaos``, judged in ``invariants``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from swarmops.manager import Manager
from swarmops.model.node import (
    EngineDescription,
    Node,
    NodeDescription,
    NodeInternal,
    NodeSpec,
    NodeState,
    Plugin,
    Role,
)
from swarmops.model.swarm import Cluster, ClusterInternal, OrchestrationConfig, SwarmSpec
from swarmops.raft import RaftError
from swarmops.store import Store, Transaction
from tests.sim.manager.invariants import Watching
from tests.sim.manager.machines import Machine, content, ignore
from tests.sim.manager.operator import STEADY
from tests.sim.manager.specs import resources
from tests.sim.manager_lab import FakeAgent
from tests.sim.raft.network import Network

MANAGERS = ("m1", "m2", "m3")
WORKERS = ("w1", "w2", "w3", "w4", "w5", "w6")
ZONES = {"w1": "a", "w2": "a", "w3": "a", "w4": "b", "w5": "b", "w6": "b"}
HISTORY_LIMITS = (5, 2, 1, 0)
"""Of the swarms of seeds in a row."""
_FORM_S = 30.0


class Swarm:
    """Plays the part of ``Lab`` for the agents."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.history_limit = HISTORY_LIMITS[seed % len(HISTORY_LIMITS)]
        self.network = Network(self.fork(), Counter(), ignore)
        self.watching = Watching(self)
        self.machines = {name: self.new_machine(name) for name in MANAGERS}
        self.agents: dict[str, FakeAgent] = {}
        self.isolated: set[str] = set()
        self.error: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def new_machine(self, name: str) -> Machine:
        """Give a manager a machine without anything on its disk."""
        return Machine(int(name[1:]), self.network, self.fork(), self.watching.applied)

    @property
    def workers(self) -> list[str]:
        """The nodes that never were managers."""
        return [name for name in self.agents if name.startswith("w")]

    def fork(self) -> random.Random:
        """Give a part a generator of its own."""
        return random.Random(self.rng.getrandbits(64))

    # What agents need of it ----------------------------------------------------------------------

    @property
    def managers(self) -> dict[str, Manager]:
        """The managers that run."""
        return {name: m.manager for name, m in self.machines.items() if m.is_running}

    def dial(self, node_id: str) -> str:
        """Return a manager that the agent reaches."""
        near = [name for name in self.managers if name not in self.isolated or name == node_id]
        if node_id in near:
            return node_id
        if not near:
            raise ConnectionError("no manager answers")
        return self.rng.choice(near)

    # Who is there --------------------------------------------------------------------------------

    @property
    def leader(self) -> Machine | None:
        """The machine that leads, the newest if several believe it."""
        leading = [machine for machine in self.machines.values() if machine.leads]
        return max(leading, key=lambda machine: machine.raft.status().term, default=None)

    @property
    def store(self) -> Store:
        """The leader's replica, or the one that is furthest."""
        running = [m for m in self.machines.values() if m.is_running]
        return (self.leader or max(running, key=lambda m: m.store.applied)).store

    async def form(self) -> None:
        """Make the swarm; every node is ready when it returns."""
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        self.spawn(self._poll())
        first, *others = self.machines.values()
        await first.start("bootstrap")
        await self.until(lambda: first.leads, _FORM_S, "a first leader")
        tx = Transaction()
        limit = OrchestrationConfig(task_history_retention_limit=self.history_limit)
        spec = SwarmSpec(orchestration=limit)
        tx.put(Cluster(id="c", spec=spec, internal=ClusterInternal(ca_cert="root")))
        for machine in self.machines.values():
            internal = NodeInternal(role=Role.MANAGER, raft_id=machine.me.raft_id)
            tx.put(Node(id=machine.name, spec=NodeSpec(role=Role.MANAGER), internal=internal))
        for name in WORKERS:
            tx.put(Node(id=name, spec=NodeSpec(labels={"zone": ZONES[name]})))
        await first.store.commit(tx)
        for other in others:
            peers = await first.raft.add_member(other.me, timeout_s=10)
            await other.start("join", peers)
        for name in (*MANAGERS, *WORKERS):
            self.power_on(name)
        await self.until(self._is_whole, _FORM_S, "all nodes ready, all managers voting")

    def _is_whole(self) -> bool:
        leader = self.leader
        return (
            leader is not None
            and len(leader.raft.status().voters) == len(MANAGERS)
            and all(node.status.state is NodeState.READY for node in leader.store.nodes)
        )

    def agrees(self) -> bool:
        """Whether all managers that run hold the same, and one leads."""
        stores = [machine.store for machine in self.machines.values() if machine.is_running]
        return self.leader is not None and all(content(s) == content(stores[0]) for s in stores)

    def power_on(self, name: str) -> None:
        """Start a node's agent, which remembers nothing."""
        plugins = [Plugin(type="Executor", name=kind) for kind in ("process", "docker")]
        description = NodeDescription(
            hostname=name,
            engine=EngineDescription(plugins=plugins),
            resources=resources(self.rng, full=name in STEADY),
        )
        agent = FakeAgent(self, name, description)  # type: ignore[arg-type]
        self.agents[name] = agent
        agent.start()

    async def stop(self) -> None:
        """Power everything off."""
        for agent in self.agents.values():
            await agent.power_off()
        for machine in self.machines.values():
            await machine.kill(power=False)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Time ----------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside; what it raises ends the run."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.error = self.error or task.exception()

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        self.error = self.error or context.get("exception") or RuntimeError(context["message"])

    async def _poll(self) -> None:
        while True:
            self.network.poll()
            await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[], bool], bound_s: float, what: str) -> None:
        """Wait for a condition; raises what went wrong, or AssertionError at the bound."""
        clock = asyncio.get_running_loop()
        end_s = clock.time() + bound_s
        while True:
            self.check()
            if condition():
                return
            assert clock.time() < end_s, f"not within {bound_s:g} s: {what}"
            await asyncio.sleep(0.1)

    def check(self) -> None:
        """Raise what went wrong so far."""
        if error := self.watching.broken or self.error:
            raise error

    async def transfer(self) -> None:
        """Let the leader hand over, if it can."""
        leader = self.leader
        if leader is not None:
            try:
                await leader.raft.transfer_leadership()
            except RaftError:
                return
