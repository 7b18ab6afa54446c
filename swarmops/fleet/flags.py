"""A service's spec from the flags of ``swarmops service create``, which are Docker's.

Called by the CLI with the flags as they came; pure. Absent flags leave absent fields: what those
mean is the swarm's to say. Raises InputError for a value that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from swarmops.errors import InputError
from swarmops.model.service import ServiceSpec

_PORT_MAX = 65535
_LONG_PORT_KEYS = {
    "target": "TargetPort",
    "published": "PublishedPort",
    "protocol": "Protocol",
    "mode": "PublishMode",
}


class ServiceFlags(msgspec.Struct, frozen=True, kw_only=True):
    """The flags; times in nanoseconds, memory in bytes, CPUs in billionths. None: not given."""

    image: str
    args: tuple[str, ...] = ()
    name: str | None = None
    mode: str = "replicated"
    replicas: int | None = None
    max_concurrent: int | None = None
    replicas_max_per_node: int | None = None
    label: tuple[str, ...] = ()
    container_label: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    hostname: str | None = None
    user: str | None = None
    workdir: str | None = None
    stop_signal: str | None = None
    stop_grace_period: int | None = None
    init: bool | None = None
    tty: bool | None = None
    read_only: bool | None = None
    constraint: tuple[str, ...] = ()
    placement_pref: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    endpoint_mode: str | None = None
    limit_cpu: int | None = None
    limit_memory: int | None = None
    limit_pids: int | None = None
    reserve_cpu: int | None = None
    reserve_memory: int | None = None
    restart_condition: str | None = None
    restart_delay: int | None = None
    restart_max_attempts: int | None = None
    restart_window: int | None = None
    update_parallelism: int | None = None
    update_delay: int | None = None
    update_order: str | None = None
    update_failure_action: str | None = None
    update_monitor: int | None = None


def service_spec(flags: ServiceFlags) -> ServiceSpec:
    """Return the spec that the flags ask for."""
    spec = {
        "Name": flags.name,
        "Labels": pairs("--label", flags.label),
        "TaskTemplate": {
            "ContainerSpec": _container(flags),
            "Resources": _resources(flags),
            "RestartPolicy": {
                "Condition": flags.restart_condition,
                "Delay": flags.restart_delay,
                "MaxAttempts": flags.restart_max_attempts,
                "Window": flags.restart_window,
            },
            "Placement": {
                "Constraints": list(flags.constraint),
                "Preferences": [_preference(text) for text in flags.placement_pref],
                "MaxReplicas": flags.replicas_max_per_node,
            },
        },
        "Mode": _mode(flags),
        "UpdateConfig": {
            "Parallelism": flags.update_parallelism,
            "Delay": flags.update_delay,
            "Order": flags.update_order,
            "FailureAction": flags.update_failure_action,
            "Monitor": flags.update_monitor,
        },
        "EndpointSpec": {
            "Mode": flags.endpoint_mode,
            "Ports": [port for text in flags.publish for port in published(text)],
        },
    }
    return msgspec.convert(_given(spec), ServiceSpec)


def _container(flags: ServiceFlags) -> dict[str, Any]:
    return {
        "Image": flags.image,
        "Labels": pairs("--container-label", flags.container_label),
        "Command": list(flags.entrypoint),
        "Args": list(flags.args),
        "Hostname": flags.hostname,
        "Env": list(flags.env),
        "Dir": flags.workdir,
        "User": flags.user,
        "Init": flags.init,
        "TTY": flags.tty,
        "ReadOnly": flags.read_only,
        "StopSignal": flags.stop_signal,
        "StopGracePeriod": flags.stop_grace_period,
    }


def _resources(flags: ServiceFlags) -> dict[str, Any]:
    return {
        "Limits": {
            "NanoCPUs": flags.limit_cpu,
            "MemoryBytes": flags.limit_memory,
            "Pids": flags.limit_pids,
        },
        "Reservations": {"NanoCPUs": flags.reserve_cpu, "MemoryBytes": flags.reserve_memory},
    }


def _mode(flags: ServiceFlags) -> dict[str, Any]:
    if flags.max_concurrent is not None and flags.mode != "replicated-job":
        raise InputError("--max-concurrent is for --mode replicated-job only: leave it out")
    if flags.mode == "replicated":
        return {"Replicated": {"Replicas": 1 if flags.replicas is None else flags.replicas}}
    if flags.mode == "replicated-job":
        total = 1 if flags.replicas is None else flags.replicas
        at_once = total if flags.max_concurrent is None else flags.max_concurrent
        return {"ReplicatedJob": {"MaxConcurrent": at_once, "TotalCompletions": total}}
    if flags.replicas is not None:
        raise InputError(f"--replicas is not for --mode {flags.mode}: leave it out")
    return {"Global": {}} if flags.mode == "global" else {"GlobalJob": {}}


def _preference(text: str) -> dict[str, Any]:
    kind, equals, over = text.partition("=")
    if kind != "spread" or not equals or not over:
        raise InputError(
            f"--placement-pref {text}: say what to spread over, such as spread=node.labels.zone"
        )
    return {"Spread": {"SpreadDescriptor": over}}


def pairs(flag: str, texts: Iterable[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` texts as a dict; a key alone has an empty value."""
    found = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InputError(f"{flag} {text}: name a key, as in KEY=VALUE")
        found[key] = value
    return found


