"""Which hosts shall be managers: the same answer for the same world, and as few changes as can be.

Called by the planner and by the commands that warn of a contradiction; pure.
"""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observation import Observation
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.quorum import is_leader, is_manager, is_reachable
from swarmops.fleet.roster import Roster, build_roster
from swarmops.model.base import given
from swarmops.model.node import Availability, Node, NodeState, Role


def choose_managers(
    inventory: Inventory,
    playbook: Playbook,
    observation: Observation,
    roster: Roster | None = None,
) -> list[str]:
    """Return the hosts that shall be managers, in the inventory's order of managers.

    First those with ``role: manager``, then the leader, managers that answer, managers that don't
    (they may come back), hosts that were managers before they were wiped, other usable hosts,
    drained ones, those that can't be used now, and last managers given up as dead. Among equals,
    one of the zone with the fewest managers so far, then one that has the wanted release.
    """
    known = roster or build_roster(inventory, observation)
    order = inventory.manager_order()
    left = [host for host in order if playbook.wish(host).role is not Role.WORKER]
    zones = {host: _zone(host, playbook, known) for host in left}
    ranks = {host: _rank(host, playbook, observation, known) for host in left}
    chosen: list[str] = []
    there: Counter[str] = Counter()

    def standing(host: str) -> tuple[bool, int, int, bool, int]:
        forced = playbook.wish(host).role is Role.MANAGER
        old = bool(observation.hosts[host].missing)
        return (not forced, ranks[host], there[zones[host]], old, order.index(host))

    while left and len(chosen) < playbook.managers:
        best = min(left, key=standing)
        left.remove(best)
        chosen.append(best)
        there[zones[best]] += 1
    return [host for host in order if host in chosen]


def settled(
    inventory: Inventory, playbook: Playbook, observation: Observation, roster: Roster
) -> Playbook:
    """Return the playbook with the number of managers that there are, if it says nothing of them.

    So a playbook of services alone, one of several of a swarm, neither promotes nor demotes. Hosts
    that were managers before they were wiped count too; those that are given a role have it.
    """
    if playbook.says_managers or observation.swarm is None:
        return playbook
    wished = {host: playbook.wish(host).role for host in inventory.manager_order()}
    number = sum(
        role is Role.MANAGER or (role is None and _was_manager(host, roster))
        for host, role in wished.items()
    )
    return replace(playbook, managers=max(number, 1))


def _was_manager(host: str, roster: Roster) -> bool:
    node = roster.members.get(host)
    if node is not None:
        return is_manager(node)
    return any(is_manager(old) for old in roster.lost.get(host, []))


def _zone(host: str, playbook: Playbook, roster: Roster) -> str:
    """Return a host's zone: the files', else its node's own; without any it is one of its own."""
    key, node = playbook.spread_managers_by, roster.members.get(host)
    present = (given(node.spec.labels, {}) or {}) if node is not None else {}
    if key in playbook.wish(host).labels:  # the label changes, or goes
        present = {}
    return playbook.zones.get(host) or present.get(key) or f"host {host}"


def _rank(host: str, playbook: Playbook, observation: Observation, roster: Roster) -> int:
    node = roster.members.get(host)
    if node is not None and is_manager(node):
        if is_leader(node):
            return 0
        if is_reachable(node):
            return 1
        return 7 if is_dead(host, node, playbook, observation) else 2
    if host in roster.problems or not observation.hosts[host].usable:
        return 6
    if any(is_manager(old) for old in roster.lost.get(host, [])):
        return 3
    wished = playbook.wish(host).availability
    present = node.spec.availability if node is not None else Availability.ACTIVE
    return 5 if (wished or present) is Availability.DRAIN else 4


def is_dead(host: str, node: Node, playbook: Playbook, observation: Observation) -> bool:
    """Say whether a manager is to be given up: down and out of reach for as long as it takes.

    How long is told by when its node was last changed, which is when it was seen to be down.
    """
    after_s = playbook.replace_dead_after_s
    if after_s is None or observation.swarm is None or observation.hosts[host].usable:
        return False
    down = node.status.state is NodeState.DOWN and not is_reachable(node)
    return down and observation.swarm.now_s - node.updated_at.timestamp() >= after_s
