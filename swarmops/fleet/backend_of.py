"""Which backend a fleet is on, also where its playbook can't be read any more.

Called by destroy and status, which must work on a fleet whose playbook is broken or gone.
"""

from __future__ import annotations

from pathlib import Path

from swarmops.errors import InputError
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.playbook import DEFAULT_BACKEND, playbook_path, read_playbook


def backend_name(inventory: Inventory, playbook: Path | None) -> str:
    """Return the playbook's backend, else the hosts', else the default one."""
    try:
        chosen = playbook_path(inventory, str(playbook) if playbook else None)
        return read_playbook(chosen, inventory).backend
    except InputError:
        named = {host.backend for host in inventory.hosts.values() if host.backend}
        return named.pop() if len(named) == 1 else DEFAULT_BACKEND
