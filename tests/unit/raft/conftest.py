"""A group of real members on loopback sockets, each with its own directory, for the raft tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import pytest

from swarmops.raft import Member, Raft, StreamTransport, Timing, new_raft_id

DATA_KEY = bytes(range(32))
FAST = Timing(heartbeat_s=0.03, election_min_s=0.15, election_max_s=0.3, read_lease_s=0.12)


class Register:
    """A state machine: the list of what was applied. ``raise:`` raises."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []
        self.restored = 0

    def apply(self, index: int, data: bytes) -> object:
        """Append."""
        del index
        if data.startswith(b"raise:"):
            raise ValueError(data.decode())
        self.applied.append(data)
        return len(self.applied)

    def snapshot(self) -> Iterable[bytes]:
        """Give one chunk an item."""
        return iter(list(self.applied))

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace all."""
        self.applied = list(chunks)
        self.restored += 1


class Names(asyncio.Protocol):
    """Stands in for certificates: each end says its node id, a line, before all else."""

    def __init__(self, mine: str, then: Callable[[str], asyncio.Protocol] | None = None) -> None:
        self.theirs: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._mine = mine
        self._then = then
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say ours."""
        assert isinstance(transport, asyncio.Transport)
        self._stream = transport
        transport.write(self._mine.encode() + b"\n")

    def data_received(self, data: bytes) -> None:
        """Hear theirs, and make way."""
        self._heard += data
        line, newline, rest = self._heard.partition(b"\n")
        if not newline:
            return
        if not self.theirs.done():
            self.theirs.set_result(line.decode())
        if self._then is not None:
            protocol = self._then(line.decode())
            self._stream.set_protocol(protocol)
            protocol.connection_made(self._stream)
            if rest:
                protocol.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        if not self.theirs.done():
            self.theirs.set_exception(exc or ConnectionResetError("it says no name"))
            self.theirs.exception()  # nobody may be waiting


class Manager:
    """One member with its server."""

    def __init__(self, path: Path, member: Member, timing: Timing) -> None:
        self.path = path
        self.member = member
        self.register = Register()
        self.transport = StreamTransport(self._dial)
        self.server: asyncio.Server | None = None
        self.raft = Raft(
            directory=path,
            me=member,
            state_machine=self.register,
            data_key=DATA_KEY,
            transport=self.transport,
            timing=timing,
        )

    async def listen(self) -> None:
        """Accept connections on the member's address."""
        host, port = self.member.addr.split(":")
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self._accept, host, int(port))

    async def _dial(self, addr: str) -> tuple[asyncio.Transport, str]:
        host, port = addr.split(":")
        stream, names = await asyncio.get_running_loop().create_connection(
            lambda: Names(self.member.node_id), host, int(port)
        )
        try:
            return stream, await names.theirs
        except BaseException:
            stream.abort()
            raise

    def _accept(self) -> asyncio.Protocol:
        return Names(self.member.node_id, self.transport.accept)

    async def stop(self) -> None:
        """End it, as a process does that is told to."""
        if self.server is not None:
            self.server.close()
            self.server = None
        await self.raft.stop()


class Group:
    """Members by number, 1 first."""

    def __init__(self, path: Path, free_port: Callable[[], int]) -> None:
        self._path = path
        self._free_port = free_port
        self._rng = random.Random(1)
        self.timing = FAST
        self.managers: dict[int, Manager] = {}
        self.made: list[Manager] = []
        """Also those that a test made and never got into the group."""

    def make(self, number: int) -> Manager:
        """Make a member that has not started."""
        member = Member(new_raft_id(self._rng), f"node{number}", f"127.0.0.1:{self._free_port()}")
        manager = Manager(self._path / f"m{number}", member, self.timing)
        self.made.append(manager)
        return manager

    async def form(self, count: int) -> list[Manager]:
        """Bootstrap one and join the others, until all vote."""
        first = self.make(1)
        await first.listen()
        await first.raft.start("bootstrap")
        self.managers[1] = first
        await first.raft.wait(lambda s: s.is_leader, timeout_s=60)
        for number in range(2, count + 1):
            await self.join(number)
        for manager in self.managers.values():
            await manager.raft.wait(lambda s: len(s.voters) == count, timeout_s=60)
        return list(self.managers.values())

    async def join(self, number: int) -> Manager:
        """Add a member and start it."""
        manager = self.make(number)
        await manager.listen()
        peers = await next(iter(self.managers.values())).raft.add_member(manager.member)
        await manager.raft.start("join", peers)
        self.managers[number] = manager
        await manager.raft.wait(
            lambda s: any(v.raft_id == manager.member.raft_id for v in s.voters), timeout_s=5
        )
        return manager

    async def restart(self, number: int) -> Manager:
        """Start a stopped member again from its directory."""
        old = self.managers[number]
        manager = Manager(old.path, old.member, self.timing)
        self.made.append(manager)
        self.managers[number] = manager
        await manager.listen()
        await manager.raft.start("open")
        return manager

    async def leader(self) -> Manager:
        """Wait until one of the running members leads."""
        async with asyncio.timeout(10):
            while True:
                for manager in self.managers.values():
                    if manager.server is not None and manager.raft.status().is_leader:
                        return manager
                await asyncio.sleep(0.01)

    async def agree(self) -> list[bytes]:
        """Wait until all running members have applied the same; return it."""
        running = [m for m in self.managers.values() if m.server is not None]
        async with asyncio.timeout(10):
            while True:
                indexes = {m.raft.status().applied_index for m in running}
                states = [m.register.applied for m in running]
                if len(indexes) == 1 and all(state == states[0] for state in states):
                    return states[0]
                await asyncio.sleep(0.01)


@pytest.fixture
async def group(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> AsyncIterator[Group]:
    """Give a group that is stopped at the end."""
    group = Group(tmp_path, unused_tcp_port_factory)
    yield group
    for manager in group.made:
        if manager.server is not None or manager in group.managers.values():
            await manager.stop()
