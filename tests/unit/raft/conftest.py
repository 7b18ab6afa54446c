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

        self._accepted: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Accept connections on the member's address."""
        host, port = self.member.addr.split(":")
        self.server = await asyncio.start_server(self._accept, host, int(port))

    async def _dial(self, addr: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        host, port = addr.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(self.member.node_id.encode() + b"\n")
        try:
            return reader, writer, (await reader.readline()).decode().strip()
        except BaseException:
            writer.close()
            raise

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.add(writer)
        try:
            node_id = (await reader.readline()).decode().strip()
            writer.write(self.member.node_id.encode() + b"\n")
            await self.transport.accept(reader, writer, node_id)
        finally:
            self._accepted.discard(writer)
            writer.close()

    async def stop(self) -> None:
        """End it, as a process does that is told to."""
        if self.server is not None:
            self.server.close()
            self.server = None
        await self.raft.stop()
        for writer in self._accepted:
            writer.transport.abort()


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
