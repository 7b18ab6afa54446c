"""The inventory: which hosts there are, in which groups, with which variables.

Called by the commands, the planner and apply. Where its parts stand is ``inventory_sources``'s.
The formats' reference for users is docs/inventory.md.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.groups import Groups, Vars, plain
from swarmops.fleet.host import OUR_VARS, Host, build_host
from swarmops.fleet.inventory_sources import read_sources
from swarmops.fleet.templates import Scope

MANAGERS = "managers"
WORKERS = "workers"


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """All hosts, by name, in the files' order. Immutable."""

    path: str
    """As the user gave it; errors and advice show it so."""
    hosts: dict[str, Host]
    groups: dict[str, tuple[str, ...]]
    """Host names of each group, those of its child groups among them; ``all`` has every host."""
    vars: dict[str, Any] = {}
    """Variables of ``all`` as they are written."""
    origins: dict[str, str] = {}
    """``file:line`` of each variable of ``all``."""
    folder: str = ""
    """Absolute path of the folder that it is in, or is."""
    playbooks: tuple[str, ...] = ()
    """``swarmops_playbook``, relative paths from the inventory's folder; later over earlier."""
    warnings: tuple[str, ...] = ()

    def may_manage(self, host: str) -> bool:
        """Say whether the groups let a host be a manager.

        A group ``managers`` names all that may; without it, all but those in ``workers`` may.
        """
        if MANAGERS in self.groups:
            return host in self.groups[MANAGERS]
        return host not in self.groups.get(WORKERS, ())

    def manager_order(self) -> list[str]:
        """Return the hosts that may be managers: as the group lists them, else as the file does."""
        order = self.groups.get(MANAGERS) or tuple(self.hosts)
        return [host for host in order if self.may_manage(host)]


def read_inventory(path: str | Path) -> Inventory:
    """Read an inventory file. Raises InputError: one sentence with the line, cause and cure."""
    groups, warnings = read_sources(Path(path), OUR_VARS)
    if not groups.groups["all"].vars and not groups.host_vars and len(groups.groups) == 1:
        raise InputError(f"{path}: the inventory is empty: name hosts under 'all: hosts:'")
    if not groups.host_vars:
        raise InputError(f"{path}: the inventory has no hosts: name one under 'all: hosts:'")
    return build_inventory(str(path), groups, warnings, is_folder=Path(path).is_dir())


def build_inventory(
    path: str, groups: Groups, warnings: Sequence[str] = (), *, is_folder: bool = False
) -> Inventory:
    """Return the inventory that the groups make: pure. Raises InputError for a wrong value."""
    folder = inventory_dir(path, is_folder=is_folder)
    beside = Path(path) if is_folder else Path(path).parent
    members = {name: tuple(groups.members(name)) for name in groups.groups}
    magic: dict[str, Any] = {
        "groups": {name: list(hosts) for name, hosts in members.items()},
        "inventory_dir": folder,
        "inventory_file": os.path.abspath(path),  # noqa: PTH100 - the same
    }
    variables = {host: groups.vars_of(host) for host in groups.host_vars}
    inside = {
        name: tuple(group.name for group in groups.parents(name) if group.name != "all")
        for name in groups.host_vars
    }
    # Each host's variables may be over the others': all are known before any is rendered.
    hostvars: dict[str, Scope] = {}
    magic["hostvars"] = hostvars
    for name, own in variables.items():
        hostvars[name] = _scope(own, magic | host_magic(name, inside[name]))
    hosts = {
        name: build_host(name, inside[name], own, hostvars[name]) for name, own in variables.items()
    }
    _refuse_twins(hosts)
    all_vars = groups.all_vars()
    return Inventory(
        path=path,
        hosts=hosts,
        groups=members,
        vars=plain(all_vars),
        origins={name: entry.where for name, entry in all_vars.items()},
        playbooks=_playbooks(groups, _scope(all_vars, magic), beside),
        folder=folder,
        warnings=(*warnings, *_twice(path, members, hosts), *_without_effect(path, hosts)),
    )


def _twice(path: str, members: Collection[str], hosts: Collection[str]) -> list[str]:
    return [
        f"{path}: '{name}' is a group and a host: give one of them another name"
        for name in members
        if name in hosts
    ]


