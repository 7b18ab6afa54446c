"""A service in Compose's syntax as Docker's ServiceSpec, mapped as ``docker stack deploy`` does.

Called by the playbook's reader; pure. An unknown key is refused with the nearest right one; a key
that Compose has and swarm mode ignores becomes a warning, one that hides a mistake is refused.
"""

from __future__ import annotations

import re
from typing import Any

from swarmops.fleet import compose_container
from swarmops.fleet.compose_deploy import DEPLOY_KEYS, read_deploy
from swarmops.fleet.compose_fields import fields, pairs
from swarmops.fleet.compose_ports import ports
from swarmops.fleet.entry import Entry
from swarmops.fleet.nearest import did_you_mean
from swarmops.model.service import (
    Driver,
    EndpointSpec,
    NetworkAttachmentConfig,
    ReplicatedMode,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)

KEYS = compose_container.KEYS | {"deploy", "logging", "networks", "ports"}
IGNORED = frozenset(
    """
    annotations attach blkio_config build cgroup cgroup_parent container_name cpu_count cpu_percent
    cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpuset credential_spec depends_on
    develop device_cgroup_rules devices domainname expose external_links gpus ipc label_file links
    mac_address mem_swappiness memswap_limit network_mode oom_kill_disable pid platform post_start
    pre_stop privileged profiles provider pull_policy restart runtime security_opt shm_size
    storage_opt userns_mode uts volumes_from
    """.split()  # noqa: SIM905 - a list of words reads better as text
)
"""Keys that Compose has and swarm mode doesn't heed."""
INSTEAD = {
    "cpus": "write deploy.resources.limits.cpus",
    "mem_limit": "write deploy.resources.limits.memory",
    "mem_reservation": "write deploy.resources.reservations.memory",
    "pids_limit": "write deploy.resources.limits.pids",
    "scale": "write deploy.replicas",
}
"""Keys that would change what runs if they were ignored, and what to write instead."""
_NAME = re.compile(r"[a-zA-Z0-9]+(?:[-_]+[A-Za-z0-9]+)*")
_NAME_LENGTH_MAX = 63


def read_service(name: str, entry: Entry) -> tuple[ServiceSpec, tuple[str, ...]]:
    """Return the spec of a service and the warnings about it. Raises InputError."""
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH_MAX:
        entry.fail(
            f"'{name}' can't be a service's name: use up to {_NAME_LENGTH_MAX} letters, digits"
            " and '-', first and last no '-'"
        )
    warnings = _check_keys(entry)
    if entry.get("image") is None:
        entry.fail(f"{entry.key} needs an image ('host' runs the command without a container)")
    service: dict[str, Any] = {"name": name}
    task: dict[str, Any] = {"container_spec": compose_container.container_spec(entry)}
    mode, endpoint_mode = ServiceMode(replicated=ReplicatedMode()), None
    if deploy := entry.get("deploy"):
        more_service, more_task, mode, endpoint_mode = read_deploy(deploy)
        service |= more_service
        task |= more_task
    if networks := entry.get("networks"):
        task["networks"] = _networks(name, networks)
    if logging := entry.get("logging"):
        task["log_driver"] = _logging(logging)
    endpoint: dict[str, Any] = {} if endpoint_mode is None else {"mode": endpoint_mode}
    if port_entry := entry.get("ports"):
        endpoint["ports"] = ports(port_entry)
    if endpoint:
        service["endpoint_spec"] = EndpointSpec(**endpoint)
    return ServiceSpec(task_template=TaskSpec(**task), mode=mode, **service), warnings


def _check_keys(entry: Entry) -> tuple[str, ...]:
    warnings = []
    for key, item in entry.mapping():
        if key in KEYS or key.startswith("x-"):
            continue
        if key in INSTEAD:
            item.fail(f"{item.key} is not read here: {INSTEAD[key]}")
        if key in DEPLOY_KEYS:
            item.fail(f"{item.key} is not read here: write deploy.{key}")
        if key not in IGNORED:
            item.fail(f"unknown key '{item.key}': {did_you_mean(key, KEYS)}")
        warnings.append(f"{item.where}: {item.key} is ignored: a swarm has no such thing")
    return tuple(warnings)


def _networks(service: str, entry: Entry) -> list[NetworkAttachmentConfig]:
    """Return the networks by name; in each the service answers to its own name too."""
    if isinstance(entry.value, dict):
        found = []
        for network, item in entry.mapping():
            table = {
                "aliases": ("aliases", Entry.strings),
                "driver_opts": ("driver_opts", pairs),
            }
            more = fields(item, table)
            aliases = [*more.pop("aliases", []), service]
            found.append(NetworkAttachmentConfig(target=network, aliases=aliases, **more))
        return sorted(found, key=lambda network: network.target or "")
    return [
        NetworkAttachmentConfig(target=network, aliases=[service])
        for network in sorted(entry.strings())
    ]


def _logging(entry: Entry) -> Driver:
    table = {"driver": ("name", Entry.name), "options": ("options", pairs)}
    return Driver(**fields(entry, table))
