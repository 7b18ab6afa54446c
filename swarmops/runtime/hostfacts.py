"""What ``docker info`` says of a machine, read once when the daemon starts."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from swarmops.api.control import HostFacts


def read_host_facts(hostname: str, data_dir: Path) -> HostFacts:
    """Read the machine's facts; what it doesn't say is left at its default."""
    try:
        distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        distribution = "Linux"
    return HostFacts(
        hostname=hostname,
        kernel_version=platform.release(),
        operating_system=distribution,
        architecture=platform.machine(),
        ncpu=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        data_dir=str(data_dir),
        executors=("process",),
    )
