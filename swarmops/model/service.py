"""Services and what their tasks are made of: Docker's ServiceSpec, TaskSpec and ContainerSpec.

Every field of a spec may be absent, and is then not sent back; ``swarmops.model.defaults`` says
what an absent field means.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET

from swarmops.model.base import Labels, Model, Opt, Uint, Uint32
from swarmops.model.object import Object, ObjectVersion


class HealthConfig(Model, frozen=True):
    """How a container's health is probed. Durations in nanoseconds, 0 or absent: the default."""

    test: list[str] | Opt | None = UNSET
    interval: int | Opt = UNSET
    timeout: int | Opt = UNSET
    start_period: int | Opt = UNSET
    start_interval: int | Opt = UNSET
    retries: int | Opt = UNSET


class DNSConfig(Model, frozen=True):
    """A container's resolver settings."""

    nameservers: list[str] | Opt | None = UNSET
    search: list[str] | Opt | None = UNSET
    options: list[str] | Opt | None = UNSET


class BindOptions(Model, frozen=True):
    """Options of a mount of type ``bind``."""

    propagation: str | Opt = UNSET
    non_recursive: bool | Opt = UNSET
    create_mountpoint: bool | Opt = UNSET
    read_only_non_recursive: bool | Opt = UNSET
    read_only_force_recursive: bool | Opt = UNSET


class Driver(Model, frozen=True):
    """A named driver with its options."""

    name: str | Opt = UNSET
    options: dict[str, str] | Opt | None = UNSET


class VolumeOptions(Model, frozen=True):
    """Options of a mount of type ``volume``."""

    no_copy: bool | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    driver_config: Driver | Opt | None = UNSET
    subpath: str | Opt = UNSET


class TmpfsOptions(Model, frozen=True):
    """Options of a mount of type ``tmpfs``; the size is in bytes."""

    size_bytes: int | Opt = UNSET
    mode: Uint32 | Opt = UNSET
    options: list[list[str]] | Opt | None = UNSET


class Mount(Model, frozen=True):
    """Something mounted into a container."""

    type: str | Opt = UNSET
    source: str | Opt = UNSET
    target: str | Opt = UNSET
    read_only: bool | Opt = UNSET
    consistency: str | Opt = UNSET
    bind_options: BindOptions | Opt | None = UNSET
    volume_options: VolumeOptions | Opt | None = UNSET
    tmpfs_options: TmpfsOptions | Opt | None = UNSET


class FileTarget(Model, frozen=True):
    """Where a secret or config appears in the task; the mode is a Unix file mode."""

    name: str = ""
    uid: str = "0"
    gid: str = "0"
    mode: Uint32 = 0o444


class SecretReference(Model, frozen=True):
    """A secret that the task uses."""

    file: FileTarget | Opt | None = UNSET
    secret_id: str = ""
    secret_name: str = ""


class RuntimeTarget(Model, frozen=True):
    """Says that a config is no file, but for what starts the container (Windows' credentials)."""


class ConfigReference(Model, frozen=True):
    """A config that the task uses."""

    file: FileTarget | Opt | None = UNSET
    runtime: RuntimeTarget | Opt | None = UNSET
    config_id: str = ""
    config_name: str = ""


