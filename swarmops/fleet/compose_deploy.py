"""A Compose service's ``deploy`` section: mode, placement, resources, restarts and updates.

Called by ``swarmops.fleet.compose``; pure.
"""

from __future__ import annotations

from typing import Any

from swarmops.fleet.compose_fields import Table, count, duration, fields, pairs, size
from swarmops.fleet.compose_units import nano_cpus
from swarmops.fleet.entry import Entry
from swarmops.model.defaults import NANOSECONDS
from swarmops.model.service import (
    DiscreteGenericResource,
    GenericResource,
    GlobalMode,
    Limit,
    Placement,
    PlacementPreference,
    ReplicatedJobMode,
    ReplicatedMode,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    ServiceMode,
    SpreadOver,
    UpdateConfig,
)

_MODES = ("replicated", "global", "replicated-job", "global-job")


def _ratio(entry: Entry) -> float:
    value = entry.number()
    if not 0 <= value <= 1:
        entry.expected("a share from 0 to 1")
    return value


def _cpus(entry: Entry) -> int:
    return entry.parsed(nano_cpus, "a number of CPUs like 0.5")


def _updates(*failure_actions: str) -> Table:
    return {
        "parallelism": ("parallelism", count),
        "delay": ("delay", duration),
        "failure_action": ("failure_action", lambda entry: entry.choice(*failure_actions)),
        "monitor": ("monitor", duration),
        "max_failure_ratio": ("max_failure_ratio", _ratio),
        "order": ("order", lambda entry: entry.choice("stop-first", "start-first")),
    }


def _update_config(entry: Entry) -> UpdateConfig:
    return UpdateConfig(**fields(entry, _updates("pause", "continue", "rollback")))


def _rollback_config(entry: Entry) -> UpdateConfig:
    return UpdateConfig(**fields(entry, _updates("pause", "continue")))


def _restart_policy(entry: Entry) -> RestartPolicy:
    table: Table = {
        "condition": ("condition", lambda item: item.choice("none", "on-failure", "any")),
        "delay": ("delay", duration),
        "max_attempts": ("max_attempts", count),
        "window": ("window", duration),
    }
    return RestartPolicy(**fields(entry, table, also=("backoff",)))


def _backoff(entry: Entry) -> dict[str, str]:
    """Return the labels that ask for it: Docker's API has no field."""
    table: Table = {"factor": ("factor", _factor), "max": ("max", _plain_duration)}
    said = fields(entry, table)
    labels = {"swarmops.restart.backoff": said.get("factor", "2")}
    if "max" in said:
        labels["swarmops.restart.backoff-max"] = said["max"]
    return labels


def _factor(entry: Entry) -> str:
    if not 1 <= entry.number() <= 100:  # noqa: PLR2004 - said in the text
        entry.expected("a number from 1 to 100")
    return entry.string()


def _plain_duration(entry: Entry) -> str:
    seconds, rest = divmod(duration(entry), NANOSECONDS)
    return f"{seconds}s" if not rest else f"{seconds * NANOSECONDS + rest}ns"


def _preferences(entry: Entry) -> list[PlacementPreference]:
    found = []
    for item in entry.items():
        spread = fields(item, {"spread": ("spread_descriptor", Entry.name)})
        if not spread:
            item.fail(f"{item.key} needs spread: a label such as node.labels.zone")
        found.append(PlacementPreference(spread=SpreadOver(**spread)))
    return found


def _constraint(entry: Entry) -> str:
    text = entry.string()
    for operator in ("==", "!="):
        key, found, value = (part.strip() for part in text.partition(operator))
        if found and key and value:
            return f"{key}{operator}{value}"
    return entry.expected("a constraint like node.labels.disk == ssd")


def _placement(entry: Entry) -> Placement:
    table: Table = {
        "constraints": ("constraints", lambda item: [_constraint(one) for one in item.items()]),
        "preferences": ("preferences", _preferences),
        "max_replicas_per_node": ("max_replicas", count),
    }
    return Placement(**fields(entry, table))


def _generic(entry: Entry) -> list[GenericResource]:
    found = []
    for item in entry.items():
        section = item.section(["discrete_resource_spec"])
        spec = section.get("discrete_resource_spec")
        if spec is None:
            item.fail(f"{item.key} needs discrete_resource_spec")
        table: Table = {"kind": ("kind", Entry.name), "value": ("value", count)}
        found.append(
            GenericResource(discrete_resource_spec=DiscreteGenericResource(**fields(spec, table)))
        )
    return found


def _resources(entry: Entry) -> ResourceRequirements:
    limits: Table = {
        "cpus": ("nano_cpus", _cpus),
        "memory": ("memory_bytes", size),
        "pids": ("pids", count),
    }
    reservations: Table = {
        "cpus": ("nano_cpus", _cpus),
        "memory": ("memory_bytes", size),
        "generic_resources": ("generic_resources", _generic),
    }
    table: Table = {
        "limits": ("limits", lambda item: Limit(**fields(item, limits))),
        "reservations": ("reservations", lambda item: Resources(**fields(item, reservations))),
    }
    return ResourceRequirements(**fields(entry, table))


SERVICE_PART: Table = {
    "labels": ("labels", pairs),
    "update_config": ("update_config", _update_config),
    "rollback_config": ("rollback_config", _rollback_config),
}
TASK_PART: Table = {
    "resources": ("resources", _resources),
    "restart_policy": ("restart_policy", _restart_policy),
    "placement": ("placement", _placement),
}
_OWN = ("mode", "replicas", "endpoint_mode")
DEPLOY_KEYS = frozenset({*SERVICE_PART, *TASK_PART, *_OWN})


def read_deploy(entry: Entry) -> tuple[dict[str, Any], dict[str, Any], ServiceMode, str | None]:
    """Return fields of the ServiceSpec, fields of the TaskSpec, the mode, the endpoint's mode."""
    section = entry.section(DEPLOY_KEYS)
    service = fields(section, SERVICE_PART, also={*TASK_PART, *_OWN})
    task = fields(section, TASK_PART, also={*SERVICE_PART, *_OWN})
    policy = section.get("restart_policy")
    if policy is not None and (backoff := policy.get("backoff")) is not None:
        service["labels"] = _backoff(backoff) | service.get("labels", {})
    endpoint = section.get("endpoint_mode")
    mode = _mode(section)
    if "update_config" in service and (mode.replicated_job or mode.global_job):
        section.child("update_config").fail("jobs have no update_config: remove it")
    return service, task, mode, endpoint.choice("vip", "dnsrr") if endpoint else None


def _mode(section: Entry) -> ServiceMode:
    mode_entry, replicas_entry = section.get("mode"), section.get("replicas")
    mode = mode_entry.choice(*_MODES) if mode_entry else "replicated"
    if replicas_entry is not None and mode.startswith("global"):
        replicas_entry.fail(
            f"{replicas_entry.key}: a {mode} service has one task a node: remove it"
        )
    replicas = count(replicas_entry) if replicas_entry else None
    if mode == "global":
        return ServiceMode(global_=GlobalMode())
    if mode == "global-job":
        return ServiceMode(global_job=GlobalMode())
    if mode == "replicated-job":
        total = 1 if replicas is None else replicas
        return ServiceMode(
            replicated_job=ReplicatedJobMode(max_concurrent=total, total_completions=total)
        )
    if replicas is None:
        return ServiceMode(replicated=ReplicatedMode())
    return ServiceMode(replicated=ReplicatedMode(replicas=replicas))
