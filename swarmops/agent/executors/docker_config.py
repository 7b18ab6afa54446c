"""From a task to the Engine API's container configuration: pure, and the same for any engine.

Called by the container executors. Knows nothing of the SDK; the result is the JSON body of
``POST /containers/create``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.docker_networks import endpoints, mode_of
from swarmops.agent.task_files import TaskFile
from swarmops.agent.work import Work, limits, reserved_memory_bytes
from swarmops.model.base import given, to_builtins
from swarmops.model.service import ContainerSpec, DNSConfig, Driver, Mount, PortConfig


def container_config(work: Work, files: Sequence[Path] = ()) -> dict[str, Any]:
    """Return what the container is to be; what the spec leaves out is left to the engine.

    ``files`` are where the work's secrets and configs are on the node.
    """
    spec = work.container
    environment = [f"{name}={value}" for name, value in work.environment.items()]
    environment += [entry for entry in given(spec.env, []) if "=" not in entry]
    config = {
        "Image": work.image,
        "Entrypoint": given(spec.command, None),
        "Cmd": given(spec.args, None),
        "Env": environment,
        "WorkingDir": given(spec.dir, ""),
        "User": given(spec.user, ""),
        "Hostname": given(spec.hostname, ""),
        "Labels": work.labels,
        "Tty": given(spec.tty, False),
        "OpenStdin": given(spec.open_stdin, False),
        "StopSignal": given(spec.stop_signal, ""),
        "StopTimeout": math.ceil(work.stop_grace_s),
        "Healthcheck": _plain(spec.healthcheck),
        "ExposedPorts": {_port(port): {} for port in work.ports},
    }
    joined = endpoints(work)
    return (
        _filled(config)
        | {"HostConfig": _filled(_host_config(work, files))}
        | ({"NetworkingConfig": {"EndpointsConfig": joined}} if joined else {})
    )


def _host_config(work: Work, files: Sequence[Path]) -> dict[str, Any]:
    spec = work.container
    nano_cpus, memory_bytes, pids = limits(work.task.spec)
    return {
        "Init": given(spec.init, None),
        "ReadonlyRootfs": given(spec.read_only, False),
        "Mounts": [
            *(_mount(mount) for mount in given(spec.mounts, [])),
            *(_file(file, path) for file, path in zip(work.files, files, strict=True)),
        ],
        "PortBindings": {_port(port): [_binding(port)] for port in work.ports},
        "GroupAdd": given(spec.groups, []),
        "CapAdd": given(spec.capability_add, []),
        "CapDrop": given(spec.capability_drop, []),
        "Sysctls": given(spec.sysctls, {}),
        "Ulimits": [_plain(ulimit) for ulimit in given(spec.ulimits, [])],
        "OomScoreAdj": given(spec.oom_score_adj, 0),
        "ExtraHosts": [_extra_host(entry) for entry in given(spec.hosts, [])],
        "SecurityOpt": _security(spec),
        "Isolation": given(spec.isolation, ""),
        "NetworkMode": mode_of(work),
        "NanoCpus": nano_cpus,
        "Memory": memory_bytes,
        "MemoryReservation": reserved_memory_bytes(work.task.spec),
        "PidsLimit": pids,
        "LogConfig": _log_config(given(work.task.spec.log_driver, None)),
        **_dns(given(spec.dns_config, DNSConfig())),
    }


def _dns(dns: DNSConfig) -> dict[str, Any]:
    return {
        "Dns": given(dns.nameservers, []),
        "DnsSearch": given(dns.search, []),
        "DnsOptions": given(dns.options, []),
    }


def _log_config(driver: Driver | None) -> dict[str, Any] | None:
    if driver is None or not given(driver.name, ""):
        return None
    return {"Type": driver.name, "Config": given(driver.options, {})}


def _security(spec: ContainerSpec) -> list[str]:
    privileges = given(spec.privileges, {})
    options = ["no-new-privileges"] if privileges.get("NoNewPrivileges") else []
    apparmor, seccomp, selinux = (
        _part(privileges, name) for name in ("AppArmor", "Seccomp", "SELinuxContext")
    )
    if apparmor.get("Mode") == "disabled":
        options.append("apparmor=unconfined")
    if seccomp.get("Mode") == "unconfined":
        options.append("seccomp=unconfined")
    if seccomp.get("Mode") == "custom":
        profile = base64.b64decode(str(seccomp.get("Profile", "")))
        options.append(f"seccomp={profile.decode(errors='replace')}")
    if selinux.get("Disable"):
        options.append("label=disable")
    named = ((name, selinux.get(name)) for name in ("User", "Role", "Type", "Level"))
    return [*options, *(f"label={name.lower()}:{value}" for name, value in named if value)]


def _part(privileges: dict[str, object], name: str) -> dict[str, Any]:
    part = privileges.get(name)
    return part if isinstance(part, dict) else {}


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.type == "cluster":
        raise TaskError("mounts of type cluster need a CSI plugin, which this node doesn't have")
    return _filled(_plain(mount))


def _file(file: TaskFile, path: Path) -> dict[str, Any]:
    """Show a file of ours in the container; whose it is and its mode are the file's own."""
    target = file.container_path
    return {"Type": "bind", "Source": str(path), "Target": target, "ReadOnly": True}


def _port(port: PortConfig) -> str:
    return f"{given(port.target_port, 0)}/{given(port.protocol, 'tcp') or 'tcp'}"


def _binding(port: PortConfig) -> dict[str, str]:
    """Return the node's port: the published one in host mode; for the mesh, any that is free."""
    published = given(port.published_port, 0) if port.publish_mode == "host" else 0
    return {"HostPort": str(published) if published else ""}


def port_status(ports: list[PortConfig], bound: dict[str, Any]) -> list[PortConfig]:
    """Return where the ports are on this node; ``bound`` is ``NetworkSettings.Ports``."""
    found = []
    for port in ports:
        for each in (bound.get(_port(port)) or [])[:1]:
            where = replace(port, published_port=int(each["HostPort"]), publish_mode="host")
            found.append(where)
    return found


def at_target(port: PortConfig) -> PortConfig:
    """Return where a container in the host's network listens: on the port that it opens itself."""
    return replace(port, published_port=port.target_port, publish_mode="host")


def _extra_host(entry: str) -> str:
    """Turn a line of a hosts file, ``IP name``, as services have it, into ``name:IP``."""
    address, _, name = entry.partition(" ")
    return f"{name.strip()}:{address}" if name else entry


def _plain(model: Any) -> Any:
    return None if not model else to_builtins(model)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing: the engine's default then holds."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {}, 0)}
