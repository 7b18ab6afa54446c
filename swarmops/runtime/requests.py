"""What a manager answers on the node port: roots, certificates, membership, agents' sessions.

The port has checked that a certificate shown is of this swarm; each handler checks the role that it
needs. Errors are JSON with one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
import structlog
from aiohttp import WSMsgType, web

from swarmops.errors import ApiError, SwarmopsError
from swarmops.model.node import Role
from swarmops.model.session import FRAME_BYTES_MAX, Channel, LogFrame, LogsAsked
from swarmops.pki.tls import ALPN_AGENT, PeerIdentity, peer_identity
from swarmops.pki.wire import (
    CertificateReply,
    CertificateRequest,
    ErrorReply,
    MemberReply,
    MemberRequest,
    RootReply,
)
from swarmops.runtime import log_stream

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body")
_BODY_BYTES_MAX = 64 * 1024
_SEND_TIMEOUT_S = 10.0
_SMALL_BYTES = 16 * 1024
"""So much a transport always takes at once if nothing waits in it."""


class ManagerServices(Protocol):
    """What the handlers need of the manager that they answer for."""

    def root_pem(self) -> str:
        """Return the swarm's root certificate."""
        ...

    async def issue(
        self, request: CertificateRequest, shown: PeerIdentity | None
    ) -> CertificateReply:
        """Issue a certificate."""
        ...

    async def add_member(self, request: MemberRequest, peer: PeerIdentity) -> MemberReply:
        """Take a manager into the Raft group."""
        ...

    def was_removed(self, node_id: str) -> bool:
        """Whether this node was removed from the swarm."""
        ...

    async def serve_session(self, channel: Channel, node_id: str, addr: str) -> None:
        """Serve an agent until its session ends."""

    def read_logs(self, asked: LogsAsked) -> AsyncGenerator[LogFrame, None]:
        """Read the output of tasks of a node whose session is here."""
        ...


def make_port_app(services: ManagerServices) -> web.Application:
    """Build the HTTP application of the node port."""
    app = web.Application(middlewares=[_errors_as_json], client_max_size=_BODY_BYTES_MAX)

    async def root(_request: web.Request) -> web.Response:
        return _json(RootReply(root_pem=services.root_pem()))

    async def certificate(request: web.Request) -> web.Response:
        body = await _body(request, CertificateRequest)
        return _json(await services.issue(body, _peer(request)))

    async def member(request: web.Request) -> web.Response:
        peer = _peer(request)
        if peer is None or peer.role is not Role.MANAGER:
            raise ApiError(403, "only a manager can become a member: promote the node first")
        return _json(await services.add_member(await _body(request, MemberRequest), peer))

    async def logs(request: web.Request) -> web.StreamResponse:
        peer = _peer(request)
        if peer is None or peer.role is not Role.MANAGER:
            raise ApiError(403, "only managers read the logs of other managers' nodes")
        asked = await _body(request, LogsAsked)
        return await log_stream.serve_logs(request, services.read_logs(asked))

    async def session(request: web.Request) -> web.StreamResponse:
        peer = _peer(request)
        if peer is None or _alpn(request) != ALPN_AGENT:
            raise ApiError(401, "a session needs a node's certificate: join the swarm first")
        if services.was_removed(peer.node_id):
            raise ApiError(403, f"Permission denied: node {peer.node_id} was removed from swarm")
        socket = web.WebSocketResponse(max_msg_size=FRAME_BYTES_MAX, compress=False)
        await socket.prepare(request)
        channel = ServedChannel(socket, request.transport)
        try:
            await services.serve_session(channel, peer.node_id, request.remote or "")
        finally:
            await channel.close()
        return socket

    app.router.add_get("/root", root)
    app.router.add_post("/certificate", certificate)
    app.router.add_post("/member", member)
    app.router.add_get("/session", session)
    app.router.add_post(log_stream.PATH, logs)
    return app


class ServedChannel:
    """A session's WebSocket seen from the manager."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._socket = socket
        self._transport = transport

    async def send(self, frame: bytes) -> None:
        """Send one frame; an agent that doesn't take it within 10 s is given up."""
        try:
            if self._has_room(frame):  # no timer for each of thousands of small frames
                await self._socket.send_bytes(frame)
                return
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._socket.send_bytes(frame)
        except (OSError, RuntimeError, TimeoutError) as exc:
            raise ConnectionError(str(exc)) from exc

    def _has_room(self, frame: bytes) -> bool:
        """Whether sending the frame can't have to wait for the agent."""
        idle = self._transport is not None and not self._transport.get_write_buffer_size()
        return idle and len(frame) <= _SMALL_BYTES

    async def receive(self) -> bytes:
        """Return the agent's next frame."""
        message = await self._socket.receive()
        if message.type is not WSMsgType.BINARY:
            raise ConnectionError("the agent closed the session")
        data: bytes = message.data
        return data

    async def close(self) -> None:
        """End the session without waiting long for an agent that may be gone."""
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._socket.close()


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as exc:
        return _json(ErrorReply(message=exc.message), status=exc.status)
    except SwarmopsError as exc:
        return _json(ErrorReply(message=str(exc)), status=503)
    except web.HTTPException as exc:
        return _json(ErrorReply(message=exc.reason), status=exc.status)


async def _body(request: web.Request, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.MsgspecError as exc:
        raise ApiError(400, f"{request.path}: {exc}") from exc


def _json(reply: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(reply), status=status, content_type="application/json"
    )


def _peer(request: web.Request) -> PeerIdentity | None:
    transport = request.transport
    return peer_identity(transport.get_extra_info("peercert")) if transport else None


def _alpn(request: web.Request) -> str | None:
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport else None
    return tls.selected_alpn_protocol() if tls else None
