"""Runs tasks as containers of Podman on this machine, through the Docker API that it serves.

All of it is the ``docker`` executor's code on another socket (``podman.socket`` of systemd, or
``podman system service``). A node that has both engines uses Docker's. Podman leaves it to systemd
to test its containers' health; on a machine without systemd this executor asks for each test.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from msgspec.structs import replace

from swarmops.agent.executors import health
from swarmops.agent.executors.base import ExecutorContext, Exit, TaskError, TemporaryError
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.executors.docker_asks import opened
from swarmops.agent.executors.docker_looks import GoneError
from swarmops.agent.work import Work
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS
from swarmops.model.service import BindOptions

SYSTEMD = Path("/run/systemd/system")
"""A folder that is there where systemd runs the machine."""
LOOKS_MAX = 20
LOOK_AGAIN_S = 0.05
_ENDED_MEANWHILE = re.compile(r"/proc/\d+/|no such process")
log = structlog.get_logger(__name__)


class PodmanExecutor(DockerExecutor):
    """The executor of containers of Podman."""

    name = "podman"
    _tails = False

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(replace(context, docker_host=context.podman_host))
        self._tests_health = not SYSTEMD.is_dir()

    async def prepare(self, work: Work) -> None:
        """Refuse a folder of the machine that isn't there, as Docker does; Podman would make it."""
        for mount in given(work.container.mounts, []):
            source, options = given(mount.source, ""), given(mount.bind_options, BindOptions())
            if mount.type != "bind" or given(options.create_mountpoint, None):
                continue
            if not await asyncio.to_thread(Path(source).exists):
                raise TaskError(
                    'invalid mount config for type "bind": '
                    f"bind source path does not exist: {source}"
                )
        await super().prepare(work)

    async def healthy(self, work: Work) -> Exit | None:
        """Wait until the container is healthy, testing it where nothing else does."""
        async with self._tested(work):
            return await super().healthy(work)

    async def wait(self, work: Work) -> Exit:
        """Wait for the container's end, testing it where nothing else does."""
        async with self._tested(work):
            return await super().wait(work)

    async def _inspect(self, work: Work) -> dict[str, Any] | None:
        """Look again where the process ended while Podman read of it: Podman answers 500 then."""
        for _ in range(LOOKS_MAX):
            try:
                return await super()._inspect(work)
            except TaskError as error:
                if not _ENDED_MEANWHILE.search(str(error)):
                    raise
                await asyncio.sleep(LOOK_AGAIN_S)
        return await super()._inspect(work)

    async def _discard(self, container: str) -> None:
        """Kill it first: Podman's removal by force would grant it ten seconds to end."""
        with contextlib.suppress(TaskError):  # it doesn't run, or isn't there
            await self._engine.call(lambda client: client.kill(container, "SIGKILL"))
        await super()._discard(container)

    @contextlib.asynccontextmanager
    async def _tested(self, work: Work) -> AsyncIterator[None]:
        """Have the container's health tested meanwhile, if it or its image has a test."""
        found: dict[str, Any] = {}
        if self._tests_health:
            with contextlib.suppress(GoneError):
                found = await self._looks.known(work)
        test = found.get("Config", {}).get("Healthcheck") or {}
        if (test.get("Test") or ["NONE"])[0] in {"", "NONE"}:
            yield
            return
        interval_s = (test.get("Interval") or 0) / NANOSECONDS or health.INTERVAL_S
        timeout_s = (test.get("Timeout") or 0) / NANOSECONDS or health.TIMEOUT_S
        testing = asyncio.create_task(self._keep_testing(work, interval_s, timeout_s))
        try:
            yield
        finally:
            testing.cancel()
            await asyncio.wait([testing])

    async def _keep_testing(self, work: Work, interval_s: float, timeout_s: float) -> None:
        path = f"/v4.0.0/libpod/containers/{quote(work.name)}/healthcheck"
        while True:
            await asyncio.sleep(interval_s)
            try:
                async with asyncio.timeout(timeout_s), opened(self._address, path) as answer:
                    await answer.body.read()
            except (TemporaryError, TimeoutError) as error:
                log.info("a container's health was not tested", task=work.id, reason=str(error))
            self._engine.wake(work.id)
