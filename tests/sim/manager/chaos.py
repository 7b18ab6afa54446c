"""What happens to a simulated swarm, drawn from its seed: an operator's changes, and faults.

Nothing here checks anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.sim.manager.faults import Faults
from tests.sim.manager.operator import STEADY, Operator
from tests.sim.manager.roles import Roles
from tests.sim.manager.swarm import WORKERS, Swarm

EVENTS = 30
_AGREE_S = 30.0
_LOST = 0.2
"""How likely each worker that may go is gone for good."""


class Chaos:
    """Random events, drawn from the swarm's seed."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._rng = swarm.fork()
        self._workers = len(WORKERS)
        self.history: list[str] = []
        operator = self._operator = Operator(swarm, self._note)
        faults = self._faults = Faults(swarm, self._note)
        roles = Roles(swarm, operator, faults, self._note)
        self._events: list[Callable[[], Awaitable[None]]] = [
            *(operator.create, operator.create, operator.scale),
            *(operator.update, operator.update, operator.update, operator.roll_back),
            *(operator.rebalance, operator.run_again, operator.remove),
            *(operator.availability, operator.availability, operator.relabel),
            *(self.replace_node, roles.demote, roles.promote, roles.promote),
            *(faults.power_off, faults.power_on, faults.break_session, faults.fail_a_task),
            *(faults.kill_manager, faults.isolate, faults.heal, faults.hand_over),
        ]

    async def run(self) -> None:
        """Let things happen."""
        for name in self._swarm.agents:
            self._faults.prepare(name)
        await self._operator.create()
        for _ in range(EVENTS):
            self._swarm.check()
            event = self._rng.choice(self._events)
            await event()
            await asyncio.sleep(self._rng.choice([0.0, 0.02, 0.3, 1.0, 3.0]))

    def _note(self, *what: object) -> None:
        now_s = asyncio.get_running_loop().time()
        self.history.append(f"{now_s:.2f} " + " ".join(map(str, what)))

    async def replace_node(self) -> None:
        """Remove a worker, that has no power or ends soon, and take a new one into the swarm."""
        name = self._rng.choice(self._dispensable())
        await self._operator.until_done(lambda: self._operator.remove_node(name))
        await asyncio.sleep(self._rng.choice([0.0, 0.5]))
        await self._swarm.agents.pop(name).power_off()
        self._faults.off.discard(name)
        self._workers += 1
        new = f"w{self._workers}"
        await self._operator.until_done(lambda: self._operator.add_node(new))
        await self._faults.start(new)

    def _dispensable(self) -> list[str]:
        return [name for name in self._swarm.workers if name not in STEADY]

    async def make_peace(self) -> None:
        """End all faults, and let the operator put right what he did wrong.

        Some machines never come back: nobody may go on counting on them.
        """
        faults = self._faults
        await faults.heal()
        lost = {name for name in self._dispensable() if self._rng.random() < _LOST}
        for name in sorted(lost - faults.off):
            await faults.lose(name)
        for name in sorted(faults.off - lost):
            await faults.start(name)
        for name in self._swarm.agents:
            faults.prepare(name)
        # What is wrong, he reads from some manager: none may still be behind.
        await self._swarm.until(self._swarm.agrees, _AGREE_S, "all managers hold the same")
        await self._operator.put_right()
