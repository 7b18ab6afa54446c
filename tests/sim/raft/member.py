"""One member of the simulated group, through all its runs: its disk stays, all else is new."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal
from unittest import mock

from swarmops.raft import Member, Raft, RaftError
from swarmops.raft import run as run_module
from swarmops.raft.messages import Message
from tests.sim.raft.disk import Cut, SimDisk
from tests.sim.raft.invariants import WatchedJournal
from tests.sim.raft.machine import LoadingMachine, Machine
from tests.sim.raft.network import SimTransport
from tests.sim.raft.process import DiskSpeed, DriftingClock, Process, SimLanes

if TYPE_CHECKING:
    from tests.sim.raft.world import World

Fate = Literal["joining", "member", "out", "lost"]


class SimMember:
    """``is_running`` between a start and its crash; ``fate`` says whether the group wants it."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"m{number}"
        self.rng = random.Random(world.rng.getrandbits(64))
        self.me = Member(
            f"{number:02x}{self.rng.getrandbits(56):014x}", f"node{number}", f"a{number}"
        )
        self.disk = SimDisk(self.name, self.rng, world.counts)
        self.speed = DiskSpeed(self.rng)
        self.rate = 1.0
        self.fate: Fate = "joining"
        self.is_running = False
        self.stopping = False
        self.loads = self.rng.random() < 0.5
        self.commit_seen = self.led_term = self.promised_term = 0
        self.promised_snapshot = self.applied_seen = 0
        self.promised: dict[int, int] = {}
        self.process: Process
        self.raft: Raft
        self.machine: Machine
        self.transport: SimTransport
        self.ended: asyncio.Future[None]
        self.runs = 0

    async def start(self, mode: str, peers: Iterable[Member] = ()) -> bool:
        """Begin a run; False when it ended, or could not begin, meanwhile."""
        world = self.world
        self.runs += 1
        run = self.runs
        process = self.process = Process(functools.partial(world.invariants.after, self))
        self.ended = asyncio.get_running_loop().create_future()
        kind = LoadingMachine if self.loads else Machine
        machine = self.machine = kind(self._applied, world.counts)
        transport = self.transport = SimTransport(world.network, self.me, process, self._wired)
        self.stopping = False
        self.is_running = True
        world.trace.add(self.name, "starts (%s)", mode)
        raft = self.raft = Raft(
            directory=self.disk,
            me=self.me,
            state_machine=machine,
            data_key=bytes(range(32)),
            transport=transport,
            rng=random.Random(self.rng.getrandbits(64)),
            timing=world.timing,
            clock=DriftingClock(process, self.rate),
            lanes=SimLanes(process, self.disk, self.speed, lambda: world.cut(self)),
        )
        raft.on_removed(self._removed)
        starting = asyncio.ensure_future(raft.start(mode, peers))  # type: ignore[arg-type]
        await asyncio.wait((starting, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if run != self.runs or not self.is_running:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        try:
            await starting
        except OSError as error:
            world.trace.add(self.name, "can't start: %r", error)
            self.end_run()
            return False
        except RaftError as error:
            world.invariants.fail(self, f"refuses to start: {error}")
        return True

    def _applied(self, index: int, command_id: int, chain: int, again: bool) -> None:  # noqa: FBT001 - a callback
        self.world.invariants.apply(self, index, command_id, chain, again=again)

    def _wired(self) -> None:
        """The journal is open, nothing was said yet."""
        self.world.network.ends[self.me.raft_id] = self.transport
        self.world.invariants.opened(self)

    def sent(self, to: str, message: Message) -> None:
        """Note what is promised."""
        self.world.invariants.sent(self, to, message)

    def _removed(self) -> None:
        self.world.trace.add(self.name, "learns that it is removed")
        self.fate = "out"
        self.world.spawn(self.stop())

    async def stop(self) -> None:
        """End in good order."""
        if not self.is_running or self.stopping:
            return
        self.stopping = True
        self.world.trace.add(self.name, "stops")
        try:
            await self.raft.stop()
        except Cut:
            self.world.trace.add(self.name, "is cut off while it stops")
        self.end_run()

    def end_run(self) -> None:
        """Cease: no callback, message or disk job of this run happens any more."""
        if not self.is_running:
            return
        self.stopping = True
        self.process.end()
        self.is_running = False
        if self.raft._run is not None:
            self.raft._running.halt()
        if not self.ended.done():
            self.ended.set_result(None)


def watch_journals(world: World) -> mock._patch[type]:
    """Make every member's journal a watched one; the patch lasts as long as the run."""
    owners = world.members

    class Watched(WatchedJournal):
        def __init__(self, **arguments: object) -> None:
            disk = arguments["writer"]._disk  # type: ignore[attr-defined]
            super().__init__(**arguments)  # type: ignore[arg-type]
            self.owner = next(m for m in owners.values() if m.disk is disk)
            self.invariants = world.invariants

    return mock.patch.object(run_module, "Journal", Watched)
