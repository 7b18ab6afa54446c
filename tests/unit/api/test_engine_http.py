"""A Docker Engine behind the node: what goes to it, for whom, and what is said without one."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from swarmops.api import make_app, stream, upload
from swarmops.api.engine_access import LocalUser, may_open
from swarmops.model.network import NETWORK_ID_LABEL
from tests.unit.api.fake_node import FakeNode

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Behind:
    """A node's socket, a fake engine behind it, and what the engine was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node = FakeNode()
        self.node.engine_socket = folder / "engine.sock"
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, Handle] = {}
        self.socket = folder / "node.sock"
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Serve both."""
        await self.start_engine()
        await self._serve(make_app(self.node), self.socket)
        connector = aiohttp.UnixConnector(str(self.socket))
        self.client = await self._stack.enter_async_context(
            aiohttp.ClientSession("http://node", connector=connector)
        )

    async def start_engine(self) -> None:
        """Serve the engine: whatever it isn't told to answer is ``{}``."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        assert self.node.engine_socket
        await self._serve(app, self.node.engine_socket)

    async def close(self) -> None:
        """Stop both."""
        await self._stack.aclose()

    async def ask(self, method: str, path: str | URL, **more: Any) -> tuple[int, Any]:
        """Return status and JSON."""
        async with self.client.request(method, path, **more) as answer:
            return answer.status, await answer.json(content_type=None)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path))
        handle = self.answers.get(request.path.partition("/v1.41")[2] or request.path)
        if request.path == "/_ping":
            return web.Response(text="OK", headers={"Api-Version": "1.41", "Builder-Version": "2"})
        return await handle(request) if handle else web.json_response({"engine": True})

    async def _serve(self, app: web.Application, path: Path) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.UnixSite(runner, path).start()
        Path(path).chmod(0o666)  # noqa: ASYNC240 - a test may


@pytest.fixture
async def behind() -> AsyncIterator[Behind]:
    """Serve a manager before an engine that speaks 1.41."""
    with tempfile.TemporaryDirectory(prefix="swarmops-") as name:
        Path(name).chmod(0o755)  # noqa: ASYNC240 - a test may
        world = Behind(Path(name))
        await world.node.become_manager()
        await world.start()
        yield world
        await world.close()


@pytest.mark.parametrize(
    ("method", "path", "at_engine"),
    [
        ("GET", "/containers/json?all=1", "/v1.41/containers/json?all=1"),
        ("GET", "/v1.50/containers/json", "/v1.41/containers/json"),
        ("GET", "/v1.30/images/a%2Fb:1/json", "/v1.30/images/a%2Fb:1/json"),
        ("DELETE", "/v1.41/volumes/x?force=1", "/v1.41/volumes/x?force=1"),
        ("GET", "/networks/br0", "/v1.41/networks/br0"),
        ("DELETE", "/networks/br0", "/v1.41/networks/br0"),
        ("GET", "/distribution/a/b:1/json", "/v1.41/distribution/a/b:1/json"),
        ("GET", "/system/df", "/v1.41/system/df"),
    ],
)
async def test_what_is_not_swarm_modes_goes_to_the_engine_in_a_version_it_speaks(
    behind: Behind, method: str, path: str, at_engine: str
):
    """Path and query otherwise untouched."""
    status, body = await behind.ask(method, path)
    assert (status, body) == (200, {"engine": True})
    assert behind.asked[-1] == (method, at_engine)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/swarm/nonsense"),
        ("DELETE", "/v1.41/swarm/init"),
        ("POST", "/v1.41/services/x/nonsense"),
        ("GET", "/%73warm/nonsense"),
        ("POST", "//swarm/leave"),
        ("GET", "/containers/../swarm"),
        ("PUT", "/nodes"),
        ("OPTIONS", "*"),
        ("CONNECT", "h:1"),
    ],
)
async def test_swarm_modes_own_paths_never_reach_the_engine(behind: Behind, method: str, path: str):
    """It may be in a swarm of its own."""
    reader, writer = await asyncio.open_unix_connection(str(behind.socket))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert b" 404 " in answer.splitlines()[0]
    assert b'{"message":"page not found"}' in answer
    assert not [what for what in behind.asked if what[1] != "/_ping"]


