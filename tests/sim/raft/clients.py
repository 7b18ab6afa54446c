"""Clients that write, compare and read through any member, and keep the history for the checker.

What a client was told is all that counts: an answer, a refusal (then it must never happen), or
nothing certain. Reads go through the read barrier of whatever member was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from swarmops.raft import NoLeader, OutcomeUnknown, ProposalTimeout, RaftError, Stopped
from tests.sim.raft import machine
from tests.sim.raft.linearizability import INFINITY, Operation
from tests.sim.raft.machine import Command

if TYPE_CHECKING:
    from tests.sim.raft.member import SimMember
    from tests.sim.raft.world import World

_GRACE_S = 1.0


class History:
    """All operations by key, and what was promised about commands by their id."""

    def __init__(self) -> None:
        self.by_key: dict[int, list[Operation]] = {}
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.applied_unseen: set[int] = set()
        self.unknown = 0
        self.reads = 0
        self._moment = 0
        self._next_id = 0

    def moment(self) -> int:
        """Number the calls and returns in their order."""
        self._moment += 1
        return self._moment

    def new_id(self) -> int:
        """Number the commands; a command's id is also the value it writes."""
        self._next_id += 1
        return self._next_id

    def add(self, key: int, operation: Operation) -> None:
        """Note an operation."""
        self.by_key.setdefault(key, []).append(operation)


class Clients:
    """Runs until told to stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.fork()
        self.history = History()
        self.is_stopping = False
        self._keys = self._rng.choice((1, 2, 3, 5))
        self._reads = self._rng.uniform(0.1, 0.6)
        self._pause_s = self._rng.choice((0.02, 0.05, 0.2))
        self._bound_s = self._rng.choice((0.5, 2.0, 5.0))
        self._padding = self._rng.choice((0, 0, 100, 3000))

    async def run(self, count: int) -> None:
        """Have so many clients at work, and one that writes in bursts."""
        await asyncio.gather(*(self._client() for _ in range(count)), self._burst())

    async def _client(self) -> None:
        while not self.is_stopping:
            await asyncio.sleep(self._rng.expovariate(1 / self._pause_s))
            member = self._world.any_running(self._rng)
            if member is not None:
                key = self._rng.randrange(self._keys)
                if self._rng.random() < self._reads:
                    await self.read(member, key)
                else:
                    await self.write(member, key, self._bound_s)

    async def _burst(self) -> None:
        """Load: many in flight from one member, each on a key of its own."""
        while not self.is_stopping:
            await asyncio.sleep(self._rng.uniform(0.3, 3.0))
            member = self._world.any_running(self._rng)
            if member is not None:
                count = self._rng.choice((5, 20, 60))
                keys = [1000 + self.history.new_id() for _ in range(count)]
                await asyncio.gather(*(self.write(member, k, self._bound_s) for k in keys))

    async def write(self, member: SimMember, key: int, bound_s: float) -> bool:
        """Write once; True when it was acknowledged."""
        history, number = self.history, self.history.new_id()
        expect = None
        if self._rng.random() < 0.3:
            expect = member.machine.values.get(key, machine.ABSENT)
        command = Command(number, key, number, expect, b"x" * self._padding)
        called = history.moment()
        answer, returned, refused = None, INFINITY, False
        try:
            answer = await self._bounded(
                member, member.raft.propose(machine.encode(command), timeout_s=bound_s), bound_s
            )
            returned = history.moment()
        except NoLeader:
            refused = True
        except OutcomeUnknown:
            history.applied_unseen.add(number)
        except (ProposalTimeout, Stopped, ConnectionAbortedError):
            history.unknown += 1
            self._world.trace.add(member.name, "does not know what became of %d", number)
        if refused:
            history.refused.add(number)
            return False
        history.add(key, Operation(called, returned, answer, command.value, expect))
        if answer is not None:
            history.acknowledged.add(number)
            if number not in self._world.invariants.applied_ids:
                self._world.invariants.fail(member, f"acknowledged {number}, which none applied")
        return answer is not None or number in history.applied_unseen

    async def read(self, member: SimMember, key: int, bound_s: float = 2.0) -> bool:
        """Read once, linearizably; True when there was an answer."""
        called = self.history.moment()
        current = member.machine
        try:
            await self._bounded(member, member.raft.read_barrier(timeout_s=bound_s), bound_s)
        except (RaftError, ConnectionAbortedError):
            return False
        if member.machine is not current:
            return False
        answer = current.values.get(key, machine.ABSENT)
        self.history.add(key, Operation(called, self.history.moment(), answer))
        self.history.reads += 1
        return True

    async def _bounded(
        self, member: SimMember, work: Coroutine[Any, Any, Any], bound_s: float
    ) -> int | None:
        """Wait for an answer that must come within the bound, or for the member's end."""
        loop, process = asyncio.get_running_loop(), member.process
        began, paused_before = loop.time(), process.paused_s
        task = asyncio.ensure_future(work)
        ended = member.ended
        while not task.done():
            await asyncio.wait((task, ended), timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise ConnectionAbortedError
            waited = loop.time() - began - (process.paused_s - paused_before)
            if not process.is_paused and waited > bound_s * 1.2 + _GRACE_S and not task.done():
                self._world.invariants.fail(member, f"gave no answer within {bound_s} s")
        return task.result()  # type: ignore[no-any-return]
