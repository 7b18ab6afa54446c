"""The one TCP port between nodes: TLS 1.3, and ALPN says which protocol is spoken.

Only managers listen. Raft's streams are the Raft transport's; agents' sessions and
certificate requests are HTTP. Whoever speaks Raft must show a manager's certificate, an agent any
certificate of this swarm; what the HTTP handlers allow further is theirs to check.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import web

from swarmops.errors import ApiError
from swarmops.model.node import Role
from swarmops.pki.tls import ALPN_AGENT, ALPN_CA, ALPN_RAFT, NodeTLS, peer_identity
from swarmops.runtime.address import listen_refusal
from swarmops.runtime.door import Door
from swarmops.runtime.silence import end_when_silent
from swarmops.runtime.tls_stream import accepted

log = structlog.get_logger(__name__)

AcceptRaft = Callable[[str], asyncio.Protocol | None]
"""Node ID of a manager that dialled → what its frames go to; None: not now."""
_HANDSHAKE_TIMEOUT_S = 5.0
_SHUTDOWN_TIMEOUT_S = 1.0
"""Sessions are ended before; a request that hangs holds up a role change no longer than this."""


class NodePort:
    """Listens on the node's address and hands each connection to the protocol it chose."""

    def __init__(
        self,
        tls: NodeTLS,
        cluster_id: str,
        web_app: web.Application,
        accept_raft: AcceptRaft,
        takes_agents: Callable[[], bool] = lambda: True,
    ) -> None:
        self._tls = tls
        self._cluster_id = cluster_id
        self._runner = web.AppRunner(
            web_app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S
        )
        self._accept_raft = accept_raft
        self._door = Door(self._enter, self._enter_raft, takes_agents)
        self._entering: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept; raises ApiError with Docker's text if the address can't be had."""
        await self._runner.setup()
        try:
            self._door.open(host, port)
        except OSError as exc:
            await self._runner.cleanup()
            raise ApiError(400, listen_refusal(host, port, exc)) from exc

    def refuse(self) -> None:
        """Accept no more; what is open stays open."""
        self._door.close()

    async def close(self) -> None:
        """Accept no more, and close what is open."""
        self.refuse()
        for task in self._entering:
            task.cancel()
        await self._runner.cleanup()

    def _enter(self, connection: socket.socket) -> None:
        self._begin(self._let_in(connection))

    def _enter_raft(self, connection: socket.socket) -> None:
        self._begin(self._let_raft_in(connection))

    def _begin(self, entering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(entering)
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _let_in(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # a peer's mistake; TLS has answered it
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Chooser(self._choose),
                connection,
                ssl=self._tls.server,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S,
            )

    async def _let_raft_in(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # as above
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
                stream = await accepted(connection, self._tls.server)
            is_raft = stream.get_extra_info("ssl_object").selected_alpn_protocol() == ALPN_RAFT
            protocol = self._choose(stream) if is_raft else None
            if protocol is None:
                stream.abort()
                return
            protocol.connection_made(stream)
            stream.set_protocol(protocol)

    def _choose(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        tls: ssl.SSLObject | ssl.SSLSocket = transport.get_extra_info("ssl_object")
        alpn = tls.selected_alpn_protocol()
        peer = peer_identity(transport.get_extra_info("peercert"))
        if peer is not None and peer.cluster_id != self._cluster_id:
            log.warning("refused a peer of another swarm", peer=peer.node_id)
            return None
        if alpn == ALPN_RAFT and peer is not None and peer.role is Role.MANAGER:
            end_when_silent(transport)
            return self._accept_raft(peer.node_id)
        if alpn == ALPN_CA or (alpn == ALPN_AGENT and peer is not None):
            server = self._runner.server
            return server() if server is not None else None
        log.warning("refused a connection", alpn=alpn, peer=peer.node_id if peer else None)
        return None


class _Chooser(asyncio.Protocol):
    """Waits for the handshake, then makes way for the protocol that was agreed on."""

    def __init__(self, choose: Callable[[asyncio.Transport], asyncio.Protocol | None]) -> None:
        self._choose_protocol = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            transport.close()
            return
        chosen = self._choose_protocol(transport)
        if chosen is None:
            transport.abort()
            return
        transport.set_protocol(chosen)
        chosen.connection_made(transport)