async def test_bodies_of_any_size_go_through_both_ways(behind: Behind):
    """More than the swarm's own bodies may have, chunk by chunk."""
    size = 20 * 1024 * 1024

    async def count(request: web.Request) -> web.StreamResponse:
        total = 0
        async for piece in request.content.iter_any():
            total += len(piece)
        response = web.StreamResponse(headers={"X-Total": str(total)})
        await response.prepare(request)
        for _ in range(total // 65536):
            await response.write(bytes(65536))
        return response

    behind.answers["/images/load"] = count

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    async with behind.client.post("/images/load", data=body()) as answer:
        assert answer.headers["X-Total"] == str(size)
        assert len(await answer.read()) == size
        assert answer.headers["Api-Version"] == "1.50"


async def test_a_taken_over_connection_goes_both_ways_and_half_closes(behind: Behind):
    """The client ends its input and still gets the output; the engine sees the end."""
    assert behind.node.engine_socket

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/_ping" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            assert b"upgrade: tcp" in head.lower()
            assert await reader.readexactly(2) == b"{}"
            writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            writer.write(b"hello ")
            got = await reader.read()
            writer.write(b"bytes: %d" % len(got))
        writer.close()

    behind.node.engine_socket.unlink()
    server = await asyncio.start_unix_server(engine, behind.node.engine_socket)
    async with server, asyncio.timeout(60):
        reader, writer = await asyncio.open_unix_connection(str(behind.socket))
        writer.write(
            b"POST /v1.41/exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n"
            b"Upgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(6) == b"hello "
        writer.write(bytes(3_000_000))
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"bytes: 3000000"
        writer.close()


async def test_a_refused_take_over_is_an_answer_like_any_other(behind: Behind):
    """It says that the connection ends with it."""

    async def gone(request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response({"message": "No such exec instance: x"}, status=404)

    behind.answers["/exec/x/start"] = gone
    async with behind.client.post("/exec/x/start", json={}) as answer:
        assert answer.status == 404
        assert answer.headers["Connection"] == "close"
        assert await answer.json() == {"message": "No such exec instance: x"}


async def test_half_an_answer_never_looks_whole(behind: Behind):
    """Where the engine breaks off, so do we."""

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport
        request.transport.abort()
        return response

    behind.answers["/containers/x/export"] = broken
    with pytest.raises(aiohttp.ClientError):
        await behind.ask("GET", "/containers/x/export")


@pytest.mark.slow
async def test_a_client_that_left_a_silent_stream_is_noticed(behind: Behind):
    """Then the engine's stream ends too."""
    assert behind.node.engine_socket
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert await reader.read() == b""
        ended.set()
        writer.close()

    await behind.ask("GET", "/containers/json")  # after which the engine's version is known
    behind.node.engine_socket.unlink()
    async with await asyncio.start_unix_server(silent, behind.node.engine_socket):
        async with behind.client.get("/containers/x/logs?follow=1") as answer:
            assert answer.status == 200
            answer.close()
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_client_that_left_before_an_answer_is_noticed(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
):
    """An engine that takes requests and says nothing holds none of them for nobody."""
    assert behind.node.engine_socket
    monkeypatch.setattr(stream, "TICK_S", 0.05)
    asked, ended = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read() == b""
        ended.set()
        writer.close()

    await behind.ask("GET", "/containers/json")  # after which the engine's version is known
    behind.node.engine_socket.unlink()
    async with await asyncio.start_unix_server(mute, behind.node.engine_socket):
        _, writer = await asyncio.open_unix_connection(str(behind.socket))
        writer.write(b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(asked.wait(), 60)
        writer.close()
        await asyncio.wait_for(ended.wait(), 60)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/build"),
        ("POST", "/exec/x/start"),
        ("POST", "/networks/create"),
        ("DELETE", "/networks/br0"),
    ],
)
async def test_a_client_that_stands_still_with_its_body_is_hung_up_on(
    behind: Behind, method: str, path: str, monkeypatch: pytest.MonkeyPatch
):
    """As a whole it may take as long as it likes; the next piece has its time."""
    monkeypatch.setattr(upload, "STANDSTILL_S", 0.2)

    async def takes_all(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response({"all": True})

    behind.answers[path] = takes_all
    reader, writer = await asyncio.open_unix_connection(str(behind.socket))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()
    assert await behind.ask(method, path, json={}) == (200, {"all": True})


async def test_a_networks_body_of_another_type_reaches_nobody(behind: Behind):
    """A web page can't make one, be it the swarm's or the engine's."""
    headers = {"Content-Type": "text/plain"}
    status, said = await behind.ask("POST", "/networks/create", data=b"{}", headers=headers)
    assert (status, "unsupported Content-Type" in said["message"]) == (400, True)
    assert not [what for what in behind.asked if what[0] == "POST"]


async def test_without_an_engine_there_is_a_json_404(behind: Behind):
    """Whether none is expected or none is there, who asks for containers learns it."""
    behind.node.engine_socket = None
    for path in (None, behind.folder / "nothing"):
        app = make_app(behind.node)
        behind.node.engine_socket = path
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        socket_path = behind.folder / "other.sock"
        await web.UnixSite(runner, socket_path).start()
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket_path))) as client,
            client.get("http://x/containers/json") as answer,
        ):
            assert answer.status == 404
            assert await answer.json() == {
                "message": "page not found: this node has no Docker Engine, which this is for;"
                " swarm mode has docker service"
            }
        await runner.cleanup()


