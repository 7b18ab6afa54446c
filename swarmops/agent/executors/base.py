"""The executor protocol: the few verbs with which a task is run, whatever runs it.

The runner calls the verbs, one at a time for one task; executors are found through the entry-point
group ``swarmops.executors``. An executor never decides what should happen to a task, and keeps
nothing that a restart of the daemon would lose: it finds what it made by the task's ID.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from swarmops.agent.work import Work
from swarmops.errors import SwarmopsError
from swarmops.model.node import Plugin
from swarmops.model.service import PortConfig
from swarmops.model.task import ContainerStatus

ENTRY_POINTS = "swarmops.executors"
TABLE = "swarmops.agent.executors.table"
"""The module of a release that has them, written by ``backends.bundle``."""


class TaskError(SwarmopsError):
    """The task cannot run here, and trying again is of no use; the text is the task's ``Err``."""


class UnhealthyError(SwarmopsError):
    """The task runs, but its healthcheck calls it unhealthy; the text is the cause in its ``Err``.

    Whoever waited stops the task: not at once, since others may be passing connections on to it.
    """


class TemporaryError(SwarmopsError):
    """Something that the task needs is away for now: the verb is tried again."""


class ExecutorContext(msgspec.Struct, frozen=True):
    """What an executor is made from. ``data_dir`` belongs to one node alone."""

    node_id: str
    data_dir: Path
    docker_host: str = "unix:///var/run/docker.sock"
    """The engine's address. The environment is not asked: it may name swarmops' own socket."""
    podman_host: str = "unix:///run/podman/podman.sock"
    memory_base: Path | None = None
    """A folder in memory for secrets and configs; None: where this machine has one."""


class Exit(msgspec.Struct, frozen=True):
    """How a task's process ended. ``error`` says what else is known, such as a lost exit code."""

    code: int
    container: ContainerStatus
    error: str = ""


class Report(msgspec.Struct, frozen=True):
    """What else there is to say of a started task.

    ``ports`` says where its published targets listen on this node; ``warning`` what the spec asks
    for and the node cannot give, for the task's message.
    """

    ports: list[PortConfig] = []
    warning: str = ""


class LogRequest(msgspec.Struct, frozen=True):
    """Which lines of a task's output are wanted. ``tail`` < 0 means all of them."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int = -1


class LogLine(msgspec.Struct, frozen=True):
    """A line of output without its newline; ``time`` is when it was seen, if that is known."""

    stream: Literal["stdout", "stderr"]
    data: bytes
    time: datetime | None = None


class Executor(Protocol):
    """Runs tasks of one kind. All verbs may be called again after a crash, and then agree.

    ``TaskError`` fails the task, ``TemporaryError`` repeats the verb. A verb that is cancelled
    finishes or undoes what it began before it raises ``CancelledError``.
    """

    @property
    def name(self) -> str:
        """The name under which the node advertises the executor and its tasks remember it."""
        ...

    def runs(self, image: str) -> bool:
        """Whether this executor takes tasks of the image, as far as it knows just now."""
        ...

    async def describe(self) -> list[Plugin]:
        """Look whether the executor works, and say what it adds to the node's description."""
        ...

    async def reattach(self, task_ids: Collection[str]) -> None:
        """After a start of the daemon: remove what was made for any task that isn't named."""

    async def prepare(self, work: Work) -> None:
        """Make all ready, so that the start is quick and unlikely to fail."""

    async def start(self, work: Work) -> ContainerStatus:
        """Start what was prepared; if it was started before, only say how it is."""
        ...

    async def report(self, work: Work) -> Report:
        """Say where a started task listens, and what it has to do without."""
        ...

    async def healthy(self, work: Work) -> Exit | None:
        """Return None once a started task is healthy, at once if nothing tests its health.

        The end is returned of one that ended first. Raises ``UnhealthyError``.
        """
        ...

    async def wait(self, work: Work) -> Exit:
        """Return once the task's process has ended, at once if it has or is gone.

        Raises ``UnhealthyError`` if the task becomes unhealthy; it still runs then.
        """
        ...

    async def stop(self, work: Work, signal: str, grace_s: float) -> ContainerStatus:
        """Send the signal, kill after the grace; returns when nothing of the task runs."""
        ...

    async def remove(self, work: Work) -> None:
        """Leave nothing of the task, stopping it by force if need be."""

    def logs(self, work: Work, request: LogRequest) -> AsyncIterator[LogLine]:
        """Iterate over the task's output, oldest first within each stream."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads; tasks run on."""


def choose(executors: Iterable[Executor], image: str) -> Executor:
    """Return the first executor that takes the image. Raises ``TaskError`` if none does."""
    for executor in executors:
        if executor.runs(image):
            return executor
    raise TaskError(
        f'no executor of this node runs the image "{image}": '
        "start a container engine on the node, or use the image `host` for plain processes."
    )
