"""The network between members: connections that break, links that swallow, delay, repeat, reorder.

A connection goes one way, from the member that dialled, as the real transport's do. A cut link says
nothing to anyone: what is sent waits, is lost, or comes much later. ``SimTransport`` is a member's
end of it and plays ``swarmops.raft.transport.Transport``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from swarmops.raft import Member
from swarmops.raft.messages import Message, Removed, decode, encode

if TYPE_CHECKING:
    from tests.sim.raft.process import Process

_HELD_MAX = 300
_DIAL_S = 0.1


class Connection:
    """From a process that dialled to one that accepted."""

    def __init__(self, sender: SimTransport, receiver: SimTransport, breaks_at: float) -> None:
        self.sender, self.receiver = sender, receiver
        self.last_arrival = 0.0
        self.held: list[bytes] = []
        self.cut_since: float | None = None
        self.breaks_after_s = breaks_at
        self.is_open = True


class SimTransport:
    """One run's end."""

    def __init__(
        self, network: Network, me: Member, process: Process, started: Callable[[], None]
    ) -> None:
        self.network, self.me, self.process = network, me, process
        self._started = started
        self.peers: dict[str, Member] = {}
        self.upcalls: Any = None
        self.connections: dict[str, Connection] = {}

    def start(self, me: str, upcalls: Any) -> None:
        """Begin."""
        assert me == self.me.raft_id
        self.upcalls = upcalls
        self._started()

    def set_peers(self, peers: Iterable[Member]) -> None:
        """Dial these from now on, and hear only them."""
        self.peers = {p.raft_id: p for p in peers if p.raft_id != self.me.raft_id}
        for raft_id in sorted(set(self.connections) - set(self.peers)):
            self.network.close(self.connections[raft_id])
        for connection in self.network.connections_to(self):
            if connection.sender.me.raft_id not in self.peers:
                self.network.close(connection)

    def send(self, raft_id: str, message: Message) -> bool:
        """Queue a message on the connection, if there is one."""
        connection = self.connections.get(raft_id)
        if connection is None or not self.process.is_alive:
            return False
        self.network.observe(self.me.raft_id, raft_id, message)
        return self.network.carry(connection, encode(message))

    async def stop(self) -> None:
        """Hang up."""
        self.upcalls = None
        self.network.hang_up(self, quietly=False)


