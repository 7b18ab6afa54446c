"""Runs tasks as containers of Podman on this machine, through the Docker API that it serves.

All of it is the ``docker`` executor's code on another socket (``podman.socket`` of systemd, or
``podman system service``). A node that has both engines uses Docker's.
"""

from __future__ import annotations

import contextlib

from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext, TaskError
from swarmops.agent.executors.docker import DockerExecutor


class PodmanExecutor(DockerExecutor):
    """The executor of containers of Podman."""

    name = "podman"
    _tails = False

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(replace(context, docker_host=context.podman_host))

    async def _discard(self, container: str) -> None:
        """Kill it first: Podman's removal by force would grant it ten seconds to end."""
        with contextlib.suppress(TaskError):  # it doesn't run, or isn't there
            await self._engine.call(lambda client: client.kill(container, "SIGKILL"))
        await super()._discard(container)