def published(text: str) -> list[dict[str, Any]]:
    """Return the ports of ``--publish``, in Docker's short or long form, ranges spelled out."""
    if "=" in text:
        return [_long_port(text)]
    ports, _, protocol = text.partition("/")
    outer, colon, inner = ports.rpartition(":")
    targets = _ports(text, inner)
    sources: list[int | None] = list(_ports(text, outer)) if colon else [None] * len(targets)
    if len(sources) != len(targets):
        raise InputError(f"--publish {text}: both ranges must have the same length")
    return [
        {
            "Protocol": _protocol(text, protocol or "tcp"),
            "TargetPort": target,
            "PublishedPort": source,
            "PublishMode": "ingress",
        }
        for source, target in zip(sources, targets, strict=True)
    ]


def _long_port(text: str) -> dict[str, Any]:
    port: dict[str, Any] = {"Protocol": "tcp", "PublishMode": "ingress"}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in _LONG_PORT_KEYS:
            raise InputError(
                f"--publish {text}: '{key}' is not known: use {', '.join(_LONG_PORT_KEYS)}"
            )
        if key in {"target", "published"}:
            port[_LONG_PORT_KEYS[key]] = _ports(text, value)[0]
        elif key == "protocol":
            port["Protocol"] = _protocol(text, value)
        elif value in {"host", "ingress"}:
            port["PublishMode"] = value
        else:
            raise InputError(f"--publish {text}: the mode is 'ingress' or 'host', not '{value}'")
    if "TargetPort" not in port:
        raise InputError(f"--publish {text}: say the service's own port, as in target=80")
    return port


def _protocol(text: str, protocol: str) -> str:
    if protocol not in {"tcp", "udp", "sctp"}:
        raise InputError(f"--publish {text}: the protocol is tcp, udp or sctp, not '{protocol}'")
    return protocol


def _ports(text: str, numbers: str) -> range:
    first, dash, last = numbers.partition("-")
    bounds = (first, last if dash else first)
    if all(bound.isdigit() and 0 < int(bound) <= _PORT_MAX for bound in bounds):
        ports = range(int(bounds[0]), int(bounds[1]) + 1)
        if ports:
            return ports
    raise InputError(
        f"--publish {text}: '{numbers}' is no port: write 8080:80, or 80 for a port of its choice"
    )


def _given(value: Any) -> Any:
    """Leave out what was not given, and what is empty without it."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        cleaned = _given(inner)
        lost = isinstance(inner, dict) and inner and not cleaned
        if cleaned is None or cleaned == [] or lost or (key.endswith("Labels") and not cleaned):
            continue
        kept[key] = cleaned
    return kept