class Network:
    """All connections, all faults."""

    def __init__(
        self,
        rng: random.Random,
        counts: Counter[str],
        observe: Callable[[str, str, Message], None],
    ) -> None:
        self.rng, self.counts, self.observe = rng, counts, observe
        self.ends: dict[str, SimTransport] = {}
        self.cut: set[tuple[str, str]] = set()
        self.delay_s = 0.001
        self.slow: dict[tuple[str, str], float] = {}
        self.loss = self.repeat = self.reorder = 0.0
        self.delivered = 0

    # Life of connections.

    def poll(self) -> None:
        """Dial what is wanted and possible; break what was cut too long. Called often."""
        now = asyncio.get_running_loop().time()
        for sender in list(self.ends.values()):
            if not sender.process.is_alive or sender.process.is_paused or sender.upcalls is None:
                continue
            for connection in list(sender.connections.values()):
                since = connection.cut_since
                to = connection.receiver
                link = (sender.me.raft_id, to.me.raft_id)
                if not to.process.is_alive and link not in self.cut and to.me.raft_id in self.ends:
                    # Its machine is up again, and knows nothing of this connection.
                    self.close(connection)
                elif since is not None and now - since > connection.breaks_after_s:
                    self.counts["connection timed out"] += 1
                    self.close(connection)
            for raft_id in list(sender.peers):
                if raft_id not in sender.connections and self.rng.random() < 0.5:
                    self._dial(sender, raft_id)

    def _dial(self, sender: SimTransport, to: str) -> None:
        receiver = self.ends.get(to)
        me = sender.me.raft_id
        if receiver is None or not receiver.process.is_alive or receiver.process.is_paused:
            return
        if receiver.upcalls is None or self.cut & {(me, to), (to, me)}:
            return
        if receiver.upcalls.is_removed(me):
            sender.process.run(sender.upcalls.message_received, to, Removed(me))
        elif me in receiver.peers or receiver.upcalls.stranger_dialled(sender.me):
            connection = Connection(sender, receiver, self.rng.uniform(2.0, 12.0))
            sender.connections[to] = connection
            sender.process.run(sender.upcalls.peer_connected, to)

    def close(self, connection: Connection) -> None:
        """End a connection; both ends learn of it soon, if they can."""
        if not connection.is_open:
            return
        connection.is_open = False
        sender, receiver = connection.sender, connection.receiver
        loop = asyncio.get_running_loop()
        if sender.connections.get(receiver.me.raft_id) is connection:
            del sender.connections[receiver.me.raft_id]
            if sender.upcalls is not None:
                loop.call_soon(sender.process.run, self._disconnected, sender, receiver.me.raft_id)
        link = (sender.me.raft_id, receiver.me.raft_id)
        if link not in self.cut:
            delay = self.rng.uniform(0.0, 2 * self.delay_s)
            loop.call_later(delay, receiver.process.run, self._lost, receiver, sender.me.raft_id)

    def _disconnected(self, end: SimTransport, peer: str) -> None:
        if end.upcalls is not None and peer not in end.connections:
            end.upcalls.peer_disconnected(peer)

    def _lost(self, end: SimTransport, peer: str) -> None:
        if end.upcalls is not None:
            end.upcalls.peer_lost(peer)

    def connections_to(self, end: SimTransport) -> list[Connection]:
        """List what others dialled to an end."""
        ends = self.ends.values()
        return [c for e in ends for c in list(e.connections.values()) if c.receiver is end]

    def hang_up(self, end: SimTransport, *, quietly: bool) -> None:
        """Close all connections of an end that is gone; ``quietly``: the peers are not told."""
        others = self.connections_to(end)
        for connection in [*end.connections.values(), *others]:
            if quietly:
                connection.cut_since = asyncio.get_running_loop().time()
            else:
                self.close(connection)
        if self.ends.get(end.me.raft_id) is end:
            del self.ends[end.me.raft_id]

    def reset(self) -> None:
        """Break one connection at random."""
        found = [c for e in self.ends.values() for c in e.connections.values()]
        if found:
            self.counts["connection reset"] += 1
            self.close(self.rng.choice(found))

    # Partitions.

    def cut_links(self, links: Iterable[tuple[str, str]]) -> None:
        """Let nothing through on these, one way each."""
        self.cut |= set(links)

    def heal(self) -> None:
        """Undo all cuts; what waited comes now, or its connection breaks."""
        self.cut.clear()
        for end in list(self.ends.values()):
            for connection in list(end.connections.values()):
                connection.cut_since = None
                held, connection.held = connection.held, []
                if not held:
                    continue
                if self.rng.random() < 0.5:
                    self.counts["old messages delivered after a partition"] += len(held)
                    for body in held:
                        self.carry(connection, body)
                else:
                    self.close(connection)

    # Messages.

    def carry(self, connection: Connection, body: bytes) -> bool:
        """Bring a message over: late, twice, out of order, or not at all."""
        loop, rng, receiver = asyncio.get_running_loop(), self.rng, connection.receiver
        link = (connection.sender.me.raft_id, receiver.me.raft_id)
        now = loop.time()
        if link in self.cut or not receiver.process.is_alive:
            if connection.cut_since is None:
                connection.cut_since = now
            self.counts["message cut off"] += 1
            if len(connection.held) >= _HELD_MAX:
                return False
            connection.held.append(body)
            return True
        if rng.random() < self.loss:
            self.counts["message lost"] += 1
            return True
        copies = 1
        if rng.random() < self.repeat:
            self.counts["message repeated"] += 1
            copies = 2
        for _ in range(copies):
            at = now + self.delay_s * rng.uniform(0.3, 3.0) + self.slow.get(link, 0.0)
            if rng.random() < self.reorder:
                self.counts["message reordered"] += 1
                at += rng.uniform(0.0, 40 * self.delay_s)
            else:
                at = connection.last_arrival = max(at, connection.last_arrival + 1e-6)
            loop.call_at(at, receiver.process.run, self._arrive, connection, body)
        return True

    def _arrive(self, connection: Connection, body: bytes) -> None:
        receiver, sender = connection.receiver, connection.sender.me.raft_id
        if receiver.upcalls is None or sender not in receiver.peers:
            return
        if (sender, receiver.me.raft_id) in self.cut:
            self.counts["message cut off"] += 1
            return
        self.delivered += 1
        message = decode(body)
        receiver.upcalls.message_received(sender, message)
