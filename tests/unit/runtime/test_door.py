"""Who comes in next at the node port, by real sockets whose first message says what they speak."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from itertools import pairwise

from swarmops.pki.tls import ALPN_AGENT, ALPN_CA, ALPN_RAFT
from swarmops.runtime.door import ENTERING_PER_TURN, Door


class Peer:
    """One that connects and says what it speaks."""

    def __init__(self, addr: tuple[str, int], protocol: str) -> None:
        self.socket = socket.create_connection(addr)
        self.socket.sendall(b"hello" + protocol.encode())
        self.port: int = self.socket.getsockname()[1]
        """What the door sees of it."""

    async def is_hung_up(self) -> bool:
        """Wait until the other side has closed the connection."""
        self.socket.setblocking(False)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                return await asyncio.get_running_loop().sock_recv(self.socket, 1) == b""
        return True


class Entered:
    """A door on loopback, and what came in through it: the peers' ports, in order."""

    def __init__(self, *, takes_agents: bool = True) -> None:
        self.ports: list[int] = []
        self.takes_agents = takes_agents
        self._entered = asyncio.Event()
        self.ports_of_raft: list[int] = []
        self.door = Door(self._enter, self._enter_raft, lambda: self.takes_agents)
        self._peers: list[Peer] = []
        self._in: list[socket.socket] = []

    def open(self) -> None:
        """Listen on a free port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._addr = probe.getsockname()
        self.door.open(*self._addr)

    def close(self) -> None:
        """Close everything."""
        self.door.close()
        for each in (*(peer.socket for peer in self._peers), *self._in):
            each.close()

    def _enter(self, connection: socket.socket) -> None:
        self._in.append(connection)
        self.ports.append(connection.getpeername()[1])
        self._entered.set()

    def _enter_raft(self, connection: socket.socket) -> None:
        self.ports_of_raft.append(connection.getpeername()[1])
        self._enter(connection)

    def knock(self, protocol: str) -> Peer:
        """Connect a peer, without giving the event loop a turn."""
        peer = Peer(self._addr, protocol)
        self._peers.append(peer)
        return peer

    async def came(self, count: int) -> None:
        """Wait until so many are in."""
        async with asyncio.timeout(60):
            while len(self.ports) < count:
                await self._entered.wait()
                self._entered.clear()


@contextlib.asynccontextmanager
async def opened(*, takes_agents: bool = True) -> AsyncIterator[Entered]:
    """Yield an open door."""
    entered = Entered(takes_agents=takes_agents)
    entered.open()
    try:
        yield entered
    finally:
        entered.close()


async def test_raft_comes_in_ahead_of_all_agents_that_wait() -> None:
    """It was the last to connect, and no election has to wait for the others' handshakes."""
    async with opened() as door:
        agents = [door.knock(ALPN_AGENT) for _ in range(20)]
        raft = door.knock(ALPN_RAFT)
        await door.came(21)
    assert door.ports[0] == raft.port
    assert door.ports_of_raft == [raft.port]
    assert sorted(door.ports[1:]) == sorted(agent.port for agent in agents)


async def test_what_is_written_leaves_at_once() -> None:
    """Accepted connections don't gather small messages: an agent's orders are such."""
    async with opened() as door:
        door.knock(ALPN_AGENT)
        await door.came(1)
        assert door._in[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_no_turn_of_the_event_loop_begins_more_than_a_few_handshakes() -> None:
    """Everything else gets its turn between them."""
    async with opened() as door:
        for _ in range(20):
            door.knock(ALPN_AGENT)
        turns: list[int] = []
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(len(door.ports))
            if len(door.ports) < 20:
                loop.call_soon(turn)

        turn()
        await door.came(20)
    assert max(after - before for before, after in pairwise(turns)) <= ENTERING_PER_TURN


async def test_the_newest_comes_first() -> None:
    """Who waited longest is the first to lose patience: its handshake would be for nothing."""
    async with opened() as door:
        peers = [door.knock(ALPN_CA) for _ in range(10)]
        await door.came(10)
    assert door.ports == [peer.port for peer in reversed(peers)]


async def test_who_hung_up_while_it_waited_costs_no_handshake() -> None:
    """It is told apart without one."""
    async with opened() as door:
        gone = door.knock(ALPN_AGENT)
        stays = door.knock(ALPN_AGENT)
        gone.socket.close()
        await door.came(1)
        for _ in range(10):
            await asyncio.sleep(0)
    assert door.ports == [stays.port]


async def test_agents_that_would_be_sent_away_are_hung_up_on_at_once() -> None:
    """They find another manager sooner; who asks for a certificate is let in all the same."""
    async with opened(takes_agents=False) as door:
        agent, joiner = door.knock(ALPN_AGENT), door.knock(ALPN_CA)
        assert await agent.is_hung_up()
        await door.came(1)
    assert door.ports == [joiner.port]


async def test_a_closed_door_hangs_up_on_those_that_wait() -> None:
    """None of them waits for its own timeout."""
    async with opened() as door:
        peers = [door.knock(ALPN_AGENT) for _ in range(10)]
        await door.came(1)
        door.door.close()
        waiting = [peer for peer in peers if peer.port not in door.ports]
        assert waiting
        for peer in waiting:
            assert await peer.is_hung_up()
