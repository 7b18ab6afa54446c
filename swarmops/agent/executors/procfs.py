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
_DEAD = {"Z", "X", "x"}


class Process(NamedTuple):
    """A process that cannot be mistaken for another; ``start`` is in clock ticks since boot."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether the process runs; one that ended but was not reaped does not."""
        stat = _stat(self.pid)
        return stat is not None and int(stat[19]) == self.start and stat[0] not in _DEAD


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


def belonging(session: int, variable: str) -> list[int]:
    """Return the live processes of a session, and those with ``NAME=value`` in their environment.

    The latter are those that made a session of their own, as daemons do.
    """
    needle = f"\0{variable}\0".encode()
    found = []
    for entry in os.listdir(_PROC):  # noqa: PTH208 - a Path for each process would cost more than the look
        if not entry.isdecimal() or (stat := _stat(int(entry))) is None or stat[0] in _DEAD:
            continue
        if int(stat[3]) == session or needle in b"\0" + _environment(entry):
            found.append(int(entry))
    return found


async def kill_all(leader: Process, variable: str) -> None:
    """Kill what belongs to a task until nothing of it is left, for a second at most."""
    for _ in range(50):
        pids = await asyncio.to_thread(belonging, leader.pid, variable)
        if leader.alive:
            pids.append(leader.pid)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` after the command's name: state, parent, group."""
    try:
        with (_PROC / str(pid) / "stat").open("rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(b")") + 2 :].decode().split()


def _environment(pid: str) -> bytes:
    try:
        return (_PROC / pid / "environ").read_bytes()
    except OSError:  # another user's, or gone
        return b""
