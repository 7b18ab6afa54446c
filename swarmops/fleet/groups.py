"""Ansible's YAML inventory as groups: who is in which, and which variables win.

Called by ``swarmops.fleet.inventory``. Precedence as in Ansible: all < parent group < child group <
host; groups of one depth by ``ansible_group_priority``, then by name. Two different values for one
variable of one host or group, which Ansible takes the last of, are refused. Renders no template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from swarmops.fleet.document import Document
from swarmops.fleet.entry import Entry, shown
from swarmops.fleet.ranges import expand
from swarmops.fleet.unknown_variable import unknown_variable

SECTIONS = ("hosts", "children", "vars")
_OF_PLAYBOOKS = ("swarm", "nodes", "services", "stacks")
"""What playbooks begin with: such a key that holds no group is a playbook in the wrong place."""
_WITH_PORT = re.compile(r"(?P<name>[^:\[\]]+(?:\[[^\[\]]*\][^:\[\]]*)*):(?P<port>\d+)")
Vars = dict[str, Entry]


class Group(msgspec.Struct):
    """One group while the file is read: its own hosts, child groups and variables."""

    name: str
    hosts: list[str] = []
    children: list[str] = []
    vars: Vars = {}
    depth: int = 0
    """The longest way from ``all``."""


class Groups(msgspec.Struct):
    """All groups and the hosts' own variables, in the file's order."""

    groups: dict[str, Group]
    host_vars: dict[str, Vars]
    group_files: dict[str, Vars] = {}
    """Of each group, what ``group_vars`` says: stronger than any group of the inventory itself."""
    host_files: dict[str, Vars] = {}
    """Of each host, what ``host_vars`` says."""

    def parents(self, host: str) -> list[Group]:
        """Return the groups that a host is in, also by their children; the strongest last."""
        inside = {name for name, group in self.groups.items() if host in group.hosts}
        grown = True
        while grown:
            above = {name for name, group in self.groups.items() if inside & set(group.children)}
            grown = not above <= inside
            inside |= above
        inside.add("all")
        return sorted((self.groups[name] for name in inside), key=_strength)

    def members(self, name: str) -> list[str]:
        """Return the hosts of a group: its own in its order, then its child groups', as Ansible.

        Those of ``all`` are in the file's order.
        """
        if name == "all":
            return list(self.host_vars)
        level, names = [name], [name]
        while level:
            below = dict.fromkeys(child for group in level for child in self.groups[group].children)
            level = [child for child in below if child not in names]
            names += level
        return list(dict.fromkeys(host for group in names for host in self.groups[group].hosts))

    def vars_of(self, host: str) -> Vars:
        """Return a host's variables, the stronger over the weaker."""
        merged: Vars = {}
        parents = self.parents(host)
        for group in parents:
            merged |= group.vars
        for group in parents:
            merged |= self.group_files.get(group.name, {})
        merged |= self.host_vars[host] | self.host_files.get(host, {})
        merged.pop("ansible_group_priority", None)
        return merged

    def all_vars(self) -> Vars:
        """Return the variables of ``all``."""
        return self.groups["all"].vars | self.group_files.get("all", {})


def _strength(group: Group) -> tuple[int, int, str]:
    priority = group.vars.get("ansible_group_priority")
    return (group.depth, priority.integer() if priority else 1, group.name)


def read_groups(documents: Document | Sequence[Document], known_vars: frozenset[str]) -> Groups:
    """Read inventories in YAML's shape as one. Raises InputError with the line of what is wrong.

    ``known_vars`` are the variables that may begin with ``swarmops_``.
    """
    reader = _Reader(known_vars)
    for document in [documents] if isinstance(documents, Document) else documents:
        top = Entry.top(document)
        if not isinstance(top.value, dict):
            top.expected("a mapping that begins with 'all:'")
        for name, entry in top.mapping():
            if name in SECTIONS:
                entry.fail(f"'{name}' must be inside a group: put it under 'all:'")
            if name in _OF_PLAYBOOKS and not _is_group(entry.value):
                entry.fail(
                    f"'{name}' belongs in a playbook, and this is read as an inventory: give the"
                    " playbook with -p, or as swarmops_playbook in an inventory's vars"
                )
            reader.group(name, entry)
        _set_depths(reader.result, top)
    _leave_ungrouped(reader.result)
    return reader.result


