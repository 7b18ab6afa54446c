"""What runs in a task: the keys of a Compose service that become Docker's ContainerSpec.

Called by ``swarmops.fleet.compose``; pure. As ``docker stack deploy``: ``entrypoint`` becomes
Command, ``command`` becomes Args.
"""

from __future__ import annotations

from swarmops.fleet.compose_fields import (
    Table,
    count,
    duration,
    environment,
    fields,
    pairs,
    words,
)
from swarmops.fleet.compose_files import configs, secrets
from swarmops.fleet.compose_mounts import tmpfs_mounts, volume_mounts
from swarmops.fleet.entry import Entry
from swarmops.model.service import ContainerSpec, DNSConfig, HealthConfig, Ulimit


def _healthcheck(entry: Entry) -> HealthConfig:
    found = fields(entry, HEALTH, also=["disable"])
    disable = entry.get("disable")
    if disable is not None and disable.boolean():
        if len(found) > 0:
            disable.fail(f"{disable.key} excludes the other keys: remove it or them")
        return HealthConfig(test=["NONE"])
    return HealthConfig(**found)


def _health_test(entry: Entry) -> list[str]:
    if isinstance(entry.value, str):
        return ["CMD-SHELL", entry.value]
    test = entry.strings()
    if not test or test[0] not in {"NONE", "CMD", "CMD-SHELL"}:
        entry.expected("a string, or a list that begins with NONE, CMD or CMD-SHELL")
    return test


HEALTH: Table = {
    "test": ("test", _health_test),
    "interval": ("interval", duration),
    "timeout": ("timeout", duration),
    "start_period": ("start_period", duration),
    "start_interval": ("start_interval", duration),
    "retries": ("retries", count),
}


def _hosts(entry: Entry) -> list[str]:
    """Return Docker's ``address name`` lines of ``name:address``, ``name=address`` or a mapping."""
    if isinstance(entry.value, dict):
        return [f"{address} {name}" for name, item in entry.mapping() for address in item.strings()]
    lines = []
    for item in entry.items():
        text = item.string()
        name, separator, address = text.partition("=" if "=" in text else ":")
        if not separator or not name or not address:
            item.expected("name:address")
        lines.append(f"{address.strip('[]')} {name}")
    return lines


def _ulimits(entry: Entry) -> list[Ulimit]:
    limits = []
    for name, item in entry.mapping():
        if isinstance(item.value, dict):
            table: Table = {"soft": ("soft", Entry.integer), "hard": ("hard", Entry.integer)}
            found = fields(item, table)
            if len(found) != 2:  # noqa: PLR2004 - soft and hard
                item.fail(f"{item.key} needs both soft and hard")
            limits.append(Ulimit(name=name, **found))
        else:
            both = item.integer()
            limits.append(Ulimit(name=name, soft=both, hard=both))
    return limits


def _image(entry: Entry) -> str:
    """Return an image's name; a bare number is one that lost its name, as ``image: 3.20``."""
    if not isinstance(entry.value, str):
        entry.expected("an image's name")
    return entry.name()


CONTAINER: Table = {
    "image": ("image", _image),
    "entrypoint": ("command", words),
    "command": ("args", words),
    "environment": ("env", environment),
    "labels": ("labels", pairs),
    "working_dir": ("dir", Entry.name),
    "user": ("user", Entry.string),
    "group_add": ("groups", Entry.strings),
    "hostname": ("hostname", Entry.name),
    "init": ("init", Entry.boolean),
    "stop_signal": ("stop_signal", Entry.string),
    "stop_grace_period": ("stop_grace_period", duration),
    "tty": ("tty", Entry.boolean),
    "stdin_open": ("open_stdin", Entry.boolean),
    "read_only": ("read_only", Entry.boolean),
    "healthcheck": ("healthcheck", _healthcheck),
    "extra_hosts": ("hosts", _hosts),
    "secrets": ("secrets", secrets),
    "configs": ("configs", configs),
    "isolation": ("isolation", Entry.string),
    "sysctls": ("sysctls", pairs),
    "cap_add": ("capability_add", Entry.strings),
    "cap_drop": ("capability_drop", Entry.strings),
    "ulimits": ("ulimits", _ulimits),
    "oom_score_adj": ("oom_score_adj", Entry.integer),
}
DNS: Table = {
    "dns": ("nameservers", Entry.strings),
    "dns_search": ("search", Entry.strings),
    "dns_opt": ("options", Entry.strings),
}
KEYS = frozenset({*CONTAINER, *DNS, "volumes", "tmpfs"})


def container_spec(service: Entry) -> ContainerSpec:
    """Return what a service's tasks run. The service's keys are known to be right."""
    found = {
        attribute: read(value)
        for key, (attribute, read) in CONTAINER.items()
        if (value := service.get(key)) is not None
    }
    dns = {
        attribute: read(value)
        for key, (attribute, read) in DNS.items()
        if (value := service.get(key)) is not None
    }
    if dns:
        found["dns_config"] = DNSConfig(**dns)
    mounts = []
    if volumes := service.get("volumes"):
        mounts += volume_mounts(volumes)
    if tmpfs := service.get("tmpfs"):
        mounts += tmpfs_mounts(tmpfs)
    if mounts:
        found["mounts"] = mounts
    return ContainerSpec(**found)
