"""Stacks: Compose files as they are, deployed as ``docker stack deploy`` does.

Called by the playbook's reader. Names get the stack's name before them; a label tells Docker's own
commands (``docker stack ls``) what belongs together. Reads the files that the playbook names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from swarmops.fleet.compose import read_service
from swarmops.fleet.compose_fields import Table, fields, pairs
from swarmops.fleet.compose_ports import refuse_taken
from swarmops.fleet.document import Document
from swarmops.fleet.entry import Entry
from swarmops.fleet.materials import Material, read_materials
from swarmops.fleet.networks import read_networks
from swarmops.fleet.stack_files import stack_document
from swarmops.fleet.templates import Scope
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.network import NetworkCreate
from swarmops.model.service import (
    Driver,
    Mount,
    NetworkAttachmentConfig,
    ServiceSpec,
    VolumeOptions,
)

NAMESPACE_LABEL = "com.docker.stack.namespace"
IMAGE_LABEL = "com.docker.stack.image"
_PROCESS_IMAGE = "host"


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What a stack adds to a playbook, under the names that it has in the swarm."""

    services: dict[str, ServiceSpec] = {}
    networks: dict[str, NetworkCreate] = {}
    materials: tuple[Material, ...] = ()
    warnings: tuple[str, ...] = ()


class _Names(msgspec.Struct, frozen=True):
    """What a stack's own names are called in the swarm."""

    stack: str
    networks: dict[str, tuple[str, NetworkCreate | None]]
    volumes: dict[str, _Volume]
    materials: dict[tuple[str, str], str]


class _Volume(msgspec.Struct, frozen=True):
    name: str
    driver: Driver | None = None
    labels: dict[str, str] = {}


def read_stacks(section: Entry, folder: Path, scope: Scope) -> Iterator[tuple[str, Stack]]:
    """Yield each stack by name; ``folder`` is what relative paths begin at. Raises InputError."""
    for name, entry in section.mapping():
        document, home, warnings = stack_document(entry, folder)
        stack = build_stack(name, document, home, scope)
        yield name, replace(stack, warnings=(*warnings, *stack.warnings))


def build_stack(name: str, document: Document, folder: Path, scope: Scope) -> Stack:
    """Return the stack that a Compose file is. Reads the content of its secrets and configs."""
    top = Entry.top(document)
    prefix = f"{name}_"
    networks = _networks(top, prefix)
    materials, known = _materials(top, prefix, folder, scope)
    names = _Names(name, networks, _volumes(top, name), known)
    services: dict[str, ServiceSpec] = {}
    warnings: tuple[str, ...] = ()
    joins_default = False
    for local, entry in (top.get("services") or _empty(top, "services")).mapping():
        spec, more = read_service(local, entry)
        warnings += more
        if "networks" not in entry.value and not _is_process(spec):
            joins_default = True
            spec = _attached(spec, [NetworkAttachmentConfig(target="default", aliases=[local])])
        refuse_taken(entry.get("ports") or entry, {local: spec}, services)
        services[prefix + local] = _placed(spec, entry, names)
    if joins_default and "default" not in networks:
        wanted = NetworkCreate(name=f"{prefix}default", driver="overlay")
        networks["default"] = (f"{prefix}default", wanted)
    labelled = {
        full: replace(wanted, labels={**(given(wanted.labels, {}) or {}), NAMESPACE_LABEL: name})
        for key, (full, wanted) in networks.items()
        if wanted is not None and (key != "default" or joins_default or _uses(services, full))
    }
    return Stack(
        services=services, networks=labelled, materials=tuple(materials), warnings=warnings
    )


def _empty(top: Entry, key: str) -> Entry:
    return Entry(top.document, (*top.path, key), {})


def _networks(top: Entry, prefix: str) -> dict[str, tuple[str, NetworkCreate | None]]:
    section = top.get("networks") or _empty(top, "networks")
    names = [name for name, _ in section.mapping()]
    return dict(zip(names, read_networks(section, prefix), strict=True))


