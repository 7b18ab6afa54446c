"""A whole group in one thread on a virtual clock, with a network and disks that fail on demand."""

# ruff: noqa: D102 - the protocols that these classes play say what each method does

from __future__ import annotations

import asyncio
import logging
import random
import selectors
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest

from swarmops.raft import Member, Raft, Timing
from swarmops.raft.messages import decode, encode

DATA_KEY = bytes(range(32))


class _Jump(selectors.DefaultSelector):
    """Never sleeps: waiting moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everyone waits, and nothing will ever happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when all wait."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Return the virtual time."""
        return self._jump.now


class PowerLost(BaseException):
    """The machine went off in the middle of a disk operation."""


class MemoryFile:
    """A file of a MemoryDisk."""

    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk, self._name = disk, name
        self._content = disk.files[name]

    def write(self, data: bytes) -> None:
        room = self._disk.step(f"write {self._name}", len(data))
        self._content.extend(data[:room])
        if room < len(data):
            raise OSError(28, "No space left on device")

    def sync(self) -> None:
        self._disk.step(f"sync {self._name}", 0)
        self._disk.synced[id(self._content)] = bytes(self._content)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._content[offset : offset + size])

    def close(self) -> None:
        """Nothing to do."""


class MemoryDisk:
    """Files with a cache: what was not synced is lost, torn or kept when the power goes."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.synced: dict[int, bytes] = {}
        self.durable_names: dict[str, bytearray] = {}
        self.log: list[str] = []
        self.full = False
        self.power_off_at: int | None = None
        self.label = "disk"

    def step(self, what: str, size: int) -> int:
        """Count an operation; fail it when that is due; return how much of it may be written."""
        if self.power_off_at is not None and len(self.log) >= self.power_off_at:
            raise PowerLost
        self.log.append(what)
        if self.full and size:
            return size // 2
        return size

    def lose_power(self, rng: random.Random) -> None:
        """Keep what is durable; of the rest, whatever the dice leave."""
        self.power_off_at = None
        names = dict(self.durable_names)
        for name in sorted(set(self.files) | set(names)):
            if rng.random() < 0.5:
                if name in self.files:
                    names[name] = self.files[name]
                else:
                    names.pop(name, None)
        self.files = {}
        for name, content in names.items():
            safe = self.synced.get(id(content), b"")
            self.files[name] = _torn(bytes(content), safe, rng)
        self.synced = {id(c): bytes(c) for c in self.files.values()}
        self.durable_names = dict(self.files)

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return bytes(self.files[name])

    def create(self, name: str) -> MemoryFile:
        self.step(f"create {name}", 0)
        self.files[name] = content = bytearray()
        # A dropped file may have had the same id: what was safe of it is nothing of this one.
        self.synced[id(content)] = b""
        return MemoryFile(self, name)

    def open(self, name: str) -> MemoryFile:
        return MemoryFile(self, name)

    def truncate(self, name: str, size: int) -> None:
        self.step(f"truncate {name}", 0)
        del self.files[name][size:]
        self.synced[id(self.files[name])] = bytes(self.files[name])

    def rewrite(self, name: str) -> None:
        self.step(f"rewrite {name}", 0)
        self.synced[id(self.files[name])] = bytes(self.files[name])

    def replace(self, source: str, target: str) -> None:
        self.step(f"rename {target}", 0)
        self.files[target] = self.files.pop(source)
        self.sync_names()

    def remove(self, name: str) -> None:
        self.step(f"remove {name}", 0)
        self.files.pop(name, None)

    def sync_names(self) -> None:
        self.step("sync names", 0)
        self.durable_names = dict(self.files)


def _torn(content: bytes, safe: bytes, rng: random.Random) -> bytearray:
    """Of what came after the last sync: nothing, a part, or pages with holes."""
    tail = content[len(safe) :]
    how = rng.randrange(4)
    if how == 0:
        tail = b""
    elif how == 1:
        tail = tail[: rng.randrange(len(tail) + 1)]
    elif how == 2:
        pages = [tail[at : at + 512] for at in range(0, len(tail), 512)]
        tail = b"".join(p if rng.random() < 0.5 else bytes(len(p)) for p in pages)
    return bytearray(safe + tail)


class VirtualLanes:
    """Lanes whose jobs take virtual time."""

    def __init__(self, member: VirtualMember) -> None:
        self._member = member
        self._free_at: dict[str, float] = {}
        self._closed = False

    def submit(self, lane: str, job: Callable[[], Any], done: Callable[..., None]) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._free_at.get(lane, 0.0)) + self._member.disk_delay_s
        self._free_at[lane] = at
        loop.call_at(at, self._work, job, done)

    def _work(self, job: Callable[[], Any], done: Callable[..., None]) -> None:
        if self._closed or self._member.is_off:
            return
        try:
            result, error = job(), None
        except PowerLost:
            self._member.power_off()
            return
        except Exception as caught:  # noqa: BLE001 - the job's error is its caller's
            result, error = None, caught
        done(result, error)

    async def close(self, last: Callable[[], None]) -> None:
        self._closed = True
        last()


class Machine:
    """A state machine whose whole state is the list of what was applied."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []

    def apply(self, index: int, data: bytes) -> object:
        del index
        self.applied.append(data)
        return len(self.applied)

    def snapshot(self) -> Iterable[bytes]:
        frozen = list(self.applied)
        return (b"\n".join(frozen[at : at + 100]) for at in range(0, len(frozen), 100))

    def restore(self, chunks: Iterator[bytes]) -> None:
        self.applied = [item for chunk in chunks for item in chunk.split(b"\n")]


