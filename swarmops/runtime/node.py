"""One node from its start to SIGTERM: arguments, logging, the daemon and its socket.

``__main__`` runs ``main``. Prints one sentence and exits 1 if it can't start.
"""

from __future__ import annotations

import argparse
import asyncio
import grp
import logging
import os
import random
import resource
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog
from aiohttp import web

from swarmops.api import make_app, make_network_app
from swarmops.errors import SwarmopsError
from swarmops.runtime.access_port import AccessPort
from swarmops.runtime.collector import Collector
from swarmops.runtime.control import Control
from swarmops.runtime.daemon import DOCKER_SOCKET, Daemon
from swarmops.runtime.fair_loop import FairLoop
from swarmops.runtime.first_request import FirstRequest
from swarmops.runtime.hostfacts import read_host_facts
from swarmops.runtime.log_fields import OfNode
from swarmops.runtime.log_output import lossy
from swarmops.runtime.no_dump import never_dumped
from swarmops.runtime.notify import ending, notify, watchdog

RESTART_WITHIN_S = 30.0
"""A daemon that systemd stops alone is most often started again at once, and its tasks go on."""
_SYSTEMD = Path("/run/systemd/system")
_SOCKET_GROUP = "swarmops"
_SOCKET_MODE = 0o660
_ACCEPTED_PER_TURN = 64
"""asyncio accepts as many connections in a turn as the queue that it is told of may hold."""
_WAITING = 4096
"""Docker Engine's; the kernel refuses one more at once (EAGAIN), and nobody tries a second time."""
FILES = 65536
HEADER_BYTES_MAX = 64 * 1024
"""``docker build`` sends the logins of all registries in one header."""


def main() -> int:
    """Parse the arguments, run the node, return the exit code."""
    never_dumped()
    _allow_files()
    arguments = _arguments()
    of_node = OfNode()
    _configure_logging(arguments.log_level, of_node)
    try:
        with asyncio.Runner(loop_factory=FairLoop) as runner:
            runner.run(_run(arguments, of_node))
    except SwarmopsError as exc:
        sys.stderr.write(f"swarmops: {exc}\n")
        return 1
    return 0


async def _run(arguments: argparse.Namespace, of_node: OfNode) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hostname = arguments.hostname or socket.gethostname()
    daemon = Daemon(
        arguments.data_dir,
        hostname=hostname,
        now=lambda: datetime.now(UTC),
        rng=random.SystemRandom(),
        docker_socket=arguments.docker_socket,
    )
    of_node.node_id = lambda: daemon.state.node_id if daemon.state else ""
    facts = read_host_facts(hostname, arguments.data_dir)
    await daemon.start()
    app = make_app(Control(daemon, facts))
    runner = await _runner(app)
    listening = await _serve(runner, _listen(arguments.socket))
    outside = await _runner(make_network_app(app))
    opening = asyncio.create_task(AccessPort(daemon, outside).run())
    Collector().begin(loop)
    notify("READY=1")
    petting = asyncio.create_task(watchdog(lambda: True))
    try:
        await stop.wait()
    finally:
        notify("STOPPING=1")
        petting.cancel()
        opening.cancel()
        await asyncio.wait([opening])
        listening.close()
        await outside.cleanup()
        await runner.cleanup()
        await daemon.stop(0.0 if ending(_SYSTEMD) else RESTART_WITHIN_S)
        arguments.socket.unlink(missing_ok=True)


async def _runner(app: web.Application) -> web.AppRunner:
    """Make an application ready to be served, with bounds on what a request may bring."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=2,
        keepalive_timeout=75,
        auto_decompress=False,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    )
    await runner.setup()
    return runner


async def _serve(runner: web.AppRunner, listener: socket.socket) -> asyncio.Server:
    """Serve on the unix socket; HTTP begins with the first whole request."""
    server = runner.server
    if server is None:
        raise RuntimeError("the application is not set up")
    served = await asyncio.get_running_loop().create_unix_server(
        lambda: FirstRequest(lambda _: server()), sock=listener, backlog=_ACCEPTED_PER_TURN
    )
    listener.listen(_WAITING)
    return served


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    before = os.umask(0o177)
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as exc:
        listener.close()
        why = exc.strerror or exc  # a path too long has no number
        raise SwarmopsError(f"{path}: can't serve the API there: {why}") from exc
    finally:
        os.umask(before)
    if os.geteuid() == 0:
        try:
            os.chown(path, 0, grp.getgrnam(_SOCKET_GROUP).gr_gid)
        except KeyError:
            structlog.get_logger().info("no group swarmops: the socket is root's alone")
    path.chmod(_SOCKET_MODE)
    return listener


def _allow_files() -> None:
    """Let this process open what the unit allows it, where no unit does: 1,024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m swarmops.runtime", description="Run one node until SIGTERM."
    )
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/swarmops"))
    parser.add_argument("--socket", type=Path, default=Path("/run/swarmops/swarmops.sock"))
    parser.add_argument(
        "--docker-socket", type=Path, default=DOCKER_SOCKET, help="where a Docker Engine listens"
    )
    parser.add_argument("--hostname", default="", help="instead of the machine's own")
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"]
    )
    return parser.parse_args()


def _configure_logging(level: str, of_node: OfNode) -> None:
    structlog.configure(
        processors=[
            of_node,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(lossy(sys.stderr)),
        cache_logger_on_first_use=True,
    )
