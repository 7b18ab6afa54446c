"""A service's spec as Docker stores it: what was sent, less what is zero, plus a few fields.

Pure; used by ``swarmops.api.services``. As specs pass through Docker's own wire, empty lists, empty
strings and zeros vanish and some choices are spelled out. So two clients that mean the same store
the same, and no task is restarted for a difference that is none.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api.images import is_process_image
from swarmops.model import defaults
from swarmops.model.base import Model, given
from swarmops.model.service import (
    BindOptions,
    ContainerSpec,
    EndpointSpec,
    Mount,
    PortConfig,
    ReplicatedJobMode,
    ReplicatedMode,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)

DEFAULT_RUNTIME = "container"
ISOLATIONS = frozenset(("default", "process", "hyperv"))

M = TypeVar("M", bound=Model)
L = TypeVar("L")


def filled(spec: ServiceSpec) -> ServiceSpec:
    """Return the spec in Docker's normal form; doing it again changes nothing."""
    spec = without_zeros(spec)
    return replace(
        spec,
        labels=given(spec.labels, {}),
        task_template=_task(defaults.task_spec(spec)),
        mode=_mode(given(spec.mode, ServiceMode())),
        update_config=_update(given(spec.update_config, None)),
        rollback_config=_update(given(spec.rollback_config, None)),
        endpoint_spec=_endpoint(given(spec.endpoint_spec, None)),
    )


def in_stored_order(spec: ServiceSpec, stored: ServiceSpec) -> ServiceSpec:
    """Return the spec with its secrets and configs in the stored order, if they are the same ones.

    Their order means nothing, and the docker CLI's varies where a stack uses a secret twice.
    """
    template = defaults.task_spec(spec)
    container = defaults.container_spec(template)
    former = defaults.container_spec(defaults.task_spec(stored))
    ordered = replace(
        container,
        secrets=_ordered(container.secrets, former.secrets),
        configs=_ordered(container.configs, former.configs),
    )
    if ordered == container:
        return spec
    return replace(spec, task_template=replace(template, container_spec=ordered))


def _ordered(wanted: L, stored: L) -> L:
    """Return the stored list if it has the same members, as often."""
    if not isinstance(wanted, list) or not isinstance(stored, list):
        return wanted
    return stored if Counter(wanted) == Counter(stored) else wanted


def without_zeros(model: M) -> M:
    """Leave out what Go's ``omitempty`` leaves out: empty lists and maps, zeros that are no choice.

    Kept are objects, even empty ones, and zeros of fields that can be null: there 0 is said.
    """
    droppable = _droppable(type(model))
    changes: dict[str, Any] = {}
    for field in model.__struct_fields__:
        value = getattr(model, field)
        if isinstance(value, Model):
            changes[field] = without_zeros(value)
        elif isinstance(value, list) and value:
            changes[field] = [
                without_zeros(item) if isinstance(item, Model) else item for item in value
            ]
        elif isinstance(value, list | dict):
            if not value and field in droppable.collections:
                changes[field] = UNSET
        elif value is not UNSET and not value and field in droppable.scalars:
            changes[field] = UNSET
    return replace(model, **changes)


class _Droppable(msgspec.Struct, frozen=True):
    scalars: frozenset[str]
    collections: frozenset[str]


@cache
def _droppable(kind: type[Model]) -> _Droppable:
    optional = [field for field in msgspec.structs.fields(kind) if field.default is UNSET]
    nullable = {field.name for field in optional if type(None) in get_args(field.type)}
    names = frozenset(field.name for field in optional)
    return _Droppable(scalars=names - nullable, collections=names)


def _task(template: TaskSpec) -> TaskSpec:
    container = given(template.container_spec, ContainerSpec())
    isolation = given(container.isolation, "").lower()
    image = given(container.image, "")
    return replace(
        template,
        container_spec=replace(
            container,
            image=defaults.PROCESS_IMAGE if is_process_image(image) else container.image,
            isolation=isolation if isolation in ISOLATIONS else "default",
            mounts=[_mount(one) for one in given(container.mounts, [])] or UNSET,
        ),
        restart_policy=_restart(given(template.restart_policy, None)),
        force_update=given(template.force_update, 0),
        runtime=given(template.runtime, DEFAULT_RUNTIME),
    )


def _mount(mount: Mount) -> Mount:
    options = given(mount.bind_options, BindOptions())
    if options.propagation is not UNSET:
        options = replace(options, propagation=options.propagation.lower())
    return replace(
        mount,
        type=given(mount.type, "bind").lower(),
        bind_options=UNSET if options == BindOptions() else options,
    )


def _restart(policy: RestartPolicy | None) -> Any:
    if policy is None:
        return UNSET
    return replace(
        policy,
        condition=given(policy.condition, "any") or "any",
        max_attempts=given(policy.max_attempts, 0),
    )


def _mode(mode: ServiceMode) -> ServiceMode:
    job = given(mode.replicated_job, None)
    if job is not None:
        concurrent = given(job.max_concurrent, 1)
        total = given(job.total_completions, concurrent)
        return replace(
            mode,
            replicated_job=ReplicatedJobMode(max_concurrent=concurrent, total_completions=total),
        )
    if given(mode.global_, None) is not None or given(mode.global_job, None) is not None:
        return mode
    replicated = given(mode.replicated, ReplicatedMode())
    return replace(mode, replicated=ReplicatedMode(replicas=given(replicated.replicas, 1)))


def _update(config: UpdateConfig | None) -> Any:
    if config is None:
        return UNSET
    return replace(
        config,
        parallelism=given(config.parallelism, 0),
        failure_action=given(config.failure_action, "pause"),
        max_failure_ratio=given(config.max_failure_ratio, 0.0),
        order=given(config.order, "stop-first"),
    )


def _endpoint(endpoint: EndpointSpec | None) -> Any:
    if endpoint is None:
        return UNSET
    ports = [_port(port) for port in given(endpoint.ports, [])]
    return replace(endpoint, mode=given(endpoint.mode, "vip"), ports=ports or UNSET)


def _port(port: PortConfig) -> PortConfig:
    return replace(
        port,
        protocol=given(port.protocol, "tcp").lower(),
        publish_mode=given(port.publish_mode, "ingress").lower(),
    )