class VirtualTransport:
    """One member's end of the network."""

    def __init__(self, world: World, member: VirtualMember) -> None:
        self.world, self.member = world, member
        self.peers: dict[str, Member] = {}
        self.upcalls: Any = None
        self.linked: set[str] = set()

    def start(self, me: str, upcalls: Any) -> None:
        del me
        self.upcalls = upcalls

    def set_peers(self, peers: Iterable[Member]) -> None:
        self.peers = {p.raft_id: p for p in peers if p.raft_id != self.member.me.raft_id}
        asyncio.get_running_loop().call_soon(self.world.relink)

    def send(self, raft_id: str, message: Any) -> bool:
        if raft_id not in self.linked:
            return False
        self.world.carry(self.member, raft_id, encode(message))
        return True

    async def stop(self) -> None:
        self.upcalls = None


class VirtualMember:
    """One member, through all its crashes."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.me = Member(f"{number:016x}", f"node{number}", f"10.0.0.{number}:2377")
        self.disk = MemoryDisk()
        self.disk_delay_s = 0.001
        self.is_off = True
        self.machine: Machine
        self.raft: Raft
        self.transport: VirtualTransport

    async def start(self, mode: str, peers: Iterable[Member] = ()) -> None:
        """Start a new run of it."""
        self.machine = Machine()
        self.transport = VirtualTransport(self.world, self)
        self.is_off = False
        self.raft = Raft(
            directory=self.disk,
            me=self.me,
            state_machine=self.machine,
            data_key=DATA_KEY,
            transport=self.transport,
            rng=random.Random(self.world.rng.random()),
            timing=self.world.timing,
            lanes=VirtualLanes(self),
        )
        await self.raft.start(mode, peers)  # type: ignore[arg-type]
        self.world.relink()

    def power_off(self) -> None:
        """Stop at once; nothing more is said or written."""
        if not self.is_off:
            self.is_off = True
            self.transport.upcalls = None
            self.raft._running.halt()
            self.disk.lose_power(self.world.rng)
            self.world.relink()

    def status(self) -> Any:
        """Return its status."""
        return self.raft.status()


class World:
    """Members, the network between them, and what to do to it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.timing = Timing(snapshot_entries=1_000_000)
        self.members: dict[int, VirtualMember] = {}
        self.cut: set[tuple[str, str]] = set()
        self.loss = self.repeat = 0.0
        self.delay_s = (0.0005, 0.003)
        self.watch: Callable[[str, str, Any], bool] = lambda _from, _to, _message: True

    def alive(self) -> list[VirtualMember]:
        """List those that run."""
        return [m for m in self.members.values() if not m.is_off]

    def relink(self) -> None:
        """Tell members who can be reached, after anything changed."""
        by_id = {m.me.raft_id: m for m in self.alive()}
        for member in self.alive():
            transport, me = member.transport, member.me.raft_id
            if transport.upcalls is None:
                continue
            wanted = {
                peer
                for peer in transport.peers
                if peer in by_id
                and me in by_id[peer].transport.peers
                and (me, peer) not in self.cut
            }
            for peer in sorted(transport.linked - wanted):
                transport.linked.discard(peer)
                transport.upcalls.peer_disconnected(peer)
            for peer in sorted(wanted - transport.linked):
                transport.linked.add(peer)
                transport.upcalls.peer_connected(peer)

    def carry(self, sender: VirtualMember, to: str, body: bytes) -> None:
        """Bring a message over, late, twice or not at all."""
        if not self.watch(sender.me.raft_id, to, decode(body)):
            return
        copies = (self.rng.random() >= self.loss) + (self.rng.random() < self.repeat)
        for _ in range(copies):
            delay = self.rng.uniform(*self.delay_s)
            asyncio.get_running_loop().call_later(delay, self._arrive, sender.me.raft_id, to, body)

    def _arrive(self, sender: str, to: str, body: bytes) -> None:
        if (sender, to) in self.cut:
            return
        for member in self.alive():
            if member.me.raft_id == to and member.transport.upcalls is not None:
                member.transport.upcalls.message_received(sender, decode(body))

    def isolate(self, *numbers: int) -> None:
        """Cut these from all others, both ways, silently."""
        inside = {self.members[n].me.raft_id for n in numbers}
        outside = {m.me.raft_id for m in self.members.values()} - inside
        self.cut |= {(a, b) for a in inside for b in outside}
        self.cut |= {(b, a) for a in inside for b in outside}

    def heal(self) -> None:
        """Undo all cuts."""
        self.cut.clear()
        self.relink()

    async def form(self, count: int) -> None:
        """Make a group."""
        first = self.members[1] = VirtualMember(self, 1)
        await first.start("bootstrap")
        await first.raft.wait(lambda s: s.is_leader, timeout_s=5)
        for number in range(2, count + 1):
            await self.join(number)

    async def join(self, number: int) -> VirtualMember:
        """Add a member and let it vote."""
        member = self.members[number] = VirtualMember(self, number)
        leader = await self.leader()
        peers = await leader.raft.add_member(member.me)
        await member.start("join", peers)
        await leader.raft.wait(lambda s: member.me in s.voters, timeout_s=20)
        await member.raft.wait(lambda s: member.me in s.voters, timeout_s=20)
        return member

    async def leader(self, timeout_s: float = 20.0) -> VirtualMember:
        """Wait for a leader among those that run."""
        found: VirtualMember = await self.eventually(
            lambda: next((m for m in self.alive() if m.status().is_leader), None), timeout_s
        )
        return found

    async def eventually(self, find: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Wait until something is found."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not (found := find()):
            assert loop.time() < deadline, "it did not happen in time"
            await asyncio.sleep(0.01)
        return found

    async def converge(self) -> list[bytes]:
        """Wait until all that run have the same state; return it."""

        def same() -> bool:
            states = [m.machine.applied for m in self.alive()]
            indexes = {m.status().applied_index for m in self.alive()}
            return len(indexes) == 1 and all(state == states[0] for state in states)

        await self.eventually(same, 60)
        return self.alive()[0].machine.applied


@pytest.fixture
def memory_disk() -> type[MemoryDisk]:
    """Give the class of the disks."""
    return MemoryDisk


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    """Run a scenario ``async (world) -> None`` on a virtual clock, from a seed."""
    logging.getLogger("swarmops.raft").setLevel(logging.CRITICAL)

    def play(scenario: Callable[[World], Coroutine[Any, Any, None]], seed: int = 1) -> None:
        loop = VirtualLoop()
        try:
            loop.run_until_complete(_bounded(scenario, seed))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    yield play
    logging.getLogger("swarmops.raft").setLevel(logging.NOTSET)


async def _bounded(scenario: Callable[[World], Coroutine[Any, Any, None]], seed: int) -> None:
    world = World(seed)
    try:
        await asyncio.wait_for(scenario(world), 3600)
    finally:
        for member in world.alive():
            member.power_off()
