"""Why nothing at all may be planned: whether there is a swarm, or which, can't be told.

Called by ``swarmops.fleet.plan``; pure. To make a second swarm beside one that nobody could see
would be the worst that a plan can do.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.choice import choose_managers
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.listed import listed
from swarmops.fleet.observation import Observation
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.roster import Roster


class Refusal(msgspec.Struct, frozen=True):
    """The sentence, and the hosts whose own problem it tells too: that need not be said again."""

    text: str
    tells: frozenset[str] = frozenset()


def two_swarms(observation: Observation) -> Refusal | None:
    """Refuse managers of different swarms: which one is meant, only a person knows."""
    swarms: dict[str, list[str]] = {}
    for view in observation.hosts.values():
        if view.cluster_id:
            swarms.setdefault(view.cluster_id, []).append(view.name)
    if len(swarms) <= 1:
        return None
    sides = " and ".join(", ".join(hosts) for hosts in swarms.values())
    return Refusal(
        f"{sides} manage different swarms: run 'docker swarm leave --force' on the hosts of the one"
        " that is not wanted"
    )


def unreadable(observation: Observation) -> Refusal | None:
    """Refuse to plan over a swarm that is there, or may be, but can't be asked."""
    mute = [view.name for view in observation.hosts.values() if view.silent and view.had_state]
    if mute:
        return Refusal(
            f"{', '.join(mute)} may be in a swarm, but the runtime there doesn't answer in time:"
            f" see 'swarmops logs {mute[0]}', and restart it there if it stays so",
            frozenset(mute),
        )
    inside = [
        view.name
        for view in observation.hosts.values()
        if view.usable and view.running and view.state != "inactive"
    ]
    if not inside:
        return None
    silent = [view.name for view in observation.hosts.values() if not view.usable]
    # A manager that has not come up yet answers as a worker does, which explains nothing.
    said = observation.swarm_error
    reason = (
        f" ({said})" if said and not said.startswith("This node is not a swarm manager") else ""
    )
    missing = f", {', '.join(silent)} can't be reached" if silent else ""
    return Refusal(
        f"{', '.join(inside)} {'is' if len(inside) == 1 else 'are'} in a swarm, but no manager"
        f" tells its state{reason}{missing}: bring back more than half of the managers; if"
        " they are gone for good, let one that is left go on alone ('docker swarm init"
        " --force-new-cluster' there), or take the swarm down with 'swarmops destroy'"
    )


def too_few(
    inventory: Inventory, playbook: Playbook, observation: Observation, roster: Roster
) -> Refusal | None:
    """Refuse a new swarm if the hosts that can't be seen might already be one."""
    possible = inventory.manager_order()
    silent = [host for host in possible if host in roster.problems]
    if silent and len(silent) * 2 >= len(possible):
        return _unseen(silent, possible, roster.problems)
    chosen = choose_managers(inventory, playbook, observation, roster)
    if not any(host in roster.joining for host in chosen):
        return Refusal(
            f"none of the hosts that shall be managers can be used ({', '.join(chosen)}): bring"
            " one back, or take role: manager from it"
        )
    return None


def _unseen(silent: list[str], possible: list[str], problems: dict[str, str]) -> Refusal:
    """Say of hosts that may be managers that they can't be used; why, where it is one reason."""
    reasons = {problems[host] for host in silent}
    reason = reasons.pop() if len(reasons) == 1 else ""
    same = [host for host in problems if problems[host] == reason]
    others = [host for host in same if host not in silent]
    nor = f", nor can {listed(others)}" if others else ""
    if silent != possible:
        why = f" ({reason})" if reason else ""
        return Refusal(
            f"{listed(silent)}, {len(silent)} of the {len(possible)} hosts that may be managers,"
            f" can't be used{nor}{why}, and there might be a swarm already: bring them back, or"
            " take them out of the inventory",
            frozenset(same),
        )
    alone = (
        "the only host that may be a manager" if len(silent) == 1 else "all that may be managers"
    )
    why = reason or "each for its own reason, so bring back more than half of them"
    return Refusal(f"{listed(silent)}, {alone}, can't be used{nor}: {why}", frozenset(same))