async def test_over_a_network_nobody_reaches_the_engine(behind: Behind):
    """Only the kernel's word on a unix socket says who somebody is."""
    runner = web.AppRunner(make_app(behind.node), access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    port = listener.getsockname()[1]
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}/containers/json") as answer,
    ):
        assert answer.status == 404
    await runner.cleanup()


async def test_an_engine_that_is_down_is_named_with_its_cure(behind: Behind):
    """503, and what is the swarm's goes on."""
    assert behind.node.engine_socket
    behind.node.engine_socket.unlink()
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(behind.node.engine_socket))
        status, body = await behind.ask("GET", "/containers/json")
        assert status == 503
        assert "doesn't answer at" in body["message"]
        assert (await behind.ask("GET", "/info"))[1]["Swarm"]["LocalNodeState"] == "active"
        assert (await behind.ask("GET", "/networks"))[0] == 200


async def test_facts_of_both_are_merged(behind: Behind):
    """The engine's, with the swarm, the name and the versions of whoever answers here."""
    theirs = {"Containers": 3, "Swarm": {"LocalNodeState": "inactive"}, "Name": "else"}

    async def info(request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(theirs)

    async def version(request: web.Request) -> web.StreamResponse:
        del request
        engine = {"Name": "Engine", "Version": "20.10"}
        return web.json_response({"Version": "20.10", "ApiVersion": "1.41", "Components": [engine]})

    behind.answers |= {"/info": info, "/version": version}
    _, said = await behind.ask("GET", "/info")
    assert (said["Containers"], said["Name"]) == (3, "a1")
    assert said["Swarm"]["LocalNodeState"] == "active"
    _, said = await behind.ask("GET", "/version")
    assert (said["Version"], said["ApiVersion"], said["MinAPIVersion"]) == ("20.10", "1.50", "1.24")
    assert [one["Name"] for one in said["Components"]] == ["Engine", "swarmops"]
    async with behind.client.get("/_ping") as answer:
        assert answer.headers["Builder-Version"] == "2"
        assert answer.headers["Api-Version"] == "1.50"


async def test_networks_of_the_machine_and_of_the_swarm_are_listed_together(behind: Behind):
    """One that only this machine shall have is the engine's; what it has of ours isn't shown."""

    async def networks(request: web.Request) -> web.StreamResponse:
        del request
        ours = {"Name": "front", "Scope": "local", "Labels": {NETWORK_ID_LABEL: "x"}}
        return web.json_response([{"Name": "bridge", "Scope": "local", "Labels": {}}, ours])

    behind.answers["/networks"] = networks
    listed = (await behind.ask("GET", "/networks"))[1]
    assert [one["Name"] for one in listed] == ["ingress", "bridge"]
    wanted = {"Name": "mine", "Driver": "bridge"}
    assert (await behind.ask("POST", "/networks/create", json=wanted))[1] == {"engine": True}


async def test_pruning_removes_networks_of_the_machine_as_well(behind: Behind):
    """One answer names both."""

    async def pruned(request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response({"NetworksDeleted": ["br0"]})

    behind.answers["/networks/prune"] = pruned
    answer = await behind.ask("POST", "/networks/prune")
    assert answer == (200, {"NetworksDeleted": ["br0"]})


async def test_events_of_the_engine_come_in_between(behind: Behind):
    """One stream has both."""

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"Type":"container","Action":"start"}\n')
        await asyncio.sleep(60)
        return response

    behind.answers["/events"] = events
    async with asyncio.timeout(60), behind.client.get("/events") as answer:
        assert await answer.content.readline() == b'{"Type":"container","Action":"start"}\n'


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "opens"),
    [
        (0o660, 0, (), True),
        (0o660, 5, (), False),
        (0o660, 5, (7,), True),
        (0o666, 5, (), True),
        (0o606, 5, (7,), False),
        (0o640, 5, (7,), False),
        (0o600, 6, (), True),
        (0o060, 6, (7,), False),
    ],
)
def test_the_modes_of_the_engines_socket_decide(
    monkeypatch: pytest.MonkeyPatch, mode: int, uid: int, groups: tuple[int, ...], *, opens: bool
):
    """As the kernel would: the owner's bits, else the group's, else the others'."""
    with tempfile.TemporaryDirectory(prefix="swarmops-") as name:
        path = Path(name, "engine.sock")
        path.touch()
        about = os.stat_result((stat.S_IFSOCK | mode, 1, 1, 1, 6, 7, 0, 0, 0, 0))
        folder = os.stat_result((stat.S_IFDIR | 0o755, 1, 1, 1, 0, 0, 0, 0, 0, 0))
        real = path.resolve()
        monkeypatch.setattr(
            Path, "stat", lambda self, **_: about if self == real else folder, raising=True
        )
        assert may_open(path, LocalUser(uid=uid, groups=frozenset(groups))) is opens


