"""What the daemon promises about its node's proxy: one runs while there is something to publish."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from swarmops.agent.ingress import wire
from swarmops.agent.ingress.keeper import Keeper, sentence
from swarmops.model.session import Backend, Ingress, PublishedPort

HOST = "127.0.22.1"
NODE = "keepertestnode"


class Node:
    """A node's folder, whose path is longer than a unix socket's may be, and its daemons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.keeper: Keeper
        self._running: asyncio.Task[None] | None = None
        with socket.create_server((HOST, 0)) as probe:
            self.port = probe.getsockname()[1]

    async def start(self) -> None:
        """Start a daemon."""
        self.keeper = Keeper(self.folder, host=HOST, node_id=NODE, say=self.said.append)
        self._running = asyncio.create_task(self.keeper.run())

    async def stop(self) -> None:
        """End the daemon."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def publish(self, *backends: Backend, complete: bool = True) -> None:
        """Have the manager say that the port is published."""
        port = PublishedPort("tcp", self.port, list(backends))
        self.keeper.take(Ingress(complete=complete, ports=[port], removed=[]))

    def proxies(self) -> list[int]:
        """The proxies of this node that run."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.folder) in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found

    async def listens(self) -> bool:
        """Whether the port is served."""
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except ConnectionResetError:
            # Accepted, and given up at once for want of a task, before this end even looked.
            return True
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return True

    async def until_served(self, *, served: bool = True) -> None:
        """Wait until the port is served, or is not."""
        async with asyncio.timeout(60):
            while await self.listens() is not served:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node with a running daemon; nothing of it stays."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    made = Node(folder)
    await made.start()
    yield made
    await made.stop()
    for pid in made.proxies():
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)  # noqa: ASYNC222 - it was just killed


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.02)


async def test_a_proxy_runs_from_the_first_published_port_to_the_last(node: Node):
    """And none before or after."""
    node.keeper.take(Ingress(complete=True, ports=[], removed=[]))
    await asyncio.sleep(0)
    assert not node.proxies()
    node.publish()
    await node.until_served()
    assert len(node.proxies()) == 1
    node.keeper.take(Ingress(complete=False, ports=[], removed=[("tcp", node.port)]))
    await node.until_served(served=False)
    await until(lambda: all(map(_is_zombie, node.proxies())))


async def test_the_proxy_outlives_the_daemon_and_the_next_one_finds_it(node: Node):
    """Nothing changes until a manager has spoken."""
    node.publish()
    await node.until_served()
    before = node.proxies()
    await node.stop()
    assert await node.listens()
    await node.start()
    node.publish(Backend("127.0.22.9", 9))
    await node.until_served()
    assert node.proxies() == before
    await node.stop()
    await node.keeper.end()
    await node.until_served(served=False)


async def test_the_proxy_goes_when_its_folder_is_removed(node: Node):
    """Whoever removes a node by force leaves nothing running."""
    node.publish()
    await node.until_served()
    await node.stop()
    shutil.rmtree(node.folder)
    await node.until_served(served=False)


async def test_a_proxy_of_another_version_makes_room(node: Node, monkeypatch: pytest.MonkeyPatch):
    """A node that was upgraded runs the proxy that belongs to it."""
    node.publish()
    await node.until_served()
    before = node.proxies()
    await node.stop()
    monkeypatch.setattr(wire, "VERSION", "another")
    await node.start()
    node.publish()
    await until(lambda: not (node.folder / wire.SOCKET).exists())
    monkeypatch.undo()
    await until(lambda: bool(set(node.proxies()) - set(before)))
    await node.until_served()


def test_the_sentence_names_each_port_that_is_not_served():
    """With the reason; nothing to say where all are."""
    assert sentence({}) == ""
    assert sentence({("tcp", 80): "Permission denied", ("udp", 53): "Address already in use"}) == (
        "published ports not served on this node: "
        "80/tcp (Permission denied), 53/udp (Address already in use)"
    )


def _is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
