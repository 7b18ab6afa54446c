"""``python -m swarmops.agent.ingress FOLDER ADDRESS``: a node's published ports, until told to end.

Started by ``keeper``, and left running when the daemon ends. It goes by itself when its folder is
removed or another proxy has taken its place, and after the last connection when it is told to.
"""

from __future__ import annotations

import sys

if "ssl" not in sys.modules:
    # Nothing here speaks TLS: asyncio without it saves 5 MB on every node.
    sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import contextlib
import os
import resource
import signal
from pathlib import Path

from swarmops.agent.ingress import wire
from swarmops.agent.ingress.proxy import Failures, Proxy

LOOK_S = 1.0
DRAIN_S = 60.0
"""Connections get so long to end once the proxy is told to."""


class Control:
    """The daemon's line to the proxy; the newest daemon is the one that counts."""

    def __init__(self, host: str) -> None:
        self._proxy = Proxy(host, self._tell, start=os.getpid())
        self._daemon: asyncio.StreamWriter | None = None
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Serve until the end is said, or the folder is gone."""
        server = await asyncio.start_unix_server(
            self._serve, wire.SOCKET, limit=wire.LINE_BYTES_MAX
        )
        inode = _inode()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, sys.exit)
        listening = asyncio.create_task(self._proxy.run())
        listening.add_done_callback(_raise)
        while not self._ending.is_set() and _inode() == inode:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._ending.wait()
        server.close()
        if _inode() == inode:
            Path(wire.SOCKET).unlink()  # noqa: ASYNC240 - one name in one folder
        self._proxy.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._proxy.drained()
        listening.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        former, self._daemon = self._daemon, writer
        if former is not None:
            former.close()
        writer.write(wire.hello_line())
        try:
            while line := await reader.readline():
                said = wire.read_line(line)
                if "table" in said:
                    self._proxy.update(wire.read_table(said["table"]))
                    self._tell(self._proxy.failures)
                if "end" in said:
                    self._ending.set()
        except (ConnectionError, ValueError) as error:
            sys.stderr.write(f"ingress: the daemon's line broke: {error}\n")
        finally:
            writer.close()
            if self._daemon is writer:
                self._daemon = None

    def _tell(self, failures: Failures) -> None:
        if self._daemon is not None:
            self._daemon.write(wire.failures_line(failures))


def _raise(task: asyncio.Task[None]) -> None:
    """End the process if listening fails: the daemon starts another."""
    if not task.cancelled() and task.exception() is not None:
        sys.stderr.write(f"ingress: failed: {task.exception()!r}\n")
        os._exit(1)


def _inode() -> int:
    try:
        return Path(wire.SOCKET).stat().st_ino
    except OSError:
        return 0


def main() -> None:
    """Run the proxy."""
    folder, host = sys.argv[1:]
    os.chdir(folder)
    os.umask(0o177)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(Control(host).run())


if __name__ == "__main__":
    main()
