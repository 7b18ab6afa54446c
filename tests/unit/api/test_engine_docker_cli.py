"""The real docker CLI and docker-py on one socket: the swarm, and a real engine behind it."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import docker
import pytest
from aiohttp import web

from swarmops.api import make_app
from tests.unit.agent.dockerd import IMAGE
from tests.unit.api.fake_node import FakeNode
from tests.unit.api.test_docker_cli import Cli

TIMEOUT_S = 60


class Both(Cli):
    """Runs the docker CLI on the node's socket."""

    socket: Path

    async def fed(self, stdin: bytes, *words: str) -> str:
        """Run a docker command with this input, which then ends; return what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(TIMEOUT_S):
            printed, _ = await process.communicate(stdin)
        assert process.returncode == 0, printed
        return printed.decode()


@pytest.fixture
async def cli(engine_address: str) -> AsyncIterator[Both]:
    """Serve a manager before a real engine; what a test leaves in the engine is removed."""
    node = FakeNode()
    await node.become_manager()
    node.engine_socket = Path(engine_address.removeprefix("unix://"))
    runner = web.AppRunner(make_app(node), access_log=None, shutdown_timeout=1)
    await runner.setup()
    with tempfile.TemporaryDirectory(prefix="swarmops-") as folder:
        socket = Path(folder, "api.sock")
        await web.UnixSite(runner, socket).start()
        cli = Both(node, socket, Path(folder))
        cli.socket = socket
        yield cli
        left = (await cli("ps --all --quiet --filter label=passing")).split()
        if left:
            await cli(f"rm --force --volumes {' '.join(left)}")
    await runner.cleanup()


async def test_containers_run_and_say_what_they_print(cli: Both):
    """`run` in the foreground and in the background, `ps`, `logs`, `wait`, `rm`."""
    assert await cli(f"run --rm --label passing {IMAGE} echo hello") == "hello\n"
    code, _ = await cli.run(f"run --rm --label passing {IMAGE} false")
    assert code == 1
    name = (await cli(f"run -d --label passing {IMAGE} sleep 1000")).strip()
    assert name.startswith((await cli("ps -q --filter label=passing")).strip())
    await cli(f"kill {name}")
    assert (await cli(f"wait {name}")).strip() == "137"
    assert name in await cli(f"inspect --format {{{{.Id}}}} {name}")
    await cli(f"rm {name}")


async def test_input_goes_in_and_its_end_too(cli: Both):
    """`run -i`, `exec -i`: megabytes each way, and output after the input has ended."""
    data = b"0123456789abcde\n" * 200_000
    counted = await cli.fed(data, "run", "--rm", "-i", "--label", "passing", IMAGE, "wc", "-c")
    assert counted.strip() == str(len(data))
    name = (await cli(f"run -d --label passing {IMAGE} sleep 1000")).strip()
    back = await cli.fed(data, "exec", "-i", name, "sh", "-c", "cat; echo after")
    assert back == data.decode() + "after\n"


async def test_logs_are_followed_to_the_end(cli: Both):
    """The stream ends when the container does."""
    script = "for n in 1 2 3; do echo line $n; sleep 0.2; done"
    name = await cli.fed(b"", "run", "-d", "--label", "passing", IMAGE, "sh", "-c", script)
    assert await cli(f"logs -f {name.strip()}") == "line 1\nline 2\nline 3\n"


async def test_an_image_is_built_and_removed(cli: Both):
    """With the classic builder: a context goes up, lines of progress come down."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, text in (
            ("Dockerfile", f"FROM {IMAGE}\nCOPY big /big\nRUN wc -c < /big\n"),
            ("big", "x" * 5_000_000),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    built = await cli.fed(context.getvalue(), "build", "-t", "passing:1", "-")
    assert "5000000" in built
    assert "Successfully tagged passing:1" in built
    assert "passing" in await cli("image ls")
    await cli("image rm passing:1")


async def test_a_builders_session_speaks_http2_through_the_socket(cli: Both):
    """`POST /session` with an upgrade to h2c: the engine's builder sends its preface."""
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_unix_connection(str(cli.socket))
        writer.write(
            b"POST /v1.50/session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
            b"X-Docker-Expose-Session-Uuid: abc\r\nX-Docker-Expose-Session-Name: n\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        writer.close()


async def test_volumes_and_networks_of_the_machine_stand_beside_the_swarms(cli: Both):
    """`volume`, `network ls`, `network create|inspect|rm`."""
    await cli("volume create --label passing passing")
    assert "passing" in await cli("volume ls")
    await cli("volume rm passing")
    listed = await cli("network ls --format {{.Name}}:{{.Scope}}")
    assert {"bridge:local", "host:local", "none:local"} <= set(listed.split())
    assert "null" in await cli("network inspect --format {{.Driver}} none")
    assert "not found" in await cli.refused("network inspect nonsense")


async def test_swarm_commands_work_beside_the_engines(cli: Both):
    """The engine is in no swarm of its own: whoever answers is swarmops."""
    assert "a1" in await cli("node ls")
    stands = "info --format {{.Swarm.LocalNodeState}}:{{.Swarm.ControlAvailable}}"
    assert (await cli(stands)).strip() == "active:true"
    assert "swarmops" in await cli("version")
    assert "overlay" in await cli("info")
    created = await cli("service create --detach --no-resolve-image --name web host true")
    assert created.strip() in await cli("inspect --format {{.ID}} web")


async def test_events_of_both_are_in_one_stream(cli: Both):
    """A container's start is told to whoever listens on the node's socket."""
    async with (
        asyncio.timeout(TIMEOUT_S),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(cli.socket))) as client,
        client.get("http://x/v1.50/events") as answer,
    ):
        await cli(f"run --rm --label passing {IMAGE} true")
        seen = b""
        while b'"Action":"start"' not in seen:
            seen = await answer.content.readline()


async def test_docker_py_runs_execs_and_attaches(cli: Both):
    """Its hijacked streams are frames over the taken-over connection."""

    def work() -> None:
        client = docker.DockerClient(f"unix://{cli.socket}")
        container = client.containers.run(
            IMAGE, ["sleep", "1000"], detach=True, labels={"passing": ""}
        )
        ran: Any = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 3"], demux=True)
        assert ran == (3, (b"out\n", b"err\n"))
        sock: Any = container.exec_run(["cat"], stdin=True, socket=True).output
        sock._sock.sendall(b"through\n")
        assert sock.read(16)[8:] == b"through\n"
        sock._sock.close()
        sock._response.close()
        container.remove(force=True)
        client.close()

    await asyncio.to_thread(work)


async def test_docker_py_filters_the_machines_networks(cli: Both):
    """Listed and pruned by a label with a blank and a # in it; others stay."""

    def work() -> None:
        client = docker.DockerClient(f"unix://{cli.socket}")
        made = client.networks.create("passing", labels={"passing": "a b#c"})
        try:
            wanted = {"label": ["passing=a b#c"]}
            assert [one.name for one in client.networks.list(filters=wanted)] == ["passing"]
            assert client.networks.list(filters={"label": ["passing=a b"]}) == []
            assert client.networks.prune(filters=wanted)["NetworksDeleted"] == ["passing"]
        finally:
            if client.networks.list(names=["passing"]):
                made.remove()
            client.close()

    await asyncio.to_thread(work)
