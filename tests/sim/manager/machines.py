"""The managers' machines: real stores, real Raft, real managers; simulated disks, network and time.

A machine keeps its disk through all its runs; everything else of a run ends when it is killed. What
a killed run still wanted to write is never heard of.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable

from swarmops.manager import Manager
from swarmops.raft import Member, Raft, RaftError, Timing
from swarmops.raft.messages import Message
from swarmops.store import Store
from tests.sim.raft.disk import SimDisk
from tests.sim.raft.network import Network, SimTransport
from tests.sim.raft.process import DiskSpeed, DriftingClock, Process, SimLanes
from tests.sim.virtual_loop import virtual_now

PROPOSE_S = 10.0
TIMING = Timing(snapshot_entries=200, trailing_entries=20)
"""Small, so that snapshots are taken, and sent to those that were away."""

Applied = Callable[["Machine", int], None]


class Machine:
    """One manager's machine; between ``start`` and ``kill`` it has a store, Raft and a manager."""

    def __init__(self, number: int, network: Network, rng: random.Random, applied: Applied) -> None:
        self.name = f"m{number}"
        self.me = Member(f"{number:02x}{rng.getrandbits(56):014x}", self.name, f"ip-{self.name}:1")
        self.is_running = False
        self.store: Store
        self.raft: Raft
        self.manager: Manager
        self._network = network
        self._rng = rng
        self._applied = applied
        self._disk = SimDisk(self.name, rng, Counter())
        self._speed = DiskSpeed(rng)
        self._process: Process
        self._transport: SimTransport
        self._ended: asyncio.Future[None]

    async def start(self, mode: str, peers: Iterable[Member] = ()) -> None:
        """Begin a run."""
        self._ended = asyncio.get_running_loop().create_future()
        process = self._process = Process(lambda: None)
        store = self.store = SeenStore(lambda index: self._applied(self, index))
        transport = SimTransport(self._network, self.me, process, self._wired)
        self._transport = transport
        raft = self.raft = Raft(
            directory=self._disk,
            me=self.me,
            state_machine=store,
            data_key=bytes(range(32)),
            transport=transport,
            rng=random.Random(self._rng.getrandbits(64)),
            timing=TIMING,
            clock=DriftingClock(process, 1.0),
            lanes=SimLanes(process, self._disk, self._speed, lambda: None),
        )
        store.propose = self._propose
        manager = self.manager = Manager(
            store,
            raft,
            node_id=self.name,
            now=virtual_now,
            rng=random.Random(self._rng.getrandbits(64)),
        )
        raft.on_leadership(manager.on_leadership)
        self.is_running = True
        await raft.start(mode, peers)  # type: ignore[arg-type]
        await manager.start()

    def _wired(self) -> None:
        self._network.ends[self.me.raft_id] = self._transport

    async def _propose(self, data: bytes) -> object:
        """Propose as the runtime does; after the end of the run nothing is said any more."""
        ended = self._ended
        asked = asyncio.ensure_future(self.raft.propose(data, timeout_s=PROPOSE_S))
        try:
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not asked.done():
                asked.cancel()
            elif not asked.cancelled():
                asked.exception()  # heard, whoever asked
        if ended.done() or not asked.done():
            raise RaftError("this manager is no more")
        return asked.result()

    async def kill(self, *, power: bool) -> None:
        """End the run at once: no message, no disk job, no control loop of it goes on."""
        if not self.is_running:
            return
        self.is_running = False
        self._process.end()
        self.raft._running.halt()
        self._network.hang_up(self._transport, quietly=power)
        self._ended.set_result(None)
        if power:
            self._disk.lose_power()
        await self.manager.stop()

    @property
    def leads(self) -> bool:
        """Whether Raft says that it may act as the leader."""
        return self.is_running and self.raft._run is not None and self.raft.status().is_leader


class SeenStore(Store):
    """A store that tells of each entry when it has been applied."""

    def __init__(self, seen: Callable[[int], None]) -> None:
        super().__init__(now=virtual_now)
        self._seen = seen

    def apply(self, index: int, data: bytes) -> object:  # type: ignore[override]
        """Apply, and tell."""
        applied = super().apply(index, data)
        self._seen(index)
        return applied


def ignore(_sender: str, _to: str, _message: Message) -> None:
    """Look at no message."""


def content(store: Store) -> list[tuple[str, int]]:
    """Return what tells a replica from another one, that is behind."""
    return sorted((each.id, each.version.index) for each in (*store.tasks, *store.services))
