"""Tell systemd that the daemon is ready and alive (``sd_notify``), where systemd asks for it.

A protocol of one datagram; see the manual page ``sd_notify(3)``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path


def notify(message: str) -> None:
    """Send ``READY=1`` or the like to systemd; does nothing where it doesn't listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(message.encode(), address)
        except OSError:
            # systemd is restarting: its own watchdog decides then.
            return


def ending(systemd: Path) -> bool:
    """Whether the machine itself is going down, as far as systemd (if it is here) can tell.

    Without systemd a stop can't be told from a shutdown, so it is taken for one.
    """
    if not systemd.is_dir():
        return True
    try:
        asked = subprocess.run(
            ["systemctl", "is-system-running"],
            capture_output=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return asked.stdout.strip() == b"stopping"


async def watchdog(healthy: Callable[[], bool]) -> None:
    """Pet systemd's watchdog at half its period while the event loop turns and ``healthy``."""
    period_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    if not period_us:
        return
    while True:
        if healthy():
            notify("WATCHDOG=1")
        await asyncio.sleep(period_us / 2_000_000)
