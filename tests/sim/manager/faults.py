"""What breaks in a simulated swarm, and comes back: machines, managers, links, sessions, tasks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.model.task import Task
from tests.sim.manager.machines import Machine
from tests.sim.manager.operator import STEADY, Note
from tests.sim.manager.specs import is_bad, resources
from tests.sim.virtual_loop import virtual_now

if TYPE_CHECKING:
    from tests.sim.manager.swarm import Swarm

MANAGERS_ALL = 3


def completes(task: Task) -> bool:
    """Let tasks of jobs end well, half a second after they were made."""
    late = virtual_now() - task.created_at > timedelta(seconds=0.5)
    return task.job_iteration is not UNSET and late


class Faults:
    """Their events; never so many managers fail that nobody could decide for long."""

    def __init__(self, swarm: Swarm, note: Note) -> None:
        self._swarm = swarm
        self._rng = swarm.fork()
        self._note = note
        self.off: set[str] = set()
        """Nodes without power."""

    @property
    def managers_are_whole(self) -> bool:
        """Whether all managers are there, and reach each other."""
        running = [each for each in self._swarm.machines.values() if each.is_running]
        return len(running) == MANAGERS_ALL and not self._swarm.network.cut

    async def power_off(self) -> None:
        """Let a machine vanish."""
        names = [
            name
            for name in self._swarm.agents
            if name not in self.off and (name.startswith("w") or self.managers_are_whole)
        ]
        if len(names) > 4:
            await self.lose(self._rng.choice(names))

    async def lose(self, name: str) -> None:
        """Let this machine vanish."""
        self._note("power off", name)
        self.off.add(name)
        await self._swarm.agents[name].power_off()
        if name in self._swarm.machines:
            await self._end(self._swarm.machines[name], power=True)

    async def power_on(self) -> None:
        """Let a machine come back, without its tasks."""
        if self.off:
            await self.start(self._rng.choice(sorted(self.off)))

    async def start(self, name: str) -> None:
        """Power a machine on."""
        self._note("power on", name)
        self.off.discard(name)
        machine = self._swarm.machines.get(name)
        if machine is not None:
            await machine.start("open")
        self._swarm.power_on(name)
        self.prepare(name)

    def prepare(self, name: str) -> None:
        """Let a node's agent know what its tasks do, and how long they take to stop."""
        agent = self._swarm.agents[name]
        agent.stop_s = self._rng.choice([0.05, 1.0])
        agent.completes = completes
        agent.fails = is_bad

    async def _end(self, machine: Machine, *, power: bool) -> None:
        self._swarm.isolated.discard(machine.name)
        await machine.kill(power=power)

    async def break_session(self) -> None:
        """Let an agent's connection break; its machine may have more or less by then."""
        name = self._rng.choice(list(self._swarm.agents))
        self._note("session of", name)
        agent = self._swarm.agents[name]
        if name not in STEADY and self._rng.random() < 0.5:
            offered = resources(self._rng, full=False)
            agent.description = replace(agent.description, resources=offered)
        await agent.break_session()

    async def fail_a_task(self) -> None:
        """Let some running task fail."""
        agent = self._swarm.agents[self._rng.choice(list(self._swarm.agents))]
        if running := agent.running():
            doomed = self._rng.choice(running).id
            self._note("task fails", doomed)
            agent.fails = lambda task: task.id == doomed or is_bad(task)

    async def kill_manager(self) -> None:
        """Kill a manager's process, often the leader's; its supervisor starts it again."""
        machine = self._one()
        if machine is not None:
            self._note("kill", machine.name)
            await self._end(machine, power=False)
            await asyncio.sleep(self._rng.choice([0.1, 1.0]))
            await machine.start("open")

    async def isolate(self) -> None:
        """Cut a manager off from the others, often the leader; its agents stay with it a while."""
        machine = self._one()
        if machine is None or not self.managers_are_whole:
            return
        self._note("isolate", machine.name)
        self._swarm.isolated.add(machine.name)
        me = machine.me.raft_id
        others = [m.me.raft_id for m in self._swarm.machines.values() if m is not machine]
        self._swarm.network.cut_links([(me, o) for o in others] + [(o, me) for o in others])

    async def heal(self) -> None:
        """Let everyone reach everyone again."""
        if self._swarm.isolated:
            self._note("heal")
        self._swarm.isolated.clear()
        self._swarm.network.heal()

    async def hand_over(self) -> None:
        """Let the leader hand over."""
        self._note("hand over")
        self._swarm.spawn(self._swarm.transfer())

    def _one(self) -> Machine | None:
        """Choose a manager that runs, often the leader; none where one has no power."""
        if any(name in self.off for name in self._swarm.machines):
            return None
        return self.some_manager()

    def some_manager(self) -> Machine:
        """Choose a manager that runs, often the leader."""
        leader = self._swarm.leader
        if leader is not None and self._rng.random() < 0.5:
            return leader
        return self._rng.choice([m for m in self._swarm.machines.values() if m.is_running])
