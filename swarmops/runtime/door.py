"""The order in which connections to the node port come in: whose TLS handshake is begun next.

Used by ``port``. A handshake costs a millisecond or two, and when a manager dies thousands of
agents come to the others at once: taken as they come, they would keep Raft from electing a leader,
and without one they are sent away and come again. So Raft's connections, which say so in clear in
their first message, come in at once, by a way of their own, and of the others a few in each turn of
the event loop; the newest first, since it will wait longest. (Of Raft's, one whose first message
was cut in two comes in with the others.) Whoever hung up meanwhile costs no handshake at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

from swarmops.pki.tls import ALPN_AGENT, ALPN_RAFT

Enter = Callable[[socket.socket], None]
"""Begins a connection's handshake; the socket is its own from then on."""

ACCEPTED_PER_TURN = 32
ENTERING_PER_TURN = 2
REFUSED_PER_TURN = 200
WAITING_MAX = 4096
"""Of more that wait the oldest is hung up on."""
_SPEAKS_WITHIN_S = 5
"""The kernel doesn't show a connection before its first message is here, or so long."""
_NO_SOCKETS_PAUSE_S = 1.0
_FIRST_MESSAGE_BYTES = 4096
_CLOSE_WAIT = 8  # netinet/tcp.h
_BACKLOG = 1024


class Door:
    """Listens; hands connections on in order."""

    def __init__(self, enter: Enter, enter_raft: Enter, takes_agents: Callable[[], bool]) -> None:
        self._enter = enter
        self._enter_raft = enter_raft
        self._takes_agents = takes_agents
        self._listener: socket.socket | None = None
        self._waiting: deque[tuple[socket.socket, bytes]] = deque()
        self._turn: asyncio.Handle | None = None
        self._again: asyncio.TimerHandle | None = None

    def open(self, host: str, port: int) -> None:
        """Begin to listen. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SPEAKS_WITHIN_S)
        # Inherited by what is accepted; asyncio sets it only on sockets that it made itself.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        """Listen no more, and hang up on those that wait; safe to call twice."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for handle in (self._turn, self._again):
            if handle is not None:
                handle.cancel()
        while self._waiting:
            self._waiting.pop()[0].close()

    def _accept(self) -> None:
        if self._listener is None:
            return
        for _ in range(ACCEPTED_PER_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError:
                self._pause(self._listener)
                break
            connection.setblocking(False)
            self._sort(connection, _first_message(connection))
        self._begin_turn()

    def _pause(self, listener: socket.socket) -> None:
        """Wait for others to close theirs: there is no file descriptor left for a connection."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)

        def again() -> None:
            if listener is self._listener:
                loop.add_reader(listener, self._accept)

        self._again = loop.call_later(_NO_SOCKETS_PAUSE_S, again)

    def _sort(self, connection: socket.socket, first: bytes) -> None:
        if ALPN_RAFT.encode() in first:
            self._enter_raft(connection)
            return
        self._waiting.append((connection, first))
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()[0].close()

    def _begin_turn(self) -> None:
        if self._turn is None and self._waiting:
            self._turn = asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        """Let some in, and go on in the event loop's next turn."""
        self._turn = None
        entered = refused = 0
        while self._waiting and entered < ENTERING_PER_TURN and refused < REFUSED_PER_TURN:
            connection, first = self._waiting.pop()
            if _hung_up(connection) or (ALPN_AGENT.encode() in first and not self._takes_agents()):
                connection.close()
                refused += 1
            else:
                self._enter(connection)
                entered += 1
        self._begin_turn()


def _first_message(connection: socket.socket) -> bytes:
    """Look at what the peer has sent, and leave it for the handshake."""
    with contextlib.suppress(OSError):
        return connection.recv(_FIRST_MESSAGE_BYTES, socket.MSG_PEEK)
    return b""


def _hung_up(connection: socket.socket) -> bool:
    """Whether the peer has closed its side, or the connection is broken."""
    try:
        state: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state == _CLOSE_WAIT or bool(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        )
    except OSError:
        return True