def _without_effect(path: str, hosts: Mapping[str, Host]) -> list[str]:
    """Name in one sentence what of ssh's own options counts for nobody here."""
    ignored = dict.fromkeys(
        option
        for host in hosts.values()
        if host.connection == "ssh"
        for option in host.ssh_args.ignored
    )
    if not ignored:
        return []
    options = ", ".join(ignored)
    said = (
        f"{path}: {options} in ansible_ssh_common_args, _extra_args or _args: no effect here,"
        " since swarmops speaks SSH itself; docs/reference/inventory.md has the options that count"
    )
    return [said]


def inventory_dir(path: str, *, is_folder: bool) -> str:
    """Return the absolute path of the folder that an inventory is in, or is."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - keep symlinks
    return str(absolute if is_folder else absolute.parent)


def host_magic(name: str, inside: tuple[str, ...]) -> dict[str, Any]:
    """Return the variables that every host has by being in the inventory."""
    return {
        "inventory_hostname": name,
        "inventory_hostname_short": name.split(".", maxsplit=1)[0],
        "group_names": sorted(inside),
    }


def playbook_scope(
    inventory: Inventory,
    own: Mapping[str, Any] | None = None,
    playbook: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> Scope:
    """Return what a playbook's templates see: ``all``'s vars, groups, hostvars, inventory_dir.

    ``own`` are the playbook's variables, which are stronger than the inventory's, ``defaults`` its
    weaker ones.
    """
    own, defaults = own or {}, defaults or {}
    base: dict[str, Any] = {
        "groups": {name: list(hosts) for name, hosts in inventory.groups.items()},
        "inventory_dir": inventory.folder,
        "inventory_file": os.path.abspath(inventory.path),  # noqa: PTH100 - the same
    }
    hostvars: dict[str, Scope] = {}
    base["hostvars"] = hostvars
    for host in inventory.hosts.values():
        hostvars[host.name] = Scope(
            {**host.vars, **base, **host_magic(host.name, host.groups)},
            lambda name, host=host: host.origins.get(name, inventory.path),  # type: ignore[misc]
        )
    return Scope(
        {**defaults, **inventory.vars, **own, **base},
        lambda name: (
            playbook
            if name in own or (name in defaults and name not in inventory.vars)
            else inventory.origins.get(name, inventory.path)
        ),
    )


def _scope(variables: Vars, magic: dict[str, Any]) -> Scope:
    def where(name: str) -> str:
        return variables[name].where if name in variables else "the inventory"

    return Scope({**plain(variables), **magic}, where)


def _playbooks(groups: Groups, scope: Scope, folder: Path) -> tuple[str, ...]:
    elsewhere = [group.vars for group in groups.groups.values() if group.name != "all"]
    elsewhere += [own for name, own in groups.group_files.items() if name != "all"]
    for own in (*elsewhere, *groups.host_vars.values(), *groups.host_files.values()):
        if "swarmops_playbook" in own:
            own["swarmops_playbook"].fail(
                "swarmops_playbook is for the whole inventory: move it to all.vars"
            )
    entry = groups.all_vars().get("swarmops_playbook")
    if entry is None or entry.value is None:
        return ()
    entry = msgspec.structs.replace(entry, value=scope["swarmops_playbook"])
    names = (
        [one.name() for one in entry.items()] if isinstance(entry.value, list) else [entry.name()]
    )
    if not names:
        entry.fail("swarmops_playbook is an empty list: name a playbook in it, or leave it out")
    return tuple(os.path.normpath(folder / Path(name).expanduser()) for name in names)


def _refuse_twins(hosts: dict[str, Host]) -> None:
    """Refuse two names for one node: apply would do everything to it twice."""
    seen: dict[tuple[str, ...], Host] = {}
    for host in hosts.values():
        if host.connection == "local":
            keys = [("data directory", host.data_dir), ("socket", host.socket)]
            cure = "give each its own swarmops_data_dir and swarmops_socket"
        else:
            keys = [("address", f"{host.address}:{host.port or 22}")]
            cure = "remove one of them, or correct its ansible_host"
        for what, value in keys:
            twin = seen.setdefault((host.connection, what, value), host)
            if twin is not host:
                place = host.origins.get("ansible_host") or twin.origins.get("ansible_host")
                raise InputError(
                    f"{place + ': ' if place else ''}hosts '{twin.name}' and '{host.name}' have"
                    f" the same {what} {value}: {cure}"
                )
