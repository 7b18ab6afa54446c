"""Which hosts shall be managers: the same answer for the same world, and as few changes as can be.

Called by the planner and by the commands that warn of a contradiction; pure.
"""

from __future__ import annotations

from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observation import Observation
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.quorum import is_leader, is_manager, is_reachable
from swarmops.fleet.roster import Roster, build_roster
from swarmops.model.node import Availability, Role


def choose_managers(
    inventory: Inventory,
    playbook: Playbook,
    observation: Observation,
    roster: Roster | None = None,
) -> list[str]:
    """Return the hosts that shall be managers, in the inventory's order of managers.

    First those with ``role: manager``, then the leader, managers that answer, managers that don't
    (they may come back: only a person gives one up), hosts that were managers before they were
    wiped, other usable hosts, drained ones, and last those that can't be used now.
    """
    known = roster or build_roster(inventory, observation)
    order = inventory.manager_order()
    candidates = [host for host in order if playbook.wish(host).role is not Role.WORKER]

    def rank(host: str) -> tuple[bool, int, int]:
        forced = playbook.wish(host).role is Role.MANAGER
        return (not forced, _rank(host, playbook, observation, known), order.index(host))

    chosen = set(sorted(candidates, key=rank)[: playbook.managers])
    return [host for host in order if host in chosen]


def _rank(host: str, playbook: Playbook, observation: Observation, roster: Roster) -> int:
    node = roster.members.get(host)
    if node is not None and is_manager(node):
        if is_leader(node):
            return 0
        return 1 if is_reachable(node) else 2
    if host in roster.problems or not observation.hosts[host].usable:
        return 6
    if any(is_manager(old) for old in roster.lost.get(host, [])):
        return 3
    wished = playbook.wish(host).availability
    present = node.spec.availability if node is not None else Availability.ACTIVE
    return 5 if (wished or present) is Availability.DRAIN else 4
