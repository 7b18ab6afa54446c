"""Questions to a container engine that need no SDK: whether it is there, what it has, its streams.

Used by the container executors, on any node: the SDK costs memory, which a node without an engine
keeps for its tasks. One connection a question, in HTTP/1.0; nothing here changes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

from swarmops.agent.executors.base import TemporaryError
from swarmops.agent.executors.docker_engine import NODE_LABEL
from swarmops.model.node import Plugin

PING_S = 2.0
INFO_S = 10.0
_OK = 200
_DRIVERS = ("Volume", "Network", "Log")


async def answers(address: str) -> bool:
    """Whether something that speaks the Engine API listens there; needs no SDK."""
    try:
        status, _ = await _get(address, "/_ping")
    except (OSError, TimeoutError, ValueError, TemporaryError):
        return False
    return status == _OK


async def node_containers(address: str, node_id: str) -> list[dict[str, Any]]:
    """List a node's containers, running or not; needs no SDK. Raises ``TemporaryError``."""
    return await _of_node(address, "/containers/json?all=1&", node_id)


async def node_networks(address: str, node_id: str) -> list[dict[str, Any]]:
    """List the networks that were made for a node; needs no SDK. Raises ``TemporaryError``."""
    return await _of_node(address, "/networks?", node_id)


async def _of_node(address: str, path: str, node_id: str) -> list[dict[str, Any]]:
    filters = quote(json.dumps({"label": [f"{NODE_LABEL}={node_id}"]}))
    try:
        status, body = await _get(address, f"{path}filters={filters}")
        found: list[dict[str, Any]] = json.loads(body) if status == _OK else []
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error) or "no answer in time"
        raise TemporaryError(f"the container engine does not answer: {reason}") from error
    if status != _OK:
        raise TemporaryError(f"the container engine refused to list what it has: status {status}")
    return found


async def engine_plugins(address: str) -> list[Plugin]:
    """Return the engine's volume, network and log drivers; none where it does not answer."""
    try:
        status, body = await _get(address, "/info", INFO_S)
        listed: dict[str, list[str] | None] = json.loads(body)["Plugins"] if status == _OK else {}
    except (OSError, TimeoutError, ValueError, KeyError, TemporaryError):
        return []
    return [Plugin(type=kind, name=name) for kind in _DRIVERS for name in listed.get(kind) or []]


async def _get(address: str, path: str, within_s: float = PING_S) -> tuple[int, bytes]:
    async with asyncio.timeout(within_s), opened(address, path) as answer:
        return answer.status, await answer.body.read()


class Answer:
    """An answer of the engine that is read as it comes: its status, and its body."""

    def __init__(self, status: int, body: asyncio.StreamReader) -> None:
        self.status = status
        self.body = body

    async def read(self, count: int) -> bytes:
        """Return so many bytes of the body, none once it is over."""
        try:
            return await self.body.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def line(self) -> bytes:
        """Return the body's next line with its newline, b"" once it is over."""
        try:
            return await self.body.readuntil()
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError as error:
            return await self.read(error.consumed)


@contextlib.asynccontextmanager
async def opened(address: str, path: str) -> AsyncIterator[Answer]:
    """Ask in HTTP/1.0, whose answers end with their connection. Raises ``TemporaryError``."""
    try:
        reader, writer = await _connect(address)
    except OSError as error:
        raise TemporaryError(f"the container engine does not answer: {error}") from error
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).split(maxsplit=2)
        if len(head) < 2 or not head[0].startswith(b"HTTP/"):  # noqa: PLR2004 - version, status
            raise TemporaryError("the container engine does not answer in HTTP")
        yield Answer(int(head[1]), reader)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        raise TemporaryError("the container engine hung up") from error
    finally:
        writer.close()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(address)
    if url.scheme == "unix":
        return await asyncio.open_unix_connection(url.path)
    return await asyncio.open_connection(url.hostname, url.port)
