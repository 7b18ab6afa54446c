"""A playbook's part about hosts: roles, availability, labels, zones, and how many managers.

Called by ``playbook``; pure. Hosts that may be no managers are the inventory's to say.
"""

from __future__ import annotations

from typing import Any

import msgspec

from swarmops.errors import InputError
from swarmops.fleet.compose_fields import Table, count, fields
from swarmops.fleet.entry import Entry
from swarmops.fleet.inventory import MANAGERS, Inventory
from swarmops.fleet.patterns import match_hosts
from swarmops.fleet.templates import Scope
from swarmops.model.node import Availability, Role

_MANAGERS_MAX = 7
_USUAL_MANAGERS = 3


class NodeWish(msgspec.Struct, frozen=True, kw_only=True):
    """What the playbook says of one host; what it doesn't say is None and stays as it is."""

    role: Role | None = None
    availability: Availability | None = None
    labels: dict[str, str | None] = {}
    """A label whose value is None is taken away."""


def _labels(entry: Entry) -> dict[str, str | None]:
    return {key: None if item.value is None else item.scalar() for key, item in entry.mapping()}


_NODE: Table = {
    "role": ("role", lambda entry: Role(entry.choice("manager", "worker"))),
    "availability": (
        "availability",
        lambda entry: Availability(entry.choice("active", "pause", "drain")),
    ),
    "labels": ("labels", _labels),
}


def read_nodes(section: Entry | None, inventory: Inventory) -> dict[str, NodeWish]:
    """Return the wishes by host; a host's own entry is stronger than a pattern's."""
    if section is None:
        return {}
    said: dict[str, dict[str, Any]] = {}
    entries = sorted(section.mapping(), key=lambda pair: pair[0] in inventory.hosts)
    for pattern, entry in entries:
        wish = fields(entry, _NODE)
        try:
            hosts = match_hosts(pattern, inventory)
        except InputError as error:
            entry.fail(f"nodes: {error}")
        for host in hosts:
            before = said.setdefault(host, {})
            labels = before.get("labels", {}) | wish.get("labels", {})
            before |= wish | {"labels": labels}
            if before.get("role") is Role.MANAGER and not inventory.may_manage(host):
                entry.fail(
                    f"'{host}' can't be a manager: the inventory's groups make it a worker: put it"
                    f" into group '{MANAGERS}', or take role: manager away"
                )
    return {host: NodeWish(**said[host]) for host in inventory.hosts if host in said}


def count_managers(
    entry: Entry | None, nodes: dict[str, NodeWish], top: Entry, inventory: Inventory
) -> tuple[int, tuple[str, ...]]:
    """Return how many managers there shall be, and the warnings about that number."""
    place = entry or top
    roles = {host: wish.role for host, wish in nodes.items()}
    fit = [h for h in inventory.manager_order() if roles.get(h) is not Role.WORKER]
    forced = [host for host, role in roles.items() if role is Role.MANAGER]
    if not fit:
        place.fail(
            "no host may be a manager, and a swarm needs one: take role: worker from one, or put"
            f" one into the inventory's group '{MANAGERS}'"
        )
    wanted = count(entry) if entry else _usual(inventory, len(fit), len(forced))
    if wanted == 0:
        place.fail("swarm.managers is 0, which leaves no manager: ask for 1, 3 or 5")
    if len(forced) > wanted:
        place.fail(
            f"swarm.managers is {wanted}, but {len(forced)} hosts have role: manager"
            f" ({', '.join(forced)}): raise managers, or take the role from some"
        )
    warnings = []
    if wanted > len(fit):
        warnings.append(
            f"{place.where}: {wanted} managers are wanted, but only {len(fit)}"
            f" {'host' if len(fit) == 1 else 'hosts'} may be: there will be {len(fit)}"
        )
    number = min(wanted, len(fit))
    if number % 2 == 0:
        warnings.append(
            f"{place.where}: an even number of managers ({number}) bears no more losses than"
            f" {number - 1}: ask for {number - 1} or {number + 1}"
        )
    if number > _MANAGERS_MAX:
        warnings.append(
            f"{place.where}: {number} managers make every write slower and not much safer: ask for"
            " 3, 5 or 7"
        )
    return number, tuple(warnings)


def _usual(inventory: Inventory, fit: int, forced: int) -> int:
    """Return the number when none is given: all of group ``managers``, else 3, or 1 of few hosts.

    Never an even one: that would cost a machine and add no safety.
    """
    most = fit if MANAGERS in inventory.groups else min(fit, _USUAL_MANAGERS)
    return max(forced, most if most % 2 else most - 1)


def zones_of(key: str, nodes: dict[str, NodeWish], scope: Scope) -> dict[str, str]:
    """Return the hosts' zones: a node label of the playbook, else a variable of the inventory."""
    zones = {}
    for host, variables in scope["hostvars"].items():
        value = nodes[host].labels.get(key) if host in nodes else None
        if value is None and key in variables:
            value = str(variables[key])
        if value is not None:
            zones[host] = value
    return zones
