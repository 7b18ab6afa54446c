"""Service specs at the border: what Docker refuses is refused here, with Docker's texts.

Pure functions over a spec, called by ``swarmops.api.services`` before anything is stored; what
needs the store is in ``swarmops.api.references``. They raise ``ApiError``. Source of the rules:
SwarmKit's ``controlapi/service.go`` and the engine's conversion of specs.
"""

from __future__ import annotations

import json
import re
from collections import Counter

from swarmops.api.errors import bad_request, invalid, rpc
from swarmops.api.images import is_reference
from swarmops.model import constraint_text, defaults
from swarmops.model.base import given
from swarmops.model.service import (
    BindOptions,
    ContainerSpec,
    EndpointSpec,
    HealthConfig,
    Limit,
    Mount,
    Placement,
    ReplicatedJobMode,
    ReplicatedMode,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.templates import EXAMPLE, expand_container

NAME_LENGTH_MAX = 63
NANO_CPUS_MIN = 1_000_000
MEMORY_BYTES_MIN = 4 * 1024 * 1024
HEALTH_DURATION_MIN_NS = 1_000_000
REPLICAS_MAX = 100_000
"""Docker has no bound; a typing mistake must not fill every manager's memory with tasks."""
PORT_MAX = 65_535
MOUNT_TYPES = frozenset(("", "bind", "volume", "tmpfs", "npipe", "cluster", "image"))
PROPAGATIONS = frozenset(
    ("", "private", "rprivate", "shared", "rshared", "slave", "rslave"),
)
RUNTIMES = frozenset(("", "container", "plugin"))
_NAME = re.compile(r"[a-zA-Z0-9]+(?:[-_]+[A-Za-z0-9]+)*")


def check_service(spec: ServiceSpec) -> None:
    """Raise ApiError for a spec that no swarm would take."""
    runtime = given(defaults.task_spec(spec).runtime, "")
    if runtime not in RUNTIMES:
        raise bad_request("unsupported runtime")
    if runtime == "plugin" or given(defaults.task_spec(spec).container_spec, None) is None:
        raise bad_request("mismatched Runtime and *Spec fields")
    check_name(given(spec.name, ""))
    check_task(defaults.task_spec(spec))
    check_mode(given(spec.mode, ServiceMode()))
    for which in ("update", "rollback"):
        check_update(given(getattr(spec, f"{which}_config"), UpdateConfig()), which)
    if defaults.mode_name(spec).endswith("-job") and given(spec.update_config, None) is not None:
        raise invalid("Jobs may not have an update config")
    check_endpoint(given(spec.endpoint_spec, EndpointSpec()))


def check_name(name: str) -> None:
    """Raise ApiError 400 unless this can be a service's name."""
    if not _NAME.fullmatch(name):
        raise invalid("name must be valid as a DNS name component")
    if len(name) > NAME_LENGTH_MAX:
        raise invalid(f"name must be {NAME_LENGTH_MAX} characters or fewer")


def check_task(spec: TaskSpec) -> None:
    """Check what each task is."""
    resources = given(spec.resources, None)
    if resources is not None:
        check_resources(given(resources.limits, Limit()))
        check_resources(given(resources.reservations, Resources()))
    check_restart(given(spec.restart_policy, RestartPolicy()))
    for constraint in given(given(spec.placement, Placement()).constraints, []):
        check_constraint(constraint)
    check_container(defaults.container_spec(spec))


def check_constraint(text: str) -> None:
    """Raise ApiError if this is no constraint; with 500, as Docker answers."""
    try:
        constraint_text.split(text)
    except ValueError as error:
        raise rpc("Unknown", str(error)) from None


def check_resources(resources: Limit | Resources) -> None:
    """Check CPUs and memory: absent and 0 mean no limit."""
    nano_cpus = given(resources.nano_cpus, 0)
    if nano_cpus and nano_cpus < NANO_CPUS_MIN:
        raise invalid(
            f"invalid cpu value {nano_cpus / defaults.NANOSECONDS:g}: "
            f"Must be at least {NANO_CPUS_MIN / defaults.NANOSECONDS:g}"
        )
    memory = given(resources.memory_bytes, 0)
    if memory and memory < MEMORY_BYTES_MIN:
        raise invalid(f"invalid memory value {memory}: Must be at least 4MiB")


def check_restart(policy: RestartPolicy) -> None:
    """Check when ended tasks are replaced."""
    if given(policy.delay, 0) < 0:
        raise invalid("TaskSpec: restart-delay cannot be negative")
    if given(policy.window, 0) < 0:
        raise invalid("TaskSpec: restart-window cannot be negative")


def check_container(container: ContainerSpec) -> None:
    """Check the templates, the image, the mounts and the health probe."""
    try:
        container = expand_container(container, EXAMPLE, {})
    except ValueError as error:
        raise invalid(str(error)) from None
    image = given(container.image, "")
    if not image:
        raise invalid("ContainerSpec: image reference must be provided")
    if not is_reference(image):
        raise invalid(f"ContainerSpec: {json.dumps(image)} is not a valid repository/tag")
    if given(container.stop_grace_period, 0) < 0:
        raise invalid("ContainerSpec: stop-grace-period cannot be negative")
    _check_mounts(given(container.mounts, []))
    _check_health(given(container.healthcheck, HealthConfig()))


def _check_mounts(mounts: list[Mount]) -> None:
    for mount in mounts:
        if given(mount.type, "bind").lower() not in MOUNT_TYPES:
            raise bad_request(f"invalid MountType: {json.dumps(mount.type)}")
        propagation = given(given(mount.bind_options, BindOptions()).propagation, "")
        if propagation.lower() not in PROPAGATIONS:
            raise bad_request(f"invalid MountPropagation: {json.dumps(propagation)}")
    targets = Counter(given(mount.target, "") for mount in mounts)
    for target, count in targets.items():
        if count > 1:
            raise invalid(f"ContainerSpec: duplicate mount point: {target}")


def _check_health(health: HealthConfig) -> None:
    durations = {
        "Interval": health.interval,
        "Timeout": health.timeout,
        "StartPeriod": health.start_period,
        "StartInterval": health.start_interval,
    }
    for name, duration in durations.items():
        value_ns = given(duration, 0)
        if value_ns and value_ns < HEALTH_DURATION_MIN_NS:
            raise invalid(f"ContainerSpec: {name} in HealthConfig cannot be less than 1ms")
    if given(health.retries, 0) < 0:
        raise invalid("ContainerSpec: Retries in HealthConfig cannot be negative")


def check_mode(mode: ServiceMode) -> None:
    """Check that there is one mode, and its numbers."""
    modes = (mode.replicated, mode.global_, mode.replicated_job, mode.global_job)
    if sum(1 for one in modes if given(one, None) is not None) > 1:
        raise bad_request("must specify only one service mode")
    replicated = given(mode.replicated, ReplicatedMode())
    job = given(mode.replicated_job, ReplicatedJobMode())
    counts = {
        "Mode.Replicated.Replicas": replicated.replicas,
        "Mode.ReplicatedJob.MaxConcurrent": job.max_concurrent,
        "Mode.ReplicatedJob.TotalCompletions": job.total_completions,
    }
    for path, count in counts.items():
        if given(count, 0) > REPLICAS_MAX:
            raise invalid(
                f"{path}: {count} tasks are more than the {REPLICAS_MAX} that are allowed"
            )


def check_update(config: UpdateConfig, which: str) -> None:
    """Check how an update or a rollback proceeds."""
    if given(config.failure_action, "") not in ("", "pause", "continue", "rollback"):
        raise bad_request(f"unrecognized {which} failure action {config.failure_action}")
    if given(config.order, "") not in ("", "stop-first", "start-first"):
        raise bad_request(f"unrecognized {which} order {config.order}")
    if given(config.delay, 0) < 0:
        raise invalid(f"TaskSpec: {which}-delay cannot be negative")
    if given(config.monitor, 0) < 0:
        raise invalid(f"TaskSpec: {which}-monitor cannot be negative")
    if not 0 <= given(config.max_failure_ratio, 0.0) <= 1:
        raise invalid(f"TaskSpec: {which}-maxfailureratio cannot be less than 0 or bigger than 1")


def check_endpoint(endpoint: EndpointSpec) -> None:
    """Check the mode and the ports of one service."""
    mode = given(endpoint.mode, "")
    if mode not in ("", "vip", "dnsrr"):
        raise bad_request(f"invalid resolution mode: {json.dumps(mode)}")
    published: set[tuple[int, str]] = set()
    for port in given(endpoint.ports, []):
        protocol = given(port.protocol, "").lower() or "tcp"
        publish_mode = given(port.publish_mode, "").lower() or "ingress"
        number = given(port.published_port, 0)
        if protocol not in ("tcp", "udp", "sctp"):
            raise bad_request(f"invalid protocol {json.dumps(protocol)} of a port")
        if publish_mode not in ("ingress", "host"):
            raise bad_request(f"invalid PublishMode: {json.dumps(publish_mode)}")
        for value in (number, given(port.target_port, 0)):
            if not 0 <= value <= PORT_MAX:
                raise bad_request(f"invalid port number {value}")
        if mode == "dnsrr" and publish_mode == "ingress":
            raise invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"
            )
        if number and (number, protocol) in published:
            raise invalid("EndpointSpec: duplicate published ports provided")
        published.add((number, protocol))
