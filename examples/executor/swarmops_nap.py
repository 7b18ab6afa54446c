"""An executor in one page: a task of the image `nap` sleeps so many seconds, and is complete.

`swarmops.agent.executors.base` says what each verb promises. What must survive a restart of the
daemon is a file for each task, with the time at which it wakes up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from swarmops.agent.executors.base import (
    ExecutorContext,
    Exit,
    LogLine,
    LogRequest,
    Report,
    TaskError,
)
from swarmops.agent.work import Work
from swarmops.model.base import given
from swarmops.model.node import Plugin
from swarmops.model.task import ContainerStatus

LOOK_S = 0.1


class NapExecutor:
    """Runs tasks of the image `nap`; their first argument is how many seconds they sleep."""

    name = "nap"

    def __init__(self, context: ExecutorContext) -> None:
        self._folder = context.data_dir / "naps"

    def runs(self, image: str) -> bool:
        """Whether the image is `nap`, with whatever tag."""
        return image.partition(":")[0] == "nap"

    async def describe(self) -> list[Plugin]:
        """Say that this node can nap: the scheduler sends tasks to nodes that say so."""
        return [Plugin(type="Executor", name=self.name)]

    async def reattach(self, task_ids: Collection[str]) -> None:
        """Forget the naps of tasks that nobody knows of any more."""
        for file in self._folder.glob("*"):
            if file.name not in task_ids:
                file.unlink()

    async def prepare(self, work: Work) -> None:
        """Refuse what is no number of seconds; the text becomes the task's error."""
        _seconds(work)
        self._folder.mkdir(parents=True, exist_ok=True)

    async def start(self, work: Work) -> ContainerStatus:
        """Fall asleep, once: a task that sleeps already goes on."""
        if not self._file(work).exists():
            self._file(work).write_text(str(time.time() + _seconds(work)))
        return ContainerStatus()

    async def report(self, work: Work) -> Report:
        """Nobody can connect to a nap."""
        del work
        return Report()

    async def healthy(self, work: Work) -> Exit | None:
        """Nothing tests its health."""
        del work
        return None

    async def wait(self, work: Work) -> Exit:
        """Return when it wakes up, or was woken."""
        while True:
            try:
                left_s = float(self._file(work).read_text()) - time.time()
            except FileNotFoundError:
                raise TaskError("this node knows nothing of the nap") from None
            if left_s <= 0:
                return Exit(0, ContainerStatus(exit_code=0))
            await asyncio.sleep(min(left_s, LOOK_S))

    async def stop(self, work: Work, signal: str, grace_s: float) -> ContainerStatus:
        """Wake it up."""
        del signal, grace_s
        if self._file(work).exists():
            self._file(work).write_text("0")
        return ContainerStatus(exit_code=0)

    async def remove(self, work: Work) -> None:
        """Forget it."""
        self._file(work).unlink(missing_ok=True)

    async def logs(self, work: Work, request: LogRequest) -> AsyncIterator[LogLine]:
        """Say one thing."""
        if request.stdout:
            yield LogLine("stdout", f"{work.name} naps {_seconds(work):g} s".encode())

    async def close(self) -> None:
        """Hold nothing."""

    def _file(self, work: Work) -> Path:
        return self._folder / work.id


def _seconds(work: Work) -> float:
    words = [*given(work.container.command, []), *given(work.container.args, [])]
    try:
        return float(words[0])
    except (IndexError, ValueError):
        raise TaskError("the first argument must be how many seconds to sleep") from None