def _volumes(top: Entry, stack: str) -> dict[str, _Volume]:
    table: Table = {
        "driver": ("name", Entry.name),
        "driver_opts": ("options", pairs),
    }
    found, prefix = {}, f"{stack}_"
    for name, entry in (top.get("volumes") or _empty(top, "volumes")).mapping():
        if not entry.value:
            found[name] = _Volume(prefix + name, labels={NAMESPACE_LABEL: stack})
            continue
        driver = fields(entry, table, also=["external", "name", "labels"])
        named = entry.get("name")
        external = entry.get("external")
        own = named.name() if named else prefix + name
        if external is not None and external.boolean():
            found[name] = _Volume(named.name() if named else name)
            continue
        labels = pairs(said) if (said := entry.get("labels")) else {}
        found[name] = _Volume(
            own,
            Driver(**{"name": "local", **driver}) if driver else None,
            {**labels, NAMESPACE_LABEL: stack},
        )
    return found


def _materials(
    top: Entry, prefix: str, folder: Path, scope: Scope
) -> tuple[list[Material], dict[tuple[str, str], str]]:
    """Return what the stack keeps, and by (kind, name here) what services refer to."""
    found: list[Material] = []
    names: dict[tuple[str, str], str] = {}
    for kind in ("secret", "config"):
        section = top.get(f"{kind}s") or _empty(top, f"{kind}s")
        for local, entry in section.mapping():
            named = entry.get("name") if isinstance(entry.value, dict) else None
            external = entry.get("external") if isinstance(entry.value, dict) else None
            is_external = external is not None and external.boolean()
            own = named.name() if named else (local if is_external else prefix + local)
            names[kind, local] = own
        found += [
            replace(material, name=names[kind, material.name])
            for material in read_materials(kind, section, folder, scope)
        ]
    return found, names


def _is_process(spec: ServiceSpec) -> bool:
    return defaults.image(defaults.task_spec(spec)) == _PROCESS_IMAGE


def _attached(spec: ServiceSpec, networks: list[NetworkAttachmentConfig]) -> ServiceSpec:
    return replace(spec, task_template=replace(defaults.task_spec(spec), networks=networks))


def _uses(services: Mapping[str, ServiceSpec], network: str) -> bool:
    return any(
        attachment.target == network
        for spec in services.values()
        for attachment in given(defaults.task_spec(spec).networks, [])
    )


def _placed(spec: ServiceSpec, entry: Entry, names: _Names) -> ServiceSpec:
    """Return the service under the stack's names, with its labels."""
    stack = names.stack
    task = defaults.task_spec(spec)
    container = defaults.container_spec(task)
    changes: dict[str, Any] = {
        "labels": {**(given(container.labels, {}) or {}), NAMESPACE_LABEL: stack}
    }
    if secrets := given(container.secrets, []):
        changes["secrets"] = [
            replace(one, secret_name=_known(entry, names.materials, "secret", one.secret_name))
            for one in secrets
        ]
    if configs := given(container.configs, []):
        changes["configs"] = [
            replace(one, config_name=_known(entry, names.materials, "config", one.config_name))
            for one in configs
        ]
    if mounts := given(container.mounts, []):
        changes["mounts"] = [_mounted(one, entry, names.volumes) for one in mounts]
    more: dict[str, Any] = {"container_spec": replace(container, **changes)}
    if attachments := given(task.networks, []):
        known = {"default": f"{stack}_default"}
        known |= {local: full for local, (full, _) in names.networks.items()}
        for one in attachments:
            if one.target not in known:
                entry.fail(f"network '{one.target}' is not under networks: add it there")
        more["networks"] = [replace(one, target=known[str(one.target)]) for one in attachments]
    labels = {
        **(given(spec.labels, {}) or {}),
        IMAGE_LABEL: defaults.image(task),
        NAMESPACE_LABEL: stack,
    }
    return replace(
        spec, name=f"{stack}_{spec.name}", labels=labels, task_template=replace(task, **more)
    )


def _known(entry: Entry, names: Mapping[tuple[str, str], str], kind: str, name: str) -> str:
    if (kind, name) not in names:
        entry.fail(f"{kind} '{name}' is not under {kind}s: add it there")
    return names[kind, name]


def _mounted(mount: Mount, entry: Entry, volumes: Mapping[str, _Volume]) -> Mount:
    source = given(mount.source, "")
    if given(mount.type, "") != "volume" or not source:
        return mount
    if source not in volumes:
        entry.fail(f"volume '{source}' is not under volumes: add it there")
    volume = volumes[source]
    if volume.driver is None and not volume.labels:
        return replace(mount, source=volume.name)
    options = given(mount.volume_options, None) or VolumeOptions()
    if volume.driver is not None:
        options = replace(options, driver_config=volume.driver)
    if volume.labels:
        options = replace(options, labels=volume.labels)
    return replace(mount, source=volume.name, volume_options=options)
