"""The playbook: what the swarm should look like, as data.

Called by the commands, the planner and apply; ``read_playbook`` reads one file and nothing else.
Jinja2 is rendered value by value after the YAML is read, as Ansible does, so a value can't break
the file's structure. The format's reference for users is docs/playbook.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.compose import read_service
from swarmops.fleet.compose_env import with_env_files
from swarmops.fleet.compose_extends import extended
from swarmops.fleet.compose_fields import Table, count, duration, fields
from swarmops.fleet.compose_merge import joined
from swarmops.fleet.compose_ports import refuse_taken
from swarmops.fleet.document import Document, read_document
from swarmops.fleet.entry import Entry
from swarmops.fleet.hooks import Hooks, read_hooks
from swarmops.fleet.includes import read_playbooks, variables_of, with_includes
from swarmops.fleet.inventory import Inventory, playbook_scope
from swarmops.fleet.materials import Material, read_materials
from swarmops.fleet.networks import read_networks
from swarmops.fleet.nodes import NodeWish, count_managers, read_nodes, zones_of
from swarmops.fleet.stacks import Stack, read_stacks
from swarmops.fleet.templates import Scope, rendered
from swarmops.model import defaults
from swarmops.model.network import NetworkCreate
from swarmops.model.service import ServiceSpec

DEFAULT_BACKEND = "native"
ZONE = "zone"
KEYS = (
    *("swarm", "nodes", "services", "stacks", "secrets", "configs", "networks"),
    *("hooks", "prune", "vars", "defaults", "include"),
)

PROCESS_IMAGE = "host"
"""The image of services whose tasks are processes, which only our own runtime has."""


class Playbook(msgspec.Struct, frozen=True, kw_only=True):
    """What the swarm should look like. Immutable."""

    paths: tuple[str, ...]
    """As the user gave them, usually one."""
    name: str
    """``swarm.name``, else the first file's name without its suffix; services are labelled so."""
    backend: str = DEFAULT_BACKEND
    managers: int
    """How many are wanted, at most as many as hosts may be managers."""
    says_managers: bool = True
    """False: it has no part ``swarm``, so the managers of a swarm that is there stay."""
    nodes: dict[str, NodeWish] = {}
    """By host name; patterns and groups are resolved."""
    services: dict[str, ServiceSpec] = {}
    materials: tuple[Material, ...] = ()
    """Secrets and configs that it keeps, with their content."""
    networks: dict[str, NetworkCreate] = {}
    hooks: Hooks = Hooks()
    prune: bool = False
    """Services that the playbook made once and has no more are removed."""
    zones: dict[str, str] = {}
    """Host → what managers are spread over, where playbook or inventory say it."""
    spread_managers_by: str = ZONE
    """The node label, or variable, that says it."""
    replace_dead_after_s: float | None = None
    """A manager that is dead for so long is replaced; None: only a person gives one up."""
    warnings: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """What errors and advice call it."""
        return ", ".join(self.paths)

    @property
    def folder(self) -> Path:
        """What its relative paths begin at, and where its hooks run: the first file's folder."""
        path = Path(self.paths[0]).absolute()
        return path if path.is_dir() else path.parent

    @property
    def lists(self) -> tuple[str, ...]:
        """What a manager must be asked for besides nodes and services, to plan this."""
        return ("secrets", "configs", "networks") if self.materials or self.networks else ()

    def wish(self, host: str) -> NodeWish:
        """Return what is said of a host, an empty wish if nothing is."""
        return self.nodes.get(host, NodeWish())


def read_playbook(paths: Sequence[Path], inventory: Inventory) -> Playbook:
    """Read a playbook: a file, or several as one, each a file or a folder of them.

    Raises InputError: one sentence with the line, cause and cure.
    """
    return build_playbook(read_playbooks(paths), inventory, paths)


