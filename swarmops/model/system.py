"""What ``/info``, ``/version`` and ``/distribution`` say: of the machine, the server, an image.

Behind a Docker Engine its own answer lies beneath, with whatever more it has.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import field

from swarmops.model.base import Model
from swarmops.model.swarm import SwarmInfo


class SystemInfo(Model, frozen=True, kw_only=True):
    """The answer to ``GET /info``: of an engine's numbers those that a node without one has."""

    id: str = ""
    containers: int = 0
    containers_running: int = 0
    containers_paused: int = 0
    containers_stopped: int = 0
    images: int = 0
    driver: str = ""
    driver_status: list[list[str]] | None = field(default_factory=list)
    plugins: dict[str, list[str] | None] = field(default_factory=dict)
    memory_limit: bool = True
    swap_limit: bool = True
    cpu_cfs_period: bool = field(name="CpuCfsPeriod", default=True)
    cpu_cfs_quota: bool = field(name="CpuCfsQuota", default=True)
    cpu_shares: bool = field(name="CPUShares", default=True)
    cpu_set: bool = field(name="CPUSet", default=True)
    pids_limit: bool = True
    ipv4_forwarding: bool = field(name="IPv4Forwarding", default=True)
    oom_kill_disable: bool = False
    debug: bool = False
    nfd: int = field(name="NFd", default=0)
    ngoroutines: int = field(name="NGoroutines", default=0)
    nevents_listener: int = field(name="NEventsListener", default=0)
    system_time: datetime
    logging_driver: str = "json-file"
    cgroup_driver: str = "none"
    kernel_version: str = ""
    operating_system: str = ""
    os_version: str = ""
    os_type: str = "linux"
    architecture: str = ""
    index_server_address: str = "https://index.docker.io/v1/"
    registry_config: dict[str, object] | None = None
    ncpu: int = field(name="NCPU", default=1)
    mem_total: int = 0
    generic_resources: list[dict[str, object]] | None = None
    docker_root_dir: str = ""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    name: str = ""
    labels: list[str] = field(default_factory=list)
    experimental_build: bool = False
    server_version: str = ""
    runtimes: dict[str, dict[str, object]] = field(default_factory=dict)
    default_runtime: str = ""
    swarm: SwarmInfo
    live_restore_enabled: bool = True
    isolation: str = ""
    init_binary: str = ""
    security_options: list[str] | None = field(default_factory=list)
    warnings: list[str] | None = None


class VersionPlatform(Model, frozen=True):
    """Whose server it is."""

    name: str


class VersionComponent(Model, frozen=True):
    """One part of the server."""

    name: str
    version: str
    details: dict[str, str] | None = None


class SystemVersion(Model, frozen=True, kw_only=True):
    """The answer to ``GET /version``."""

    platform: VersionPlatform
    components: list[VersionComponent]
    version: str
    api_version: str = field(name="ApiVersion")
    min_api_version: str = field(name="MinAPIVersion")
    git_commit: str = ""
    go_version: str = ""
    os: str = field(name="Os", default="linux")
    arch: str
    kernel_version: str = ""
    build_time: str = ""


class Descriptor(Model, frozen=True):
    """Which image it is; the names are those of the OCI."""

    media_type: str = field(name="mediaType", default="")
    digest: str = field(name="digest", default="")
    size: int = field(name="size", default=0)


class DistributionInspect(Model, frozen=True):
    """The answer to ``GET /distribution/{image}/json``; what can't be pinned has no digest."""

    descriptor: Descriptor
    platforms: list[dict[str, object]] = field(default_factory=list)
    """The OCI's, in its spelling."""
