"""Published ports of containers: a node's proxy passes connections on to a real engine's tasks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.ingress.backends import Address
from swarmops.agent.work import make_work
from swarmops.model.service import Mount, PortConfig
from tests.unit.agent.conftest import FACTS, make_task
from tests.unit.agent.dockerd import IMAGE
from tests.unit.agent.test_ingress_proxy import World, udp_ask, udp_client

NODE = "127.0.0.1"
"""Where the tasks' node is reached; the proxy that is asked is another node's."""
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 80))
while True:
    server.sendto(*server.recvfrom(1500))
"""


@pytest.fixture
async def executor(context: ExecutorContext, engine_address: str) -> AsyncIterator[DockerExecutor]:
    """Return an executor whose containers are all gone afterwards."""
    made = DockerExecutor(replace(context, docker_host=engine_address))
    await made.describe()
    yield made
    await made.reattach([])
    await made.close()


@pytest.fixture
async def other_node() -> AsyncIterator[World]:
    """Return the proxy of a node without tasks."""
    made = World()
    running = asyncio.create_task(made.proxy.run())
    yield made
    made.proxy.stop()
    running.cancel()
    await asyncio.wait([running])
    await made.stop()


async def behind(
    executor: DockerExecutor, slot: int, protocol: str, command: list[str], **container: Any
) -> Address:
    """Start a container that publishes port 80; return where its node takes connections for it."""
    port = PortConfig(protocol=protocol, target_port=80, published_port=30_000)
    task = make_task(image=IMAGE, command=command, slot=slot, ports=[port], **container)
    work = make_work(task, FACTS)
    await executor.prepare(work)
    await executor.start(work)
    (where,) = (await executor.report(work)).ports
    assert isinstance(where.published_port, int)
    return NODE, where.published_port


def python_for_containers() -> tuple[str, list[Mount]]:
    """Return this machine's Python, and what it needs of the machine: busybox can't serve UDP."""
    places = [*(f"/{name}" for name in ("usr", "lib", "lib64")), sys.base_prefix]
    mounts = [
        Mount(type="bind", source=os.path.realpath(each), target=each, read_only=True)
        for each in dict.fromkeys(places)
        if Path(each).exists()
    ]
    return os.path.realpath(sys.executable), mounts


async def page(number: int) -> str:
    """Return the page behind a published port, "" while nothing serves it."""
    reader, writer = await asyncio.open_connection("127.0.21.1", number)
    try:
        writer.write(b"GET /page HTTP/1.0\r\n\r\n")
        return (await reader.read()).decode().rpartition("\r\n\r\n")[2].strip()
    except ConnectionError:
        return ""
    finally:
        writer.close()


@pytest.mark.root
async def test_connections_to_another_node_reach_every_container(
    executor: DockerExecutor, other_node: World
):
    """TCP: each in turn."""
    serve = "cd /tmp; echo slot $SWARMOPS_TASK_SLOT >page; exec httpd -f -p 80 -h /tmp"
    command = ["sh", "-c", serve]
    tasks = [await behind(executor, slot, "tcp", command) for slot in (1, 2)]
    number = await other_node.publish("tcp", *tasks)
    seen: set[str] = set()
    async with asyncio.timeout(60):
        while seen != {"slot 1", "slot 2"}:
            seen |= {await page(number)} - {""}
    assert sorted([await page(number) for _ in range(4)]) == [
        "slot 1",
        "slot 1",
        "slot 2",
        "slot 2",
    ]


@pytest.mark.root
async def test_datagrams_to_another_node_reach_a_container(
    executor: DockerExecutor, other_node: World
):
    """UDP, and its answers come back."""
    python, mounts = python_for_containers()
    task = await behind(executor, 1, "udp", [python, "-c", ECHO], mounts=mounts)
    number = await other_node.publish("udp", task)
    with udp_client(number) as client:
        answer = b""
        async with asyncio.timeout(60):
            while answer != b"hello":
                try:
                    answer = await asyncio.wait_for(udp_ask(client, b"hello"), 0.5)
                except (TimeoutError, ConnectionError):  # nothing listens in it yet
                    continue
