"""The Docker Engine behind a node: asked for facts, and given what is not swarm mode's.

Used by the application for every request that it has no route for, and by the handlers whose answer
has two halves (``/info``, ``/version``, ``/events``, ``/networks``). It never interprets what it
passes on, and serves only callers who could have gone to the engine's own socket.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from swarmops.api import errors, upload
from swarmops.api.callers import person_of
from swarmops.api.engine_access import local_user, may_open
from swarmops.api.path import asked_version, plain_path, version_numbers
from swarmops.api.stream import while_there, write_all
from swarmops.api.tunnel import take_over
from swarmops.api.version import API_VERSION
from swarmops.errors import ApiError
from swarmops.model.access import AccessRole

CONNECT_S = 5.0
FACTS_S = 2.0
"""Facts of an engine that takes longer are left out: the swarm's own are there."""
ANSWER_S = 30.0
"""How long an engine may take to answer a request that takes the connection over."""
PING_AGE_S = 30.0
_HEAD_BYTES_MAX = 64 * 1024
_ENGINES = frozenset(("build", "commit", "containers", "exec", "images", "plugins", "volumes"))
_NO_ENGINE = ": this node has no Docker Engine, which this is for; swarm mode has docker service"
_OURS = frozenset(
    (
        "access",
        "configs",
        "metrics",
        "nodes",
        "openapi.json",
        "secrets",
        "services",
        "swarm",
        "tasks",
    )
)
"""First parts of paths that are never the engine's: it may know a swarm of its own."""
_TAKES_OVER = re.compile(r"/containers/[^/]+/attach|/exec/[^/]+/start")
_OF_THE_HOP = frozenset(
    (
        "connection",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


class EngineBehind:
    """The engine of this machine, if there is one; made once for an application."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._session: aiohttp.ClientSession | None = None
        self._pinged: Mapping[str, str] = {}
        self._ping_s = -PING_AGE_S

    async def close(self) -> None:
        """Close what is open to the engine."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def is_open_to(self, request: web.Request) -> bool:
        """Whether there is an engine, and this caller could open its socket.

        An admin from the network could too: whoever may create services is root everywhere.
        """
        if self._path is None or not self._path.is_socket():
            return False
        person = person_of(request)
        if person is not None:
            return person.role is AccessRole.ADMIN
        user = local_user(request)
        return user is not None and may_open(self._path, user)

    async def pass_on(self, request: web.Request, body: bytes | None = None) -> web.StreamResponse:
        """Let the engine answer. Raises ApiError 404 where there is none for this caller.

        ``body`` is the request's if it was read already.
        """
        self._refuse(request)
        target = await self._target(request)
        try:
            if "Upgrade" in request.headers or (
                request.method == "POST" and _TAKES_OVER.fullmatch(plain_path(request.path))
            ):
                return await self._hand_over(request, target)
            return await self._relay(request, target, body)
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone") from error
            raise self._silent(error) from error

    async def facts(self, request: web.Request, path: str, *, method: str = "GET") -> Any:
        """Return what the engine says there, None if it says nothing or not to this caller."""
        if not self.is_open_to(request):
            return None
        try:
            target = await self._versioned(path)
            async with asyncio.timeout(FACTS_S), self._ask(method, target) as answer:
                if answer.status != web.HTTPOk.status_code:
                    return None
                return msgspec.json.decode(await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
            return None

    async def events(self, request: web.Request) -> AsyncGenerator[bytes, None]:
        """Iterate over the engine's own events, as asked for; none if it doesn't answer."""
        if not self.is_open_to(request):
            return
        try:
            async with self._ask("GET", await self._target(request)) as answer:
                if answer.status == web.HTTPOk.status_code:
                    async for line in answer.content:
                        yield line
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return

    async def ping(self, request: web.Request) -> Mapping[str, str]:
        """Return the headers of the engine's ping, at most half a minute old; empty if none."""
        return await self._ping() if self.is_open_to(request) else {}

    # How ----------------------------------------------------------------------------------------

    def _refuse(self, request: web.Request) -> None:
        path = plain_path(request.path)
        parts = path.split("/")
        if not path.startswith("/"):
            raise ApiError(404, errors.PAGE_NOT_FOUND)  # OPTIONS * and CONNECT name none
        if parts[1] in _OURS or any(part in ("", ".", "..") for part in parts[1:]):
            raise ApiError(404, errors.PAGE_NOT_FOUND)
        if self._path is None or not self._path.is_socket():
            why = _NO_ENGINE if parts[1] in _ENGINES else ""
            raise ApiError(404, errors.PAGE_NOT_FOUND + why)
        if not self.is_open_to(request):
            # 404, for clients such as `docker inspect` look here before they ask for what is ours.
            raise ApiError(
                404,
                f"{errors.PAGE_NOT_FOUND}: the Docker Engine behind this node is only for those "
                f"who may use {self._path}",
            )

    async def _target(self, request: web.Request) -> str:
        """Return path and query in a version that the engine speaks."""
        asked = asked_version(request.raw_path) or API_VERSION
        return await self._versioned(plain_path(request.raw_path), asked)

    async def _versioned(self, path: str, asked: str = API_VERSION) -> str:
        engines = (await self._ping()).get("Api-Version", "")
        newest = engines if re.fullmatch(r"[0-9]+\.[0-9]+", engines) else asked
        return f"/v{min(asked, newest, key=version_numbers)}{path}"

    async def _ping(self) -> Mapping[str, str]:
        if monotonic() - self._ping_s > PING_AGE_S:
            try:
                async with asyncio.timeout(FACTS_S), self._ask("GET", "/_ping") as answer:
                    self._pinged = answer.headers.copy()
                    self._ping_s = monotonic()
            except (aiohttp.ClientError, OSError, TimeoutError):
                self._pinged = {}
                self._ping_s = monotonic() - PING_AGE_S + FACTS_S
        return self._pinged

    def _ask(
        self, method: str, target: str, **more: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            # One connection a request: the client's own connection bounds them.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._path), limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                read_bufsize=1024 * 1024,
            )
        return self._session.request(
            method, URL(f"http://docker{target}", encoded=True), allow_redirects=False, **more
        )

    async def _relay(
        self, request: web.Request, target: str, body: bytes | None
    ) -> web.StreamResponse:
        data = upload.coming(request) if request.can_read_body and body is None else body
        headers = _without_hop(request.headers)
        asking = self._ask(request.method, target, headers=headers, data=data)
        async with AsyncExitStack() as held:
            # An engine may think for minutes, but for nobody it would hold a file open.
            answer = await while_there(request, held.enter_async_context(asking))
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=_without_hop(answer.headers)
            )
            return await write_all(request, response, _pieces(request, answer))

    async def _hand_over(self, request: web.Request, target: str) -> web.StreamResponse:
        body = await upload.whole(request)
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_unix_connection(
                str(self._path), limit=_HEAD_BYTES_MAX
            )
        try:
            writer.write(_request_head(request, target, len(body)) + body)
            async with asyncio.timeout(ANSWER_S):
                head = await reader.readuntil(b"\r\n\r\n")
            return await take_over(request, _closing(head), reader, writer)
        except asyncio.LimitOverrunError as error:
            raise OSError("its answer's head is too large") from error
        finally:
            writer.close()

    def _silent(self, error: BaseException) -> ApiError:
        reason = str(error) or "no answer in time"
        return ApiError(
            503,
            f"the Docker Engine behind this node doesn't answer at {self._path} ({reason}): "
            "start it, or look into its log",
        )


ENGINE = web.AppKey("engine", EngineBehind)


async def _pieces(
    request: web.Request, answer: aiohttp.ClientResponse
) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except (aiohttp.ClientError, OSError):
        # Half an answer must not look like a whole one.
        if request.transport is not None:
            request.transport.abort()


def _without_hop(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _OF_THE_HOP:
        kept.popall(name, None)
    return kept


def _request_head(request: web.Request, target: str, body_bytes: int) -> bytes:
    lines = [f"{request.method} {target} HTTP/1.1".encode()]
    lines += [
        name + b": " + value
        for name, value in request.raw_headers
        if name.lower() not in (b"content-length", b"transfer-encoding", b"expect")
    ]
    if body_bytes or request.method == "POST":
        lines.append(f"Content-Length: {body_bytes}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _closing(head: bytes) -> bytes:
    """Say that the connection ends with this answer, unless it goes on as something else."""
    status, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if status.split(b" ", 2)[1:2] == [b"101"]:
        return head
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join((status, *kept, b"Connection: close")) + b"\r\n\r\n"
