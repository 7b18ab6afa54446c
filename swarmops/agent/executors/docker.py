"""Runs tasks as containers of a Docker Engine on this machine.

A task's container is found by its name, ``service.slot.task``, so nothing is lost with the daemon.
Labels are Docker's own. Ends are learnt from one stream of events; the event loop never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import structlog

from swarmops.agent.executors.base import (
    ExecutorContext,
    Exit,
    LogLine,
    LogRequest,
    Report,
    TaskError,
    TemporaryError,
    UnhealthyError,
)
from swarmops.agent.executors.docker_asks import answers, engine_plugins, node_containers
from swarmops.agent.executors.docker_config import at_target, container_config, port_status
from swarmops.agent.executors.docker_engine import (
    TASK_LABEL,
    ConflictError,
    Engine,
    NotFoundError,
)
from swarmops.agent.executors.docker_images import Images
from swarmops.agent.executors.docker_logs import ContainerOutput
from swarmops.agent.executors.docker_looks import GoneError, Looks
from swarmops.agent.executors.docker_networks import HOST, Networks, joins_of, mode_of
from swarmops.agent.executors.memory_files import MemoryFiles
from swarmops.agent.executors.whole import whole
from swarmops.agent.work import Work
from swarmops.model.base import given
from swarmops.model.defaults import PROCESS_IMAGE
from swarmops.model.node import Plugin
from swarmops.model.task import ContainerStatus

KILL_TIMEOUT_S = 30.0
UNTESTED = "none"
UNHEALTHY = "dockerexec: unhealthy container"
log = structlog.get_logger(__name__)


class DockerExecutor:
    """The executor of containers, through an engine's socket."""

    name = "docker"
    _tails = True

    def __init__(self, context: ExecutorContext) -> None:
        self._address = context.docker_host
        self._node_id = context.node_id
        self._engine = Engine(context.docker_host, context.node_id)
        self._looks = Looks(self._engine, self._inspect)
        self._images = Images(self._engine)
        self._files = MemoryFiles(context)
        self._networks = Networks(self._engine, context.docker_host, context.node_id)
        self._up = False
        self._drivers: list[Plugin] = []
        self._to_reattach: frozenset[str] | None = None

    def runs(self, image: str) -> bool:
        """Whether the engine answered when it was last asked, and this is no plain process."""
        return self._up and bool(image) and image != PROCESS_IMAGE

    async def describe(self) -> list[Plugin]:
        """Look whether the engine answers, and which drivers it has."""
        up = await answers(self._address)
        if up and self._to_reattach is not None:
            up = await self._reattached(self._to_reattach)
        self._up = up
        if not up:
            return []
        # An engine that is too busy to say has the drivers that it had.
        self._drivers = await engine_plugins(self._address) or self._drivers
        return [Plugin(type="Executor", name=self.name), *self._drivers]

    async def reattach(self, task_ids: Collection[str]) -> None:
        """Remove containers of this node that no task needs; once the engine answers, if later."""
        self._to_reattach = frozenset(task_ids)
        await asyncio.to_thread(self._files.keep_only, task_ids)
        if self._up:
            self._up = await self._reattached(self._to_reattach)

    async def prepare(self, work: Work) -> None:
        """Have the image here, the task's files in memory, and the container made."""
        files = await whole(self._write_files, work)
        exists = await self._inspect(work) is not None
        if not exists:
            await self._images.have(work.image, work.registry_auth)
        async with self._networks.there_for(work):
            made = "" if exists else await self._create(work, files)
            if joins_of(work):
                found = await self._looks.look(work)
                self._looks.forget(work)  # joining changes it, and is no news
                await self._networks.connect(work, found)
            if made:
                self._looks.made(work, made)

    async def start(self, work: Work) -> ContainerStatus:
        """Start the container, unless it was started before."""
        found = await self._looks.known(work)
        if found["State"]["Status"] == "created":
            self._looks.forget(work)  # whatever comes of this, it is not to be started again
            try:
                await self._engine.start(work.name)
            except TaskError as error:
                raise TaskError(f"starting container failed: {error}") from error
            found = await self._looks.look(work)
        return _status(found)

    async def report(self, work: Work) -> Report:
        """Say which of the node's ports lead to the container."""
        if not work.ports:
            return Report()
        if mode_of(work) == HOST:
            return Report(ports=[at_target(port) for port in work.ports])
        found = await self._looks.known(work)
        return Report(ports=port_status(work.ports, found["NetworkSettings"].get("Ports") or {}))

    async def healthy(self, work: Work) -> Exit | None:
        """Wait until the engine calls the container healthy, if it or its image has a test."""
        found = await self._looks.once(
            work, lambda state: _health(state) != "starting" or not state["Running"]
        )
        if _health(found["State"]) == UNTESTED:
            return None  # it ran, however soon it ended
        if found["State"]["Running"] and _health(found["State"]) != "unhealthy":
            return None
        return _end(found)

    async def wait(self, work: Work) -> Exit:
        """Wait for the container's end."""
        found = await self._looks.once(
            work, lambda state: not state["Running"] or _health(state) == "unhealthy"
        )
        return _end(found)

    async def stop(self, work: Work, signal: str, grace_s: float) -> ContainerStatus:
        """Send the signal, kill after the grace."""
        self._looks.forget(work)
        for number, patience_s in ((signal, grace_s), ("SIGKILL", KILL_TIMEOUT_S)):
            try:
                await self._kill(work, number)
            except (NotFoundError, ConflictError):  # it is gone, or has ended
                pass
            except TaskError as error:
                if await self._runs(work):
                    reason = str(error)
                    log.warning("a signal was refused", task=work.id, signal=number, reason=reason)
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    found = await self._ended(work)
                    return ContainerStatus() if found is None else _status(found)
        raise TemporaryError(f"the container {work.name} does not end, even killed")

    async def remove(self, work: Work) -> None:
        """Remove the container and its unnamed volumes, by force if it runs."""
        self._looks.forget(work)
        await self._discard(work.name)
        await self._networks.left_by(work)
        await asyncio.to_thread(self._files.remove, work.id)

    def logs(self, work: Work, request: LogRequest) -> AsyncIterator[LogLine]:
        """Iterate over the container's output in the order in which it came, then follow it."""
        terminal = bool(given(work.container.tty, None))
        output = ContainerOutput(self._address, work.name, terminal, self._tails)
        return output.read(request)

    async def close(self) -> None:
        """Let go of the engine; containers run on."""
        await self._engine.close()

    async def _create(self, work: Work, files: list[Path]) -> str:
        """Make the container; return its ID, or nothing if it was made just before a crash."""
        config = container_config(work, files)
        try:
            made = await self._engine.call(
                lambda client: client.create_container_from_config(  # type: ignore[no-untyped-call]
                    config, name=work.name
                )
            )
        except ConflictError:
            return ""
        return str(made["Id"])

    def _write_files(self, work: Work) -> list[Path]:
        """Write the files that the container will show; the engine enters the folder as root."""
        if not work.files:
            return []
        names = [str(number) for number in range(len(work.files))]
        owner = (os.geteuid(), os.getegid())
        return self._files.write(work.id, work.files, names, owner)

    async def _runs(self, work: Work) -> bool:
        found = await self._inspect(work)
        return found is not None and bool(found["State"]["Running"])

    async def _kill(self, work: Work, signal: str) -> None:
        await self._engine.call(lambda client: client.kill(work.name, signal))

    async def _ended(self, work: Work) -> dict[str, Any] | None:
        """Return the container once it does not run, None if there is none."""
        try:
            return await self._looks.once(work, lambda state: not state["Running"])
        except GoneError:
            return None

    async def _inspect(self, work: Work) -> dict[str, Any] | None:
        try:
            return await self._engine.call(lambda client: client.inspect_container(work.name))
        except NotFoundError:
            return None

    async def _reattached(self, task_ids: frozenset[str]) -> bool:
        """Remove this node's containers of other tasks; say whether that was possible."""
        try:
            for container in await node_containers(self._address, self._node_id):
                if container["Labels"].get(TASK_LABEL) not in task_ids:
                    await self._discard(container["Id"])
            await self._networks.clean()
        except (TaskError, TemporaryError) as error:
            log.warning("containers of forgotten tasks may be left", reason=str(error))
            return False
        self._to_reattach = None
        return True

    async def _discard(self, container: str) -> None:
        """Remove a container, by name or ID; if it runs it is killed."""
        with contextlib.suppress(NotFoundError):
            await self._engine.call(
                lambda client: client.remove_container(container, v=True, force=True)
            )


def _end(found: dict[str, Any]) -> Exit:
    """Return how the container ended. Raises ``UnhealthyError`` for one that runs.

    The engine calls every container with a test unhealthy once it has ended: that says nothing.
    """
    state = found["State"]
    if state["Running"]:
        raise UnhealthyError(UNHEALTHY)
    return Exit(state["ExitCode"], _status(found), state.get("Error", ""))


def _status(found: dict[str, Any]) -> ContainerStatus:
    state = found["State"]
    status = ContainerStatus(container_id=found["Id"], pid=state["Pid"])
    if state["Status"] in ("exited", "dead", "stopped"):  # the last is Podman's
        return ContainerStatus(container_id=found["Id"], pid=0, exit_code=state["ExitCode"])
    return status


def _health(state: dict[str, Any]) -> str:
    """Return ``starting``, ``healthy``, ``unhealthy``, or ``UNTESTED``."""
    return str((state.get("Health") or {}).get("Status") or UNTESTED)
