"""Keeps the output of all process tasks of a node bounded, and marks when it was written.

The process executor begins it with the first task, or with those that a former daemon left; one
loop looks at all of them, every few seconds. A stream that cannot be trimmed just now, on a full
disk or because its task is being removed, is left for the next turn and keeps no other from it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from swarmops.agent.executors import output

TRIM_S = 5.0
log = structlog.get_logger(__name__)


class Trimming:
    """The loop over the folders in ``tasks``."""

    def __init__(self, tasks: Path) -> None:
        self._tasks = tasks
        self._loop: asyncio.Task[None] | None = None
        self._failing: set[Path] = set()

    def begin(self) -> None:
        """Trim from now on."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._run(), name="trim output")

    async def close(self) -> None:
        """Trim no more."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TRIM_S)
            await asyncio.to_thread(self._trim_all)

    def _trim_all(self) -> None:
        failing = set()
        for folder in folders(self._tasks):
            for stream in ("stdout", "stderr"):
                path = output.path_of(folder, stream)
                try:
                    output.trim(path)
                except OSError as error:
                    if folder.exists():  # else the task was removed meanwhile
                        failing.add(path)
                        self._tell(path, error)
        self._failing = failing

    def _tell(self, path: Path, error: OSError) -> None:
        if path not in self._failing:
            log.warning("a task's output is not trimmed now", path=str(path), reason=str(error))


def folders(tasks: Path) -> list[Path]:
    """Return the folders of all tasks, none before there was one."""
    return list(tasks.iterdir()) if tasks.is_dir() else []
