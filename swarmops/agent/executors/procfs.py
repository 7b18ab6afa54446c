"""Processes that are not our children, found again by PID and start time through ``/proc``.

Used by the process executor. A PID alone is never trusted: it may have been given to another
process, or come from before the machine's last boot.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
DEAD = {"Z", "X", "x"}


class Process(NamedTuple):
    """A process that cannot be mistaken for another; ``start`` is in clock ticks since boot."""

    pid: int
    start: int

    def kill(self) -> None:
        """Kill exactly this process, if it still runs and may be killed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            pidfd = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)

    @property
    def alive(self) -> bool:
        """Whether the process runs; one that ended but was not reaped does not."""
        stat = stat_of(self.pid)
        return stat is not None and int(stat[19]) == self.start and stat[0] not in DEAD


def boot_id() -> str:
    """Return the ID that the kernel drew at its last boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


async def wait_for_end(process: Process) -> None:
    """Return once the process has ended, at once if it has; nothing is polled."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        if process.alive:
            loop.add_reader(pidfd, ended.set)
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        with contextlib.suppress(ChildProcessError):  # after a restart it is nobody's child here
            os.waitpid(process.pid, os.WNOHANG)  # noqa: ASYNC222 - it returns at once


def stat_of(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` after the command's name: state, parent, group."""
    try:
        with (_PROC / str(pid) / "stat").open("rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(b")") + 2 :].decode().split()