class Ulimit(Model, frozen=True):
    """One resource limit of a container's processes."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class ContainerSpec(Model, frozen=True):
    """What runs: an image for a container executor, ``host`` for the process executor.

    ``command`` replaces the image's entrypoint, ``args`` its command, as in Docker.
    """

    image: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    command: list[str] | Opt | None = UNSET
    args: list[str] | Opt | None = UNSET
    hostname: str | Opt = UNSET
    env: list[str] | Opt | None = UNSET
    dir: str | Opt = UNSET
    user: str | Opt = UNSET
    groups: list[str] | Opt | None = UNSET
    privileges: dict[str, object] | Opt | None = UNSET
    init: bool | Opt | None = UNSET
    stop_signal: str | Opt = UNSET
    tty: bool | Opt = UNSET
    open_stdin: bool | Opt = UNSET
    read_only: bool | Opt = UNSET
    mounts: list[Mount] | Opt | None = UNSET
    stop_grace_period: int | Opt | None = UNSET
    healthcheck: HealthConfig | Opt | None = UNSET
    hosts: list[str] | Opt | None = UNSET
    dns_config: DNSConfig | Opt | None = UNSET
    secrets: list[SecretReference] | Opt | None = UNSET
    configs: list[ConfigReference] | Opt | None = UNSET
    isolation: str | Opt = UNSET
    sysctls: dict[str, str] | Opt | None = UNSET
    capability_add: list[str] | Opt | None = UNSET
    capability_drop: list[str] | Opt | None = UNSET
    ulimits: list[Ulimit] | Opt | None = UNSET
    oom_score_adj: int | Opt = UNSET


class NamedGenericResource(Model, frozen=True):
    """One named unit of a generic resource, such as a GPU by its name."""

    kind: str = ""
    value: str = ""


class DiscreteGenericResource(Model, frozen=True):
    """A number of units of a generic resource."""

    kind: str = ""
    value: Uint = 0


class GenericResource(Model, frozen=True):
    """Either a named or a counted generic resource."""

    named_resource_spec: NamedGenericResource | Opt | None = UNSET
    discrete_resource_spec: DiscreteGenericResource | Opt | None = UNSET


class Limit(Model, frozen=True):
    """What a task may use at most. 10⁹ NanoCPUs are one CPU."""

    nano_cpus: int | Opt = UNSET
    memory_bytes: int | Opt = UNSET
    pids: int | Opt = UNSET


class Resources(Model, frozen=True):
    """What a node offers, or a task reserves."""

    nano_cpus: int | Opt = UNSET
    memory_bytes: int | Opt = UNSET
    generic_resources: list[GenericResource] | Opt | None = UNSET


class ResourceRequirements(Model, frozen=True):
    """Limits and reservations of a task."""

    limits: Limit | Opt | None = UNSET
    reservations: Resources | Opt | None = UNSET


class RestartPolicy(Model, frozen=True):
    """When a task that ended is replaced. Durations in nanoseconds."""

    condition: Literal["", "none", "on-failure", "any"] | Opt = UNSET
    delay: int | Opt | None = UNSET
    max_attempts: Uint | Opt | None = UNSET
    window: int | Opt | None = UNSET


class SpreadOver(Model, frozen=True):
    """Spread over the values of a label, such as ``node.labels.zone``."""

    spread_descriptor: str = ""


class PlacementPreference(Model, frozen=True):
    """One preference of the scheduler; Docker has only ``spread``."""

    spread: SpreadOver | Opt | None = UNSET


class Platform(Model, frozen=True):
    """A machine's architecture and operating system."""

    architecture: str | Opt = UNSET
    os: str | Opt = UNSET


class Placement(Model, frozen=True):
    """Where tasks may run."""

    constraints: list[str] | Opt | None = UNSET
    preferences: list[PlacementPreference] | Opt | None = UNSET
    max_replicas: Uint | Opt = UNSET
    platforms: list[Platform] | Opt | None = UNSET


class NetworkAttachmentConfig(Model, frozen=True):
    """A network that tasks join, with their aliases there."""

    target: str | Opt = UNSET
    aliases: list[str] | Opt | None = UNSET
    driver_opts: dict[str, str] | Opt | None = UNSET


class TaskSpec(Model, frozen=True):
    """What each task of a service is."""

    container_spec: ContainerSpec | Opt | None = UNSET
    resources: ResourceRequirements | Opt | None = UNSET
    restart_policy: RestartPolicy | Opt | None = UNSET
    placement: Placement | Opt | None = UNSET
    networks: list[NetworkAttachmentConfig] | Opt | None = UNSET
    log_driver: Driver | Opt | None = UNSET
    force_update: Uint | Opt = UNSET
    runtime: str | Opt = UNSET


class ReplicatedMode(Model, frozen=True):
    """A number of tasks, placed by the scheduler."""

    replicas: Uint | Opt | None = UNSET


class GlobalMode(Model, frozen=True):
    """One task a node."""


