"""Runs one probe of a process task's health: a short-lived child of the daemon.

Called by the process executor with the script that ``launch`` made. A probe runs as the task does,
in its directory, and is killed with all its group when its time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
from pathlib import Path

from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.launch import PROBE_FILE, SIGNALS


async def succeeds(folder: Path, timeout_s: float) -> bool:
    """Whether the probe exits with 0 in time."""
    try:
        pid = os.posix_spawn(  # noqa: ASYNC221 - it returns once the shell runs
            "/bin/sh",
            ["sh", str(folder / PROBE_FILE)],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=SIGNALS,
        )
    except OSError as error:
        raise TaskError(f"the healthcheck could not be started: {error.strerror}") from error
    pidfd = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        code = _reaped(pid)
    return code == 0


def _reaped(pid: int) -> int:
    """Kill what is left of the probe's group and return its exit code."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signals.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 1
