"""Which backend a fleet is on, also where its playbook can't be read any more.

Called by destroy, status and the one-off commands, which must work on a fleet whose playbook is
broken or gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from swarmops.backends.base import Backend, load_backend
from swarmops.errors import InputError
from swarmops.fleet.compose_merge import joined
from swarmops.fleet.current import Choice
from swarmops.fleet.host import Host
from swarmops.fleet.includes import read_playbooks, variables_of, with_includes
from swarmops.fleet.inventory import Inventory, playbook_scope, read_inventory
from swarmops.fleet.playbook import DEFAULT_BACKEND, playbook_paths


def backend_name(inventory: Inventory, playbooks: Sequence[Path]) -> str:
    """Return the playbook's backend, else the hosts', else the default one."""
    with contextlib.suppress(InputError):
        if said := _said(inventory, playbooks):
            return said
    named = {host.backend for host in inventory.hosts.values() if host.backend}
    return named.pop() if len(named) == 1 else DEFAULT_BACKEND


def _said(inventory: Inventory, playbooks: Sequence[Path]) -> str:
    """Return the playbook's ``swarm.backend``, empty where it says none. Raises InputError.

    Nothing else of it is read: a mistake elsewhere, or a secret's command that fails, must not make
    one backend out of another, and to look at hosts no command needs to be run.
    """
    document = joined([with_includes(read_playbooks(playbook_paths(inventory, playbooks)))])
    document, own = variables_of(document, "vars")
    document, weaker = variables_of(document, "defaults")
    swarm = document.value.get("swarm") if isinstance(document.value, dict) else None
    said = swarm.get("backend") if isinstance(swarm, dict) else None
    scope = playbook_scope(inventory, own, document.name, weaker)
    where = document.where(("swarm", "backend"))
    return str(scope.render(said or "", where, "swarm.backend"))


def inventory_of(choice: Choice) -> Inventory:
    """Read the chosen inventory, its hosts' nodes where their backend has them.

    Raises InputError. The native backend is not loaded for it: a host's defaults are its own.
    """
    if choice.inventory is None:
        raise AssertionError("only called with an inventory")
    inventory = read_inventory(choice.inventory)
    name = backend_name(inventory, choice.playbooks)
    return inventory if name == DEFAULT_BACKEND else on_backend(inventory, load_backend(name))


def on_backend(inventory: Inventory, backend: Backend) -> Inventory:
    """Return the inventory with every host's socket, data and unit where the backend has them.

    What the inventory says itself stays.
    """
    home = backend.home

    def settled(host: Host) -> Host:
        return msgspec.structs.replace(
            host,
            socket=host.socket if "swarmops_socket" in host.vars else home.socket,
            data_dir=host.data_dir if "swarmops_data_dir" in host.vars else home.data_dir,
            unit=home.unit,
        )

    hosts = {name: settled(host) for name, host in inventory.hosts.items()}
    return msgspec.structs.replace(inventory, hosts=hosts)
