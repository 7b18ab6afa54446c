"""Runs tasks as containers of Podman on this machine, through the Docker API that it serves.

All of it is the ``docker`` executor's code on another socket (``podman.socket`` of systemd, or
``podman system service``). A node that has both engines uses Docker's.
"""

from __future__ import annotations

from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext
from swarmops.agent.executors.docker import DockerExecutor


class PodmanExecutor(DockerExecutor):
    """The executor of containers of Podman."""

    name = "podman"

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(replace(context, docker_host=context.podman_host))