def playbook_paths(inventory: Inventory, chosen: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the playbooks to use: the chosen ones, else the inventory's. Raises InputError."""
    if chosen:
        return tuple(chosen)
    if not inventory.playbooks:
        raise InputError(
            f"{inventory.path} names no playbook: set swarmops_playbook under all.vars, or give"
            " one with -p"
        )
    return tuple(map(Path, inventory.playbooks))


def build_playbook(
    document: Document, inventory: Inventory, paths: Sequence[Path] = ()
) -> Playbook:
    """Return the playbook that a document is. Raises InputError.

    ``paths`` are what the user named, if that is not the document's name. Reads the files that it
    names: those it includes, Compose files, the content of secrets and configs.
    """
    if isinstance(document.value, list):
        Entry.top(document).fail(
            "a playbook is a mapping with swarm, nodes and services, not Ansible's list of plays"
        )
    _refuse_others(Entry.top(document))
    document, variables = variables_of(joined([with_includes(document)]), "vars")
    document, weaker = variables_of(document, "defaults")
    scope = playbook_scope(inventory, variables, document.name, weaker)
    document = _with_extends(rendered(document, scope))
    top = Entry.top(document).section(KEYS)
    swarm = fields(_part(top, "swarm"), SWARM)
    nodes = read_nodes(top.get("nodes"), inventory)
    managers, warnings = count_managers(_part(top, "swarm").get("managers"), nodes, top, inventory)
    backend = swarm.get("backend", _backend(inventory))
    contents = _contents(top, backend, Path(document.name).parent, scope)
    prune = entry.boolean() if (entry := top.get("prune")) else False
    spread_by = swarm.get("spread_managers_by", ZONE)
    named = tuple(paths) or (Path(document.name),)
    return Playbook(
        paths=tuple(map(str, named)),
        name=swarm.get("name", named[0].stem),
        backend=backend,
        managers=managers,
        says_managers=top.get("swarm") is not None,
        nodes=nodes,
        services=contents.services,
        materials=contents.materials,
        networks=contents.networks,
        hooks=read_hooks(entry, inventory) if (entry := top.get("hooks")) else Hooks(),
        prune=prune,
        zones=zones_of(spread_by, nodes, scope),
        spread_managers_by=spread_by,
        replace_dead_after_s=swarm.get("replace_dead_after_s"),
        warnings=inventory.warnings + warnings + contents.warnings,
    )


def _with_extends(document: Document) -> Document:
    """Return the document with ``extends`` and ``env_file`` of its services carried out."""
    folder = Path(document.name).parent
    extends = extended(document, folder, lambda path: read_document(path, "Compose file"))
    return with_env_files(extends, folder, os.environ)


def _refuse_others(top: Entry) -> None:
    """Raise InputError for a file of another kind, which would be a riddle of unknown keys."""
    found = top.value.keys() if isinstance(top.value, dict) else set()
    if "all" in found:
        top.fail("this is an inventory, not a playbook: give the playbook with -p")
    if found & {"version", "volumes"} and not found & {"swarm", "nodes", "stacks"}:
        top.fail(
            "this is a Compose file, not a playbook: name it in one, as in"
            f" 'stacks: {{shop: {top.document.name}}}'"
        )


def _contents(top: Entry, backend: str, folder: Path, scope: Scope) -> Stack:
    """Return what the swarm shall run, the stacks' part of it too, and what that needs."""
    found = Stack(networks=_wanted_networks(top), materials=_kept(top, folder, scope))
    if entry := top.get("services"):
        for name, body in entry.mapping():
            if not isinstance(body.value, dict):
                body.expected("a mapping with an image")
            spec, more = read_service(name, body)
            refuse_taken(body.get("ports") or body, {name: spec}, found.services)
            found = _with(found, Stack(services={name: spec}, warnings=more))
            _refuse_processes(body, backend, found)
    if entry := top.get("stacks"):
        for name, stack in read_stacks(entry, folder, scope):
            if twice := sorted(stack.services.keys() & found.services.keys()):
                entry.fail(f"stack '{name}' and services both have '{twice[0]}': rename one")
            refuse_taken(entry, stack.services, found.services)
            _refuse_processes(entry, backend, stack)
            found = _with(found, stack)
    return found


def _refuse_processes(entry: Entry, backend: str, contents: Stack) -> None:
    for name, spec in contents.services.items():
        if backend == "docker" and defaults.image(defaults.task_spec(spec)) == PROCESS_IMAGE:
            entry.fail(
                f"service '{name}' has image '{PROCESS_IMAGE}', a process of the host, which"
                " Docker's swarm mode can't run: give it a container image, or use the native"
                " backend"
            )


def _with(one: Stack, other: Stack) -> Stack:
    return Stack(
        services={**one.services, **other.services},
        networks={**one.networks, **other.networks},
        materials=(*one.materials, *other.materials),
        warnings=(*one.warnings, *other.warnings),
    )


def _kept(top: Entry, folder: Path, scope: Scope) -> tuple[Material, ...]:
    found: list[Material] = []
    for kind in ("secret", "config"):
        if entry := top.get(f"{kind}s"):
            found += read_materials(kind, entry, folder, scope)
    return tuple(found)


def _wanted_networks(top: Entry) -> dict[str, NetworkCreate]:
    section = top.get("networks")
    named = read_networks(section) if section is not None else ()
    return {name: wanted for name, wanted in named if wanted is not None}


SWARM: Table = {
    "name": ("name", Entry.name),
    "backend": ("backend", Entry.name),
    "managers": ("managers", count),
    "spread_managers_by": ("spread_managers_by", Entry.name),
    "replace_dead_after": ("replace_dead_after_s", lambda entry: duration(entry) / 1e9),
}


def _part(top: Entry, key: str) -> Entry:
    return top.get(key) or Entry(top.document, (*top.path, key), {})


def _backend(inventory: Inventory) -> str:
    """Return the hosts' backend where the playbook names none; they must agree."""
    named = {host.backend for host in inventory.hosts.values() if host.backend}
    if len(named) > 1:
        raise InputError(
            f"{inventory.path}: swarmops_backend is {' on some hosts and '.join(sorted(named))} on"
            " others: a swarm has one backend"
        )
    return named.pop() if named else DEFAULT_BACKEND