def _is_group(value: Any) -> bool:
    return not value or (isinstance(value, dict) and not value.keys().isdisjoint(SECTIONS))


def _leave_ungrouped(groups: Groups) -> None:
    """Take hosts that some group has out of ``ungrouped``, where INI puts what stands first."""
    if "ungrouped" in groups.groups:
        inside = {
            host
            for name, group in groups.groups.items()
            if name not in {"all", "ungrouped"}
            for host in group.hosts
        }
        ungrouped = groups.groups["ungrouped"]
        ungrouped.hosts = [host for host in ungrouped.hosts if host not in inside]


class _Reader:
    def __init__(self, known_vars: frozenset[str]) -> None:
        self.known_vars = known_vars
        self.result = Groups(groups={"all": Group(name="all")}, host_vars={})

    def group(self, name: str, entry: Entry) -> None:
        body = entry.section(SECTIONS)
        group = self.result.groups.setdefault(name, Group(name=name))
        if hosts := body.get("hosts"):
            self.hosts(group, hosts)
        if children := body.get("children"):
            for child, child_entry in _named(children, "group1").mapping():
                if child not in group.children:
                    group.children.append(child)
                self.group(child, child_entry)
        if variables := body.get("vars"):
            for key, value in variables.mapping():
                self.assign(group.vars, key, value, f"group '{name}'")

    def hosts(self, group: Group, hosts: Entry) -> None:
        here: dict[str, str] = {}
        for pattern, entry in _named(hosts, "host1").mapping():
            found = _WITH_PORT.fullmatch(pattern)
            try:
                names = expand(found["name"] if found else pattern)
            except ValueError as error:
                entry.fail(str(error))
            for name in names:
                if name in here:
                    entry.fail(f"host '{name}' is here twice (first in {here[name]}): keep one")
                here[name] = entry.where
                own = self.result.host_vars.setdefault(name, {})
                if name not in group.hosts:
                    group.hosts.append(name)
                if found:
                    port = msgspec.structs.replace(entry, value=int(found["port"]))
                    self.assign(own, "ansible_port", port, f"host '{name}'")
                for key, value in entry.mapping():
                    self.assign(own, key, value, f"host '{name}'")

    def assign(self, target: Vars, key: str, value: Entry, owner: str) -> None:
        if key.startswith("swarmops_") and key not in self.known_vars:
            value.fail(unknown_variable(key, self.known_vars))
        before = target.get(key)
        if before is not None and before.value != value.value:
            value.fail(
                f"{owner} has two values for {key}: {shown(before.value)} ({before.where}) and"
                f" {shown(value.value)}: keep one"
            )
        target[key] = value


def _named(entry: Entry, example: str) -> Entry:
    """Return a mapping of names; a single name stands for itself, a list is refused."""
    if isinstance(entry.value, str):
        document = Document(
            entry.document.name, None, {(): entry.document.lines.get(entry.path, 1)}
        )
        return Entry(document, entry.path, {entry.value: None})
    if isinstance(entry.value, list):
        entry.fail(f"{entry.key} must be a mapping: write '{example}:' instead of '- {example}'")
    return entry


def _set_depths(groups: Groups, top: Entry) -> None:
    """Give each group its longest distance from ``all``; refuse a group that holds itself."""
    above: dict[str, list[str]] = {name: [] for name in groups.groups}
    for group in groups.groups.values():
        for child in group.children:
            above[child].append(group.name)
    depths: dict[str, int] = {}

    def depth(name: str, below: tuple[str, ...]) -> int:
        if name in below or (name == "all" and below and above["all"]):
            circle = " → ".join([*below[below.index(name) :], name] if name in below else below)
            top.fail(f"group '{name}' is its own child ({circle}): remove one of these children")
        if name not in depths:
            found = [depth(parent, (*below, name)) for parent in above[name] if parent != "all"]
            depths[name] = 0 if name == "all" else 1 + max(found, default=0)
        return depths[name]

    if above["all"]:
        top.fail("group 'all' can't be a child: every group is in it")
    for name, group in groups.groups.items():
        group.depth = depth(name, ())


def plain(variables: Vars) -> dict[str, Any]:
    """Return the variables' values as they are written."""
    return {name: entry.value for name, entry in variables.items()}
