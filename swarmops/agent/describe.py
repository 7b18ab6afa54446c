"""What this machine is, for the scheduler: platform, size, executors, what its operator says.

The agent calls it at its start and every 20 s; each call looks again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from msgspec import UNSET

from swarmops import __version__
from swarmops.agent.executors.base import Executor
from swarmops.agent.machine_file import MachineFile, read
from swarmops.model.defaults import NANOSECONDS
from swarmops.model.node import EngineDescription, NodeDescription, Plugin, TLSInfo
from swarmops.model.service import Platform, Resources

log = structlog.get_logger(__name__)


class Describe:
    """Describes the machine anew each time it is called."""

    def __init__(
        self,
        *,
        hostname: str,
        executors: Mapping[str, Executor],
        file: Path | None = None,
        tls_info: Callable[[], TLSInfo | None] = lambda: None,
    ) -> None:
        self._hostname = hostname
        self._executors = executors
        self._file = file
        self._said = MachineFile()
        self._tls_info = tls_info

    async def __call__(self) -> NodeDescription:
        """Return the description; CPUs are those that this process may use."""
        plugins = [
            plugin
            for executor in self._executors.values()
            for plugin in await _plugins_of(executor)
        ]
        machine = os.uname()
        if self._file is not None:
            self._said = read(self._file, self._said)
        return NodeDescription(
            hostname=self._hostname,
            platform=Platform(architecture=machine.machine, os=machine.sysname.lower()),
            resources=Resources(
                nano_cpus=len(os.sched_getaffinity(0)) * NANOSECONDS,
                memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                generic_resources=self._said.resources or UNSET,
            ),
            engine=EngineDescription(
                engine_version=__version__, labels=self._said.labels, plugins=plugins
            ),
            tls_info=self._tls_info() or UNSET,
        )


async def _plugins_of(executor: Executor) -> list[Plugin]:
    """Return what an executor adds; nothing if it raises, since others may work."""
    try:
        return await executor.describe()
    except Exception:  # whatever it is, it costs the node this executor alone
        log.exception("an executor can't say what it has", executor=executor.name)
        return []
