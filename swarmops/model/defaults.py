"""What an absent field means: Docker's defaults, in one place.

The stored spec stays as the client sent it; every reader of a spec asks here.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.service import (
    ContainerSpec,
    Driver,
    Placement,
    PortConfig,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.swarm import (
    CAConfig,
    DispatcherConfig,
    EncryptionConfig,
    OrchestrationConfig,
    RaftConfig,
    SwarmSpec,
    TaskDefaults,
)

NANOSECONDS = 1_000_000_000
RESTART_DELAY_S = 5.0
STOP_GRACE_S = 10.0
TASK_HISTORY_LIMIT = 5
HEARTBEAT_PERIOD_S = 1.0
HEARTBEAT_GRACE = 3.0
"""A node that is silent for this many periods is DOWN."""
NODE_CERT_EXPIRY_S = 90 * 24 * 3600
DEFAULT_PORT = 2377
PROCESS_IMAGE = "host"
"""The image name that means the process executor."""
ADDR_POOLS = ["10.0.0.0/8"]
SUBNET_SIZE = 24
DATA_PATH_PORT = 4789
SWARM_SPEC = SwarmSpec(
    name="default",
    labels={},
    orchestration=OrchestrationConfig(task_history_retention_limit=TASK_HISTORY_LIMIT),
    raft=RaftConfig(
        snapshot_interval=10_000,
        keep_old_snapshots=0,
        log_entries_for_slow_followers=500,
        election_tick=10,
        heartbeat_tick=1,
    ),
    dispatcher=DispatcherConfig(heartbeat_period=int(HEARTBEAT_PERIOD_S * NANOSECONDS)),
    ca_config=CAConfig(node_cert_expiry=NODE_CERT_EXPIRY_S * NANOSECONDS),
    task_defaults=TaskDefaults(),
    encryption_config=EncryptionConfig(auto_lock_managers=False),
)


def task_spec(spec: ServiceSpec) -> TaskSpec:
    """Return the service's task template."""
    return given(spec.task_template, TaskSpec())


def container_spec(spec: TaskSpec) -> ContainerSpec:
    """Return what the task runs."""
    return given(spec.container_spec, ContainerSpec())


def image(spec: TaskSpec) -> str:
    """Return the image's name, empty if none was given."""
    return given(container_spec(spec).image, "")


def placement(spec: TaskSpec) -> Placement:
    """Return where the task may run."""
    return given(spec.placement, Placement())


def mode_name(spec: ServiceSpec) -> str:
    """Return ``replicated``, ``global``, ``replicated-job`` or ``global-job``."""
    mode = spec.mode
    if mode is UNSET:
        return "replicated"
    if given(mode.global_, None) is not None:
        return "global"
    if given(mode.replicated_job, None) is not None:
        return "replicated-job"
    if given(mode.global_job, None) is not None:
        return "global-job"
    return "replicated"


def replicas(spec: ServiceSpec) -> int:
    """Return how many tasks a replicated service wants (1 where it doesn't say)."""
    if spec.mode is UNSET or spec.mode.replicated is UNSET or spec.mode.replicated is None:
        return 1
    return given(spec.mode.replicated.replicas, 1)


def max_concurrent(spec: ServiceSpec) -> int:
    """Return how many tasks of a replicated job may run at once (1 where it doesn't say)."""
    job = given(spec.mode.replicated_job, None) if spec.mode is not UNSET else None
    return given(job.max_concurrent, 1) if job else 1


def total_completions(spec: ServiceSpec) -> int:
    """Return how many tasks of a replicated job shall complete."""
    job = given(spec.mode.replicated_job, None) if spec.mode is not UNSET else None
    return given(job.total_completions, max_concurrent(spec)) if job else 1


def log_driver(spec: TaskSpec, swarm: SwarmSpec) -> Driver | None:
    """Return the task's log driver, else the swarm's; with neither the engine's own holds."""
    swarms = given(given(swarm.task_defaults, TaskDefaults()).log_driver, None)
    return given(spec.log_driver, None) or swarms


def restart_condition(spec: TaskSpec) -> str:
    """Return ``none``, ``on-failure`` or ``any``."""
    policy = given(spec.restart_policy, None)
    return (given(policy.condition, "any") or "any") if policy else "any"


def restart_delay_s(spec: TaskSpec) -> float:
    """Return the pause before a replacement starts, in seconds."""
    policy = given(spec.restart_policy, None)
    delay_ns = given(policy.delay, None) if policy else None
    return RESTART_DELAY_S if delay_ns is None else delay_ns / NANOSECONDS


def restart_max_attempts(spec: TaskSpec) -> int:
    """Return how often a slot is restarted within the window; 0 means without end."""
    policy = given(spec.restart_policy, None)
    return given(policy.max_attempts, 0) if policy else 0


def restart_window_s(spec: TaskSpec) -> float:
    """Return the time over which attempts are counted, in seconds; 0 means for ever."""
    policy = given(spec.restart_policy, None)
    return (given(policy.window, 0) if policy else 0) / NANOSECONDS


def stop_grace_s(spec: TaskSpec) -> float:
    """Return the time between the stop signal and the kill, in seconds."""
    grace_ns = given(container_spec(spec).stop_grace_period, None)
    return STOP_GRACE_S if grace_ns is None else grace_ns / NANOSECONDS


def ports(spec: ServiceSpec) -> list[PortConfig]:
    """Return the service's published ports."""
    endpoint = given(spec.endpoint_spec, None)
    return list(given(endpoint.ports, [])) if endpoint else []


def swarm_spec(spec: SwarmSpec) -> SwarmSpec:
    """Fill in what Docker fills when a swarm is made; a zero counts there as not given."""
    filled = SWARM_SPEC
    for name in spec.__struct_fields__:
        value = getattr(spec, name)
        default = getattr(filled, name)
        if value is UNSET or value is None or value == "":
            continue
        if isinstance(value, msgspec.Struct):
            wanted = {field: getattr(value, field) for field in value.__struct_fields__}
            said = {field: given for field, given in wanted.items() if given}
            value = msgspec.structs.replace(default, **said)
        filled = msgspec.structs.replace(filled, **{name: value})
    return filled
