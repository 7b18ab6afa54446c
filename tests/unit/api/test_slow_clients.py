"""Clients that say too little, too much or too slowly, or don't take what they asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from swarmops.api import app as application
from swarmops.api import events, make_app
from swarmops.api.route import LATENCIES
from swarmops.model.service import ContainerSpec, Service, ServiceSpec, TaskSpec
from swarmops.runtime.first_request import HEAD_BYTES_MAX, FirstRequest
from swarmops.runtime.node import HEADER_BYTES_MAX, _runner
from tests.unit.api.fake_node import FakeNode
from tests.unit.api.test_events_http import History

HEAD_S = 0.3
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class World(NamedTuple):
    """A manager's socket, served as the daemon serves it, with little patience."""

    node: FakeNode
    socket: str
    app: web.Application

    async def connect(self) -> Streams:
        """Open a connection that takes little before it is read from."""
        return await asyncio.open_unix_connection(self.socket, limit=1024)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Serve a manager."""
    node = FakeNode()
    await node.become_manager()
    app = make_app(node)
    runner: web.AppRunner = await _runner(app)
    server = runner.server
    assert server is not None
    with tempfile.TemporaryDirectory(prefix="swarmops-") as folder:
        path = str(Path(folder, "api.sock"))
        listening = await asyncio.get_running_loop().create_unix_server(
            lambda: FirstRequest(lambda _: server(), HEAD_S), path
        )
        yield World(node, path, app)
        listening.close()
    await runner.cleanup()


async def said(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server hangs up."""
    pieces = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            while piece := await reader.read(65536):
                pieces += piece
    return pieces


async def test_who_says_nothing_is_hung_up_on(world: World):
    """Without an answer: there was no question."""
    reader, writer = await world.connect()
    assert await said(reader) == b""
    writer.close()


async def test_who_says_it_drop_by_drop_is_hung_up_on(world: World):
    """However steadily the drops come."""
    reader, writer = await world.connect()
    begun = asyncio.get_running_loop().time()
    with contextlib.suppress(ConnectionError):
        for byte in b"GET /_ping HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 10_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - begun < 60
    assert await said(reader) == b""
    writer.close()


async def test_who_asks_in_time_is_served_on_the_same_connection_for_longer(world: World):
    """The bound is for the first request alone."""
    reader, writer = await world.connect()
    for pause_s in (0.0, HEAD_S * 2):
        await asyncio.sleep(pause_s)
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n")
        await reader.readuntil(b"\r\n\r\nOK")
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /_ping?" + b"x" * (HEADER_BYTES_MAX + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (HEADER_BYTES_MAX + 1) + b"\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /_ping HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES_MAX + 1),
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ],
)
async def test_heads_are_bounded(world: World, head: bytes):
    """Too long a line, too many of them, or no HTTP at all: 400."""
    reader, writer = await world.connect()
    writer.write(head)
    assert b" 400 " in (await said(reader)).partition(b"\r\n")[0]
    writer.close()


async def test_a_header_that_is_no_text_is_refused_in_json(world: World):
    """Its bytes can't be said again, and are no error of ours."""
    reader, writer = await world.connect()
    writer.write(
        b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: \xff\r\n"
        b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    )
    head, _, told = (await said(reader)).partition(b"\r\n\r\n")
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert json.loads(told)["message"].startswith("unsupported Content-Type header (?)")
    writer.close()


async def test_bodies_are_bounded(world: World):
    """More than 4 MiB is refused, before all of it was sent."""
    reader, writer = await world.connect()
    writer.write(
        b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000000\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            writer.write(bytes(65536))
            await asyncio.wait_for(writer.drain(), 1)
    assert b" 413 " in await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """The handler's deadline counts for the body too."""
    monkeypatch.setattr(asyncio, "timeout", _impatient(asyncio.timeout))
    reader, writer = await world.connect()
    writer.write(
        b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{"
    )
    assert b" 504 " in await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    writer.close()


def _impatient(timeout: Callable[[float | None], asyncio.Timeout]) -> object:
    """Deadlines of half a minute take a moment."""
    return lambda within_s: timeout(0.2 if within_s and within_s >= 30 else within_s)


@pytest.mark.parametrize(("count", "each_bytes"), [(1, 1_200_000), (200, 6_000)])
async def test_an_answer_that_nobody_takes_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int, each_bytes: int
):
    """One large object, or a list in slices: the connection ends in the middle of it."""
    for number in range(count):
        container = ContainerSpec(image="host", args=["x" * each_bytes])
        spec = ServiceSpec(name=f"s{number}", task_template=TaskSpec(container_spec=container))
        await world.node.put(Service(id=f"s{number}", spec=spec))
    monkeypatch.setattr(application, "SEND_S", 0.2)
    monkeypatch.setattr(asyncio, "timeout", _impatient(asyncio.timeout))
    reader, writer = await world.connect()
    writer.write(b"GET /services HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.5)  # longer than anybody waits for it to be read
    got = await said(reader)
    assert b" 200 " in got.partition(b"\r\n")[0]
    assert len(got) < count * each_bytes
    assert b"HTTP/1.1 504" not in got
    writer.close()


async def test_a_stream_that_fails_is_cut_off_and_the_log_explains_it(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No second answer comes behind the half of the first one."""

    async def broken(*_: object) -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    monkeypatch.setattr(events, "_lines", broken)
    reader, writer = await world.connect()
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    got = await said(reader)
    assert (got.count(b"HTTP/1.1"), got.endswith(b"0\r\n\r\n")) == (1, False)
    logged = capsys.readouterr()
    assert "ZeroDivisionError" in logged.out + logged.err
    writer.close()


async def test_a_follower_that_goes_is_no_error(world: World, caplog: pytest.LogCaptureFixture):
    """Its reading ends with the next event, and the log says nothing of it."""
    history = History(world.node)
    world.node.insight = history
    reader, writer = await world.connect()
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n")
    writer.close()
    await writer.wait_closed()
    answers = world.app[LATENCIES].answers
    async with asyncio.timeout(60):
        for number in itertools.count():
            await world.node.put(Service(id=f"s{number}", spec=ServiceSpec(name=f"s{number}")))
            await asyncio.sleep(0.01)  # until the daemon has seen that nobody is there
            if answers["GET", "/events", 200]:
                break
    assert [record.getMessage() for record in caplog.records] == []
    history.collecting.cancel()