class ReplicatedJobMode(Model, frozen=True):
    """A number of tasks that run to completion."""

    max_concurrent: Uint | Opt | None = UNSET
    total_completions: Uint | Opt | None = UNSET


class ServiceMode(Model, frozen=True):
    """Exactly one of these is given."""

    replicated: ReplicatedMode | Opt | None = UNSET
    global_: GlobalMode | Opt | None = UNSET
    replicated_job: ReplicatedJobMode | Opt | None = UNSET
    global_job: GlobalMode | Opt | None = UNSET


class UpdateConfig(Model, frozen=True):
    """How an update or a rollback proceeds. Durations in nanoseconds."""

    parallelism: Uint | Opt = UNSET
    delay: int | Opt = UNSET
    failure_action: str | Opt = UNSET
    monitor: int | Opt = UNSET
    max_failure_ratio: float | Opt = UNSET
    order: str | Opt = UNSET


class PortConfig(Model, frozen=True):
    """A port of a service and where it is published. Mode ``ingress`` or ``host``."""

    name: str | Opt = UNSET
    protocol: str | Opt = UNSET
    target_port: int | Opt = UNSET
    published_port: int | Opt = UNSET
    publish_mode: str | Opt = UNSET


class EndpointSpec(Model, frozen=True):
    """How a service is reached. Mode ``vip`` or ``dnsrr``."""

    mode: str | Opt = UNSET
    ports: list[PortConfig] | Opt | None = UNSET


class ServiceSpec(Model, frozen=True):
    """What the user wants of a service; the system never edits it."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    task_template: TaskSpec | Opt = UNSET
    mode: ServiceMode | Opt = UNSET
    update_config: UpdateConfig | Opt | None = UNSET
    rollback_config: UpdateConfig | Opt | None = UNSET
    networks: list[NetworkAttachmentConfig] | Opt | None = UNSET
    endpoint_spec: EndpointSpec | Opt | None = UNSET


class VirtualIP(Model, frozen=True):
    """A service's address in a network."""

    network_id: str = ""
    addr: str | Opt = UNSET
    """With its prefix length; absent in networks that every host has of its own."""


class Endpoint(Model, frozen=True):
    """How a service is reached now."""

    spec: EndpointSpec = EndpointSpec()
    ports: list[PortConfig] | Opt = UNSET
    virtual_ips: list[VirtualIP] | Opt = UNSET


class UpdateStatus(Model, frozen=True):
    """How far an update has come."""

    state: str | Opt = UNSET
    started_at: datetime | Opt = UNSET
    completed_at: datetime | Opt = UNSET
    message: str | Opt = UNSET


class ServiceStatus(Model, frozen=True):
    """Counts of a service's tasks, only in lists asked with ``status``."""

    running_tasks: int = 0
    desired_tasks: int = 0
    completed_tasks: int = 0


class JobStatus(Model, frozen=True):
    """Which run of a job this is."""

    job_iteration: ObjectVersion = ObjectVersion()
    last_execution: datetime | Opt = UNSET


class ServiceInternal(Model, frozen=True):
    """What managers keep about a service and the API never shows."""

    spec_version: int = 0
    """Index of the write that last changed the spec; tasks carry the one they were made from."""
    update_version: int = 0
    """The ``spec_version`` that ``update_status`` speaks of."""
    rebalance: int = 0
    """The ``spec_version`` whose tasks shall be spread evenly, once; another is an older wish."""
    registry_auth: str = ""
    """What the registry of the image wants to see, as the client sent it; handed to agents only."""
    previous_registry_auth: str = ""
    """The same for the previous spec."""

    def __repr__(self) -> str:
        return f"ServiceInternal(spec_version={self.spec_version})"


class Service(Object, frozen=True):
    """A service as stored and served."""

    spec: ServiceSpec = ServiceSpec()
    previous_spec: ServiceSpec | Opt | None = UNSET
    endpoint: Endpoint = Endpoint()
    update_status: UpdateStatus | Opt | None = UNSET
    service_status: ServiceStatus | Opt = UNSET
    job_status: JobStatus | Opt = UNSET
    internal: ServiceInternal | Opt = UNSET
