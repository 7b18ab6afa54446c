"""What people call a swarm: its playbook's name, where there is one.

Called by commands that name files after it.
"""

from __future__ import annotations

from swarmops.errors import InputError
from swarmops.fleet.current import Choice
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.playbook import playbook_paths, read_playbook


def swarm_name(choice: Choice) -> str:
    """Return the playbook's name for it, else the inventory's; "swarm" behind a socket."""
    if choice.inventory is None:
        return "swarm"
    try:
        inventory = read_inventory(choice.inventory)
        return read_playbook(playbook_paths(inventory, choice.playbooks), inventory).name
    except InputError:
        return choice.inventory.stem
