"""What was understood of an inventory, for people and for programs that know Ansible's.

Called by ``swarmops inventory``; pure. Variables are as they are written, templates not rendered;
what a vault hid, and what is named a password, is not shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from swarmops.fleet.inventory import Inventory
from swarmops.fleet.vault import Secret

HIDDEN = "********"
_PASSWORDS = ("password", "_pass", "passphrase", "secret", "token")


class InventoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One host as it will be reached."""

    host: str
    address: str
    connection: str
    user: str
    may_manage: str
    groups: str


def limited(inventory: Inventory, names: Collection[str]) -> Inventory:
    """Return the inventory as if it had these hosts alone, and the groups that they are in."""
    groups = {
        group: tuple(host for host in hosts if host in names)
        for group, hosts in inventory.groups.items()
    }
    return msgspec.structs.replace(
        inventory,
        hosts={name: host for name, host in inventory.hosts.items() if name in names},
        groups={group: left for group, left in groups.items() if left or group == "managers"},
    )


def inventory_rows(inventory: Inventory) -> list[InventoryRow]:
    """Return a row per host."""
    rows = []
    for host in inventory.hosts.values():
        port = f":{host.port}" if host.port else ""
        rows.append(
            InventoryRow(
                host=host.name,
                address=f"{host.address}{port}",
                connection=host.connection + (" (become)" if host.become else ""),
                user=host.user or "",
                may_manage="yes" if inventory.may_manage(host.name) else "no",
                groups=", ".join(host.groups),
            )
        )
    return rows


def inventory_list(inventory: Inventory) -> dict[str, Any]:
    """Return the inventory as Ansible's ``--list`` has it."""
    hostvars = {name: shown(host.vars) for name, host in inventory.hosts.items()}
    groups = {
        name: {"hosts": list(hosts)} for name, hosts in inventory.groups.items() if name != "all"
    }
    return {
        "_meta": {"hostvars": hostvars},
        "all": {"hosts": list(inventory.hosts), "vars": shown(inventory.vars)},
        **groups,
    }


def inventory_graph(inventory: Inventory) -> str:
    """Return the groups with their hosts, as ``ansible-inventory --graph`` draws them."""
    lines = ["@all:"]
    grouped: set[str] = set()
    for name, hosts in inventory.groups.items():
        if name != "all":
            grouped.update(hosts)
            lines.append(f"  |--@{name}:")
            lines += [f"  |  |--{host}" for host in hosts]
    lines += [f"  |--{host}" for host in inventory.hosts if host not in grouped]
    return "\n".join(lines)


def shown(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables with what nobody should read hidden."""
    return {name: _shown(name, value) for name, value in variables.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return shown(value)
    if isinstance(value, list):
        return [_shown(name, item) for item in value]
    hidden = isinstance(value, Secret) or any(word in name.lower() for word in _PASSWORDS)
    return HIDDEN if hidden and value is not None else value
