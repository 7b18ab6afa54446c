"""What services are drawn to be: their modes, templates, ports, labels, how they are updated.

Pure but for the generator. Everything is small, so that nodes are full and ports taken now and
then, and attempts used up.
"""

from __future__ import annotations

import random
from typing import Final

from msgspec import UNSET, UnsetType

from swarmops.model.base import given
from swarmops.model.defaults import container_spec, task_spec
from swarmops.model.node import NodeDescription, NodeSpec
from swarmops.model.service import (
    ContainerSpec,
    DiscreteGenericResource,
    EndpointSpec,
    GenericResource,
    GlobalMode,
    NamedGenericResource,
    Placement,
    PlacementPreference,
    PortConfig,
    ReplicatedJobMode,
    ReplicatedMode,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.task import Task

SECOND: Final = 1_000_000_000
CPU: Final = SECOND
GIB: Final = 1 << 30
MODES = ("replicated", "replicated", "replicated", "global", "replicated-job", "global-job")
ZONE = "zone"


def service(rng: random.Random, name: str, mode: str) -> ServiceSpec:
    """Draw a service of a mode."""
    job = mode.endswith("job")
    return ServiceSpec(
        name=name,
        labels={} if job else _labels(rng),
        task_template=template(rng, job=job),
        mode=_mode(rng, mode),
        endpoint_spec=UNSET if job else endpoint(rng),
        update_config=UNSET if job else update_config(rng),
        rollback_config=UNSET if job else update_config(rng),
    )


def _labels(rng: random.Random) -> dict[str, str]:
    labels = {"swarmops.update.progress-deadline": "8s"}
    if rng.random() < 0.3:
        labels["swarmops.rebalance"] = "true"
    if rng.random() < 0.3:
        labels["swarmops.restart.backoff"] = "2"
        labels["swarmops.restart.backoff-max"] = "4s"
    return labels


def _mode(rng: random.Random, mode: str) -> ServiceMode:
    if mode == "global":
        return ServiceMode(global_=GlobalMode())
    if mode == "global-job":
        return ServiceMode(global_job=GlobalMode())
    if mode == "replicated":
        return ServiceMode(replicated=ReplicatedMode(replicas=rng.randint(0, 8)))
    some = ReplicatedJobMode(max_concurrent=rng.randint(1, 4), total_completions=rng.randint(1, 9))
    return ServiceMode(replicated_job=some)


def template(rng: random.Random, *, job: bool) -> TaskSpec:
    """Draw what tasks are; some fail as soon as they run."""
    args = [str(rng.randrange(1000))]
    if not job and rng.random() < 0.15:
        args.append("bad")
    return TaskSpec(
        container_spec=ContainerSpec(image="host", args=args),
        restart_policy=_restart_policy(rng),
        resources=_reservations(rng),
        placement=_placement(rng),
    )


def _restart_policy(rng: random.Random) -> RestartPolicy:
    limited = rng.random() < 0.3
    return RestartPolicy(
        condition=rng.choice(["any", "any", "any", "on-failure", "on-failure", "none"]),
        delay=rng.choice([0, SECOND // 2, SECOND]),
        max_attempts=rng.randint(1, 3) if limited else UNSET,
        window=rng.choice([0, 5 * SECOND]) if limited else UNSET,
    )


def _reservations(rng: random.Random) -> ResourceRequirements | UnsetType:
    if rng.random() < 0.6:
        return UNSET
    units = DiscreteGenericResource(kind=rng.choice(["gpu", "disk"]), value=rng.randint(1, 2))
    generic = [GenericResource(discrete_resource_spec=units)] if rng.random() < 0.5 else []
    needs = Resources(
        nano_cpus=rng.choice([0, CPU // 2, CPU]),
        memory_bytes=rng.choice([0, GIB]),
        generic_resources=generic,
    )
    return ResourceRequirements(reservations=needs)


def _placement(rng: random.Random) -> Placement:
    here = [f"node.labels.{ZONE}=={rng.choice('ab')}"] if rng.random() < 0.3 else []
    spread = PlacementPreference(spread=SpreadOver(spread_descriptor=f"node.labels.{ZONE}"))
    return Placement(
        constraints=here,
        preferences=[spread] if rng.random() < 0.4 else [],
        max_replicas=rng.randint(1, 2) if rng.random() < 0.3 else UNSET,
    )


def endpoint(rng: random.Random) -> EndpointSpec | UnsetType:
    """Draw a port on each task's own node, that other services may want too, or none."""
    if rng.random() < 0.7:
        return UNSET
    number = 8000 + rng.randrange(2)
    port = PortConfig(protocol="tcp", target_port=80, published_port=number, publish_mode="host")
    return EndpointSpec(mode="vip", ports=[port])


def update_config(rng: random.Random) -> UpdateConfig:
    """Draw how a service is updated, or rolled back."""
    return UpdateConfig(
        parallelism=rng.randint(0, 3),
        delay=rng.choice([0, 0, SECOND // 2]),
        monitor=rng.choice([SECOND // 10, SECOND]),
        failure_action=rng.choice(["pause", "continue", "rollback"]),
        max_failure_ratio=rng.choice([0.0, 0.3]),
        order=rng.choice(["stop-first", "start-first"]),
    )


def resources(rng: random.Random, *, full: bool) -> Resources:
    """Draw what a machine offers; it may come back with less."""
    gpus = [NamedGenericResource(kind="gpu", value=f"gpu{i}") for i in range(2)]
    disks = DiscreteGenericResource(kind="disk", value=3)
    generic = [GenericResource(named_resource_spec=gpu) for gpu in gpus]
    generic.append(GenericResource(discrete_resource_spec=disks))
    return Resources(
        nano_cpus=8 * CPU if full else rng.choice([2, 4]) * CPU,
        memory_bytes=8 * GIB if full else rng.choice([2, 4]) * GIB,
        generic_resources=generic if full or rng.random() < 0.7 else [],
    )


def described(description: NodeDescription) -> Resources:
    """Return what a node says that it offers."""
    return given(description.resources, Resources())


def zone(spec: NodeSpec) -> str:
    """Return a node's zone, empty for those without."""
    return (spec.labels or {}).get(ZONE, "")


def is_bad(task: Task) -> bool:
    """Whether a task fails as soon as it runs: the operator made a mistake."""
    return "bad" in given(container_spec(task.spec).args, [])


def makes_bad_tasks(spec: ServiceSpec) -> bool:
    """Whether the tasks of a spec fail as soon as they run."""
    return "bad" in given(container_spec(task_spec(spec)).args, [])
