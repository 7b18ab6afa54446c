"""Reaching managers: certificate requests, agent sessions, Raft connections.

Used by the daemon and given to the agent and to Raft as plain functions, so that neither knows
about TLS. A manager is only spoken to if its certificate says that it is one, of this swarm.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TypeVar

import aiohttp
import msgspec

from swarmops.errors import ApiError, SwarmopsError
from swarmops.model.node import Role
from swarmops.model.session import ASSIGNED_BYTES_MAX
from swarmops.pki.tls import (
    ALPN_AGENT,
    ALPN_CA,
    ALPN_RAFT,
    NodeTLS,
    joining_client,
    peer_identity,
    unverified_client,
)
from swarmops.pki.tokens import check_root, parse_token
from swarmops.pki.wire import (
    CertificateReply,
    CertificateRequest,
    ErrorReply,
    MemberReply,
    MemberRequest,
    RootReply,
)
from swarmops.runtime.session_channel import SessionChannel
from swarmops.runtime.silence import end_when_silent
from swarmops.runtime.tls_stream import TlsStream, dialled

Reply = TypeVar("Reply")
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 30.0
_FORBIDDEN = 403
_PORT_DIGITS = 5


class RemovedError(SwarmopsError):
    """A manager of this node's swarm says that the node was removed from it."""


class UnreachableError(SwarmopsError):
    """A manager did not answer; the text says which and why."""


async def first_certificate(addr: str, request: CertificateRequest) -> CertificateReply:
    """Ask a manager to let this node in; the root is checked against the token's digest first."""
    token = parse_token(request.token)
    fetched = await _call(addr, unverified_client(), "/root", body=None, reply=RootReply)
    check_root(token, fetched.root_pem)
    trusted = joining_client(fetched.root_pem)
    return await _call(addr, trusted, "/certificate", body=request, reply=CertificateReply)


async def renewed_certificate(addr: str, tls: NodeTLS, csr_pem: str) -> CertificateReply:
    """Ask a manager for a new certificate in the role that the swarm now gives this node."""
    request = CertificateRequest(csr_pem=csr_pem)
    return await _call(
        addr, tls.client(ALPN_CA), "/certificate", body=request, reply=CertificateReply
    )


async def become_member(addr: str, tls: NodeTLS, request: MemberRequest) -> MemberReply:
    """Ask a manager to take this one into the Raft group."""
    return await _call(addr, tls.client(ALPN_CA), "/member", body=request, reply=MemberReply)


async def dial_raft(addr: str, tls: NodeTLS) -> tuple[TlsStream, str]:
    """Open a Raft connection; returns the stream and the node ID that the peer proved."""
    host, port = split_address(addr)
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        stream = await dialled(host, port, tls.client(ALPN_RAFT))
    peer = peer_identity(stream.get_extra_info("peercert"))
    chosen = stream.get_extra_info("ssl_object").selected_alpn_protocol()
    if peer is None or peer.role is not Role.MANAGER or chosen != ALPN_RAFT:
        stream.abort()
        raise ConnectionError(f"{addr}: is no manager of this swarm")
    end_when_silent(stream)
    return stream, peer.node_id


async def dial_session(addr: str, tls: NodeTLS, source: str | None = None) -> SessionChannel:
    """Open an agent's session with a manager, from one of this machine's addresses if named.

    How long that may take is up to the caller: it may be cancelled at any time.
    """
    client = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=tls.client(ALPN_AGENT), limit=1, local_addr=(source, 0) if source else None
        ),
        timeout=aiohttp.ClientTimeout(total=None),
    )
    try:
        socket = await client.ws_connect(
            f"https://{addr}/session", max_msg_size=ASSIGNED_BYTES_MAX, compress=0
        )
    except aiohttp.WSServerHandshakeError as exc:
        await client.close()
        if exc.status == _FORBIDDEN:
            raise RemovedError(
                "this node was removed from its swarm: leave the swarm here, and join again"
            ) from exc
        raise ConnectionError(f"{addr}: {_why(exc)}") from exc
    except (aiohttp.ClientError, OSError) as exc:
        await client.close()
        raise ConnectionError(f"{addr}: {_why(exc)}") from exc
    except BaseException:
        await client.close()
        raise
    return SessionChannel(client, socket)


def split_address(addr: str, default_port: int | None = None) -> tuple[str, int]:
    """Take ``host:port`` or ``[v6]:port`` apart; raises ApiError in Docker's words."""
    host, colon, port = addr.rpartition(":")
    bare = not colon or addr.endswith("]") or (addr.count(":") > 1 and not addr.startswith("["))
    if default_port is not None and bare:
        host, port = addr, str(default_port)
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS else 0
    if not host or not 0 < number < 65536:  # noqa: PLR2004 - TCP's own
        raise ApiError(400, f"address {addr}: must be host:port")
    return host.strip("[]"), number


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, or ``[v6]:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _call(
    addr: str,
    tls: ssl.SSLContext,
    path: str,
    *,
    body: msgspec.Struct | None,
    reply: type[Reply],
) -> Reply:
    """Post the body, or get where there is none; ApiError or UnreachableError if it fails."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls),
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            ) as client,
            client.request(
                "POST" if body else "GET",
                f"https://{addr}{path}",
                data=msgspec.json.encode(body) if body else None,
            ) as response,
        ):
            data = await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
        raise UnreachableError(
            f"manager {addr} can't be reached ({_why(exc)}): check the address, "
            "and that its port is open to this host"
        ) from exc
    try:
        if status != 200:  # noqa: PLR2004 - HTTP's own
            raise ApiError(status, msgspec.json.decode(data, type=ErrorReply).message)
        return msgspec.json.decode(data, type=reply)
    except msgspec.MsgspecError as exc:
        raise UnreachableError(f"{addr} doesn't answer as a swarmops manager does: {exc}") from exc


def _why(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return str(exc) or type(exc).__name__