def test_a_closed_folder_above_the_socket_closes_it(tmp_path: Path):
    """Even where its own mode is open."""
    path = tmp_path / "engine.sock"
    path.touch()
    path.chmod(0o666)
    tmp_path.chmod(0o700)
    nobody = LocalUser(uid=65534, groups=frozenset((65534,)))
    assert not may_open(path, nobody)
    assert not may_open(tmp_path / "nothing", nobody)


_ASK = """
import http.client, os, socket, sys
os.setgroups([int(group) for group in sys.argv[2:]])
os.setgid(65534)
os.setuid(65534)
connection = http.client.HTTPConnection("x")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", "/containers/json")
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.mark.root
@pytest.mark.parametrize(("groups", "status"), [((), "404"), ((54321,), "200")])
async def test_the_kernel_says_who_asks(behind: Behind, groups: tuple[int, ...], status: str):
    """A user without the engine's group gets a 404 with the reason, one with it the engine."""
    assert behind.node.engine_socket
    os.chown(behind.node.engine_socket, 0, 54321)
    behind.node.engine_socket.chmod(0o660)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _ASK,
        str(behind.socket),
        *map(str, groups),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert printed.decode().startswith(status)
    if status == "404":
        assert f"who may use {behind.node.engine_socket}" in printed.decode()


@pytest.mark.parametrize(("method", "path"), [("GET", "/networks"), ("POST", "/networks/prune")])
async def test_filters_of_networks_reach_the_engine_as_they_were_sent(
    behind: Behind, method: str, path: str
):
    """docker-py writes blanks into its JSON: decoded, they would end the request's line."""
    filters = "?filters=%7B%22label%22%3A+%5B%22a+b%23c%22%5D%7D"
    await behind.ask(method, URL(f"http://node{path}{filters}", encoded=True).relative())
    assert behind.asked[-1] == (method, f"/v1.41{path}{filters}")


async def test_without_a_leader_the_engines_own_networks_are_still_listed(behind: Behind):
    """As in Docker; the swarm's are not shown as they may no longer be."""
    own = [{"Name": "br0", "Id": "x", "Labels": None}]

    async def networks(request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(own)

    behind.answers["/networks"] = networks
    assert len((await behind.ask("GET", "/networks"))[1]) == 2
    behind.node.leader = False
    assert await behind.ask("GET", "/networks") == (200, own)
