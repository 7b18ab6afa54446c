"""Many clients at once: idle ones are held, followers share what is kept, nobody waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from swarmops.model.service import Service, ServiceSpec
from tests.unit.api.conftest import Api
from tests.unit.api.test_events_http import told  # noqa: F401 - a fixture

CONNECTIONS = 1000
FOLLOWERS = 200
PROMPT_S = 1.0
"""Of the processor's time: what others run on the machine says nothing about this."""
FILES = 4096
"""Both ends of every connection are in this process."""


@pytest.fixture
def files() -> Iterator[None]:
    """Let this process open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a request over a connection that stays; return the status line."""
    writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
    status = await reader.readline()
    await reader.readuntil(b"\r\n\r\nOK")
    return status


@contextlib.asynccontextmanager
async def connections(api: Api, count: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Hold connections on which a request was answered; yields them open."""
    host, port = api.client.host, api.client.port
    pairs = []
    try:
        for _ in range(count):
            pairs.append(await asyncio.open_connection(host, port))
            assert b"200" in await ping(*pairs[-1])
        yield [writer for _, writer in pairs]
        for pair in pairs:
            assert b"200" in await ping(*pair), "it was held"
    finally:
        for _, writer in pairs:
            writer.close()
        for _, writer in pairs:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.slow
@pytest.mark.usefixtures("files")
async def test_1000_idle_connections_are_held_and_disturb_nobody(manager: Api):
    """Each answers again afterwards; others are answered promptly meanwhile."""
    async with asyncio.timeout(300), connections(manager, CONNECTIONS) as held:
        assert len(held) == CONNECTIONS
        begun = time.process_time()
        await manager.get("/nodes")
        assert time.process_time() - begun < PROMPT_S


@pytest.mark.slow
@pytest.mark.usefixtures("files")
async def test_200_followers_of_events_all_hear_and_disturb_nobody(told: Api):  # noqa: F811
    """Every one hears of every change, in order; a write is as prompt as without them."""
    url = told.client.make_url("/events")
    async with (
        asyncio.timeout(300),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        streams = [await session.get(url) for _ in range(FOLLOWERS)]
        for number in range(20):
            begun = time.process_time()
            await told.node.put(Service(id=f"s{number}", spec=ServiceSpec(name=f"s{number}")))
            await told.get(f"/services/s{number}")
            assert time.process_time() - begun < PROMPT_S
        for stream in streams:
            lines = [json.loads(await stream.content.readline()) for _ in range(20)]
            assert [line["Actor"]["ID"] for line in lines] == [f"s{n}" for n in range(20)]
