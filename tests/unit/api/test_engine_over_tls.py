"""The engine behind, over the network: for admins, streams included; for readers there is none."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web
from msgspec.structs import replace

from swarmops.api import make_app, make_network_app
from swarmops.model.access import AccessRole, Person
from swarmops.model.base import given
from swarmops.model.swarm import Cluster, ClusterInternal
from swarmops.pki.access import issue_api, issue_person
from swarmops.pki.identity import write_private
from swarmops.pki.root import RootCA, new_request, new_root
from swarmops.runtime.access_port import server_context
from tests.unit.api.fake_node import START, FakeNode

NOW = datetime.now(UTC)
START_EXEC = (
    b"POST /v1.50/exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


class Door(NamedTuple):
    """A TLS port before a node with an engine, and who may come in."""

    port: int
    folder: Path
    node: FakeNode

    async def connect(self, who: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection with somebody's certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / f"{who}.pem")
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context)


async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo what comes over a taken-over connection, until the line "end"."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"/_ping" in head:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    else:
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        while (line := await reader.readline()) not in (b"", b"end\n"):
            writer.write(b"got " + line)
    writer.close()


def person(root: RootCA, cluster: Cluster, folder: Path, role: AccessRole) -> Person:
    """Let somebody in who is called as the role."""
    key, csr = new_request()
    cert, serial = issue_person(
        root, csr, name=role.value, cluster_id=cluster.id, now=NOW, lifetime_s=3600
    )
    write_private(folder / f"{role.value}.pem", (key + cert).encode())
    ends = START + timedelta(days=1)
    return Person(name=role.value, role=role, serial=serial, created_at=START, expires_at=ends)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """Serve the network's application with an admin and a reader."""
    root = new_root(NOW)
    node = FakeNode(root.cert_pem)
    await node.become_manager()
    assert node.store
    assert node.store.cluster
    cluster = node.store.cluster
    with tempfile.TemporaryDirectory(prefix="swarmops-") as name:
        folder = Path(name)
        node.engine_socket = folder / "engine.sock"
        people = [person(root, cluster, folder, role) for role in AccessRole]
        internal = replace(given(cluster.internal, ClusterInternal()), people=people)
        await node.put(replace(cluster, internal=internal))
        write_private(folder / "ca.pem", root.cert_pem.encode())
        names = ["127.0.0.1"]
        pem = issue_api(
            root, node_id="n", cluster_id=cluster.id, names=names, now=NOW, lifetime_s=3600
        )
        write_private(folder / "api.pem", pem.encode())
        runner = web.AppRunner(make_network_app(make_app(node)), access_log=None)
        await runner.setup()
        context = server_context(folder / "api.pem", root.cert_pem)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        async with await asyncio.start_unix_server(engine, node.engine_socket):
            yield Door(runner.addresses[0][1], folder, node)
        await runner.cleanup()


async def test_an_admins_stream_goes_both_ways(door: Door):
    """Line after line, until the engine ends it."""
    async with asyncio.timeout(60):
        reader, writer = await door.connect("admin")
        writer.write(START_EXEC)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        for number in range(100):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"got line %d\n" % number
        writer.write(b"end\n")
        assert await reader.read() == b""
        writer.close()


async def test_a_reader_has_no_engine(door: Door):
    """403 for what would change something, 404 for what would only look."""
    reader, writer = await door.connect("read")
    writer.write(START_EXEC)
    assert b" 403 " in await reader.readuntil(b"\r\n")
    writer.close()
    reader, writer = await door.connect("read")
    writer.write(b"GET /containers/json HTTP/1.1\r\nHost: d\r\n\r\n")
    assert b" 404 " in await reader.readuntil(b"\r\n")
    writer.close()
