"""The daemon's half of ingress: keeps the proxy running and tells it what the swarm publishes.

The agent hands it the manager's frames. It starts the proxy with the first published port, finds
the one of an earlier daemon, starts another if it dies, and ends it with the last port. It passes
no traffic on itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from swarmops.agent.ingress import wire
from swarmops.agent.ingress.backends import Address, Key
from swarmops.model.session import Ingress

RETRY_S = 1.0
START_S = 10.0
"""A proxy that doesn't answer so long after its start is given up."""
LOOK_S = 5.0
log = structlog.get_logger(__name__)


class Keeper:
    """One node's proxy. ``say`` hears a sentence when ports fail, and "" when none does."""

    def __init__(
        self, folder: Path, *, host: str, node_id: str, say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._host = host
        self._node_id = node_id
        self._say = say
        self._table: dict[Key, list[Address]] = {}
        self._told = False
        self._changed = asyncio.Event()
        self._line: asyncio.StreamWriter | None = None
        self._pid = 0

    def take(self, frame: Ingress) -> None:
        """Take over what a manager says of published ports."""
        if frame.complete:
            self._table.clear()
        for port in frame.ports:
            key = port.protocol, port.number
            self._table[key] = [(each.addr, each.port) for each in port.backends]
        for protocol, number in frame.removed:
            self._table.pop((protocol, number), None)
        self._told = True
        self._changed.set()

    async def run(self) -> None:
        """Keep the proxy until cancelled; it goes on by itself then."""
        try:
            while True:
                try:
                    await self._keep()
                except (OSError, TimeoutError, ValueError) as error:
                    log.warning("no ingress proxy now", reason=str(error) or "no answer in time")
                await asyncio.sleep(RETRY_S)
        finally:
            self._hang_up()

    async def end(self) -> None:
        """End the proxy: this node leaves the swarm. Call it after ``run`` was cancelled."""
        with contextlib.suppress(OSError, TimeoutError):
            reader, line = await self._open()
            try:
                # Its greeting must have somewhere to go, or it never reads what is said here.
                async with asyncio.timeout(START_S):
                    await reader.readline()
                line.write(wire.end_line())
                await line.drain()
            finally:
                line.close()

    async def _keep(self) -> None:
        """Find or start a proxy and talk to it until it is gone or not needed."""
        while not self._told:
            await self._next_change()
        try:
            reader = await self._connect()
        except OSError:
            while not self._table:
                await self._next_change()
            reader = await self._start()
        async with asyncio.timeout(START_S):
            hello = wire.read_line(await reader.readline() or b"{}")
        if hello.get("version") != wire.VERSION:
            await self._tell_end()
            return
        listening = asyncio.create_task(self._listen(reader))
        try:
            await self._tell_tables(listening)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            self._hang_up()
            self._reap()

    async def _tell_tables(self, listening: asyncio.Task[None]) -> None:
        while self._line is not None and not listening.done():
            self._changed.clear()
            if not self._table:
                await self._tell_end()
                self._say("")
                return
            self._line.write(wire.table_line(self._table))
            await self._line.drain()
            news = asyncio.create_task(self._changed.wait())
            await asyncio.wait([news, listening], return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        log.warning("the ingress proxy ended: another one is started")

    async def _next_change(self) -> None:
        """Wait for a frame; a proxy that was told to end does so meanwhile."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if self._pid else None):
                await self._changed.wait()
        self._reap()

    async def _tell_end(self) -> None:
        if self._line is not None:
            self._line.write(wire.end_line())
            await self._line.drain()
        self._hang_up()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Hear which ports fail, until the proxy is gone."""
        said: dict[Key, str] = {}
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                failures = wire.read_failures(wire.read_line(line).get("failures", []))
                if failures == said:
                    continue
                for (protocol, number), why in failures.items():
                    if (protocol, number) not in said:
                        log.warning(
                            "a published port is not served here",
                            port=number,
                            protocol=protocol,
                            reason=why,
                        )
                said = failures
                self._say(sentence(failures))

    async def _connect(self) -> asyncio.StreamReader:
        """Take up the line to the proxy. Raises OSError if none runs."""
        reader, self._line = await self._open()
        return reader

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        folder = -1
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            sock.connect(f"/proc/self/fd/{folder}/{wire.SOCKET}")
            return await asyncio.open_unix_connection(sock=sock, limit=wire.LINE_BYTES_MAX)
        except BaseException:
            sock.close()
            raise
        finally:
            if folder >= 0:
                os.close(folder)

    async def _start(self) -> asyncio.StreamReader:
        """Start a proxy in a session of its own, and connect to it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whoever cleans up after the node knows by the name what belongs to it.
        environment = os.environ | {"SWARMOPS_NODE_ID": self._node_id}
        environment.pop("NOTIFY_SOCKET", None)
        arguments = [sys.executable, "-m", __package__, str(self._folder), self._host]
        self._pid = os.posix_spawn(  # noqa: ASYNC221 - it returns at once
            sys.executable,
            arguments,
            environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
        )
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(OSError):
                    return await self._connect()
                self._reap()
                if not self._pid:
                    raise ConnectionError("the proxy ended as it started")
                await asyncio.sleep(RETRY_S / 20)

    def _reap(self) -> None:
        """Take note of the end of a proxy that is our child."""
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    return
            self._pid = 0

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


def sentence(failures: dict[Key, str]) -> str:
    """Say which ports of the swarm this node does not serve, and why; "" if it serves all."""
    if not failures:
        return ""
    ports = ", ".join(
        f"{number}/{protocol} ({why})" for (protocol, number), why in failures.items()
    )
    return f"published ports not served on this node: {ports}"
