"""A process task as it was started: its first process, and the script that supervises it.

Used by the process executor: ``spawn`` runs the script of ``launch``, the rest reads back what it
wrote. Everything needed is on disk, so a new daemon knows as much as the old one did.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
from pathlib import Path
from typing import NamedTuple

from swarmops.agent.executors import output, procfs
from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.launch import EXIT_FILE, PID_FILE, SCRIPT_FILE, SIGNALS
from swarmops.agent.executors.procfs import Process

START_TIMEOUT_S = 10.0
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class Supervised(NamedTuple):
    """A started task: its first process and the script that supervises it."""

    leader: Process
    script: Process
    boot: str

    @property
    def of_this_boot(self) -> bool:
        """Whether the PIDs can mean anything still."""
        return self.boot == procfs.boot_id()


async def spawn(folder: Path) -> Supervised:
    """Run the task's script and return once it has said which process it started."""
    reading, writing = os.pipe()
    try:
        script_pid = os.posix_spawn(  # noqa: ASYNC221 - it returns once the shell runs
            "/bin/sh",
            ["sh", str(folder / SCRIPT_FILE)],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, writing, 3),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, output.path_of(folder, "stdout"), _APPEND, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, output.path_of(folder, "stderr"), _APPEND, 0o600),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=SIGNALS,
        )
    except OSError as error:
        os.close(reading)
        raise TaskError(f"the task could not be started: {error.strerror}") from error
    finally:
        os.close(writing)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await _readable(reading)
        known = _parse(os.read(reading, 256).decode())
    except TimeoutError:
        known = None
    finally:
        os.close(reading)
    known = known or read_pid(folder)
    if known is None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(script_pid, signals.SIGKILL)
            await asyncio.to_thread(os.waitpid, script_pid, 0)
        raise TaskError("the task could not be started: its supervising shell failed")
    return known


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


def _parse(line: str) -> Supervised | None:
    fields = line.split()
    if len(fields) != 5 or not line.endswith("\n"):  # noqa: PLR2004 - as the script writes it
        return None
    leader, start, shell, shell_start = map(int, fields[:4])
    return Supervised(Process(leader, start), Process(shell, shell_start), fields[4])


def read_pid(folder: Path) -> Supervised | None:
    """Return what was started in the folder, None if nothing was."""
    try:
        return _parse((folder / PID_FILE).read_text())
    except FileNotFoundError:
        return None


class Ended(NamedTuple):
    """How and when a task's first process ended; ``ticks`` are clock ticks since boot."""

    code: int
    ticks: int


def read_exit(folder: Path) -> Ended | None:
    """Return the end, its code 128 + N for a death by signal N; None while none is written."""
    try:
        text = (folder / EXIT_FILE).read_text()
    except FileNotFoundError:
        return None
    if not text.endswith("\n"):
        return None
    code, up_s = text.split()
    return Ended(int(code), int(float(up_s) * os.sysconf("SC_CLK_TCK")) + 1)
