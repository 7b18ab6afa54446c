"""What the next apply would undo of a change that someone makes by hand.

Called by the one-off commands (promote, demote, drain, scale …) after their change; pure.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.choice import choose_managers, settled
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observation import Observation
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.roster import build_roster
from swarmops.model.base import given
from swarmops.model.defaults import mode_name, replicas
from swarmops.model.node import Availability, ManagerStatus, Node, Reachability, Role


def contradictions(  # noqa: PLR0917 - what is wanted, what is there, what is changed
    inventory: Inventory,
    playbook: Playbook,
    observation: Observation,
    host: str,
    role: Role | None = None,
    availability: Availability | None = None,
) -> list[str]:
    """Return a sentence for each thing that the next apply would undo.

    ``observation`` may be from before the change or from after it.
    """
    sentences = []
    wish = playbook.wish(host)
    if availability is not None and wish.availability not in {None, availability}:
        wanted = given(wish.availability, availability)
        sentences.append(
            f"{playbook.path} wants {host} to be {wanted.value}: the next apply makes it so again"
        )
    if role is not None:
        sentences += _role(inventory, playbook, _changed(inventory, observation, host, role), host)
    return sentences


def scale_contradiction(playbook: Playbook, service: str, number: int) -> str | None:
    """Return the sentence for a scale that the playbook contradicts, None if it doesn't."""
    spec = playbook.services.get(service)
    if spec is None or mode_name(spec) != "replicated":
        return None
    mode = given(spec.mode, None)
    said = given(mode.replicated, None) if mode else None
    if said is None or given(said.replicas, None) in {None, number}:
        return None
    return (
        f"{playbook.path} wants {replicas(spec)} replicas of {service}: the next apply goes back"
        " to that"
    )


def remove_contradiction(playbook: Playbook, service: str) -> str | None:
    """Return the sentence for the removal of a service that the playbook wants, else None."""
    if service not in playbook.services:
        return None
    return f"{playbook.path} wants the service {service}: the next apply creates it again"


def _role(inventory: Inventory, playbook: Playbook, after: Observation, host: str) -> list[str]:
    roster = build_roster(inventory, after)
    playbook = settled(inventory, playbook, after, roster)
    chosen = choose_managers(inventory, playbook, after, roster)
    node = roster.members.get(host)
    if node is None:
        return []
    if node.spec.role is Role.WORKER and host in chosen:
        return [f"{playbook.path} wants {host} to be a manager: the next apply promotes it again"]
    if node.spec.role is Role.MANAGER and host not in chosen:
        return [f"{playbook.path} wants {host} to be a worker: the next apply demotes it again"]
    others = [
        name
        for name, member in roster.members.items()
        if (member.spec.role is Role.MANAGER) != (name in chosen)
    ]
    if not others:
        return []
    does = "promotes" if node.spec.role is Role.WORKER else "demotes"
    named, number = ", ".join(others), playbook.managers
    count = f"{number} {'manager' if number == 1 else 'managers'}"
    return [f"{playbook.path} wants {count}: the next apply {does} {named}"]


def _changed(inventory: Inventory, observation: Observation, host: str, role: Role) -> Observation:
    """Return the observation as it is after the change."""
    node = build_roster(inventory, observation).members.get(host)
    if observation.swarm is None or node is None or node.spec.role is role:
        return observation
    manager = role is Role.MANAGER
    status = ManagerStatus(reachability=Reachability.REACHABLE) if manager else msgspec.UNSET
    changed = msgspec.structs.replace(
        node, spec=msgspec.structs.replace(node.spec, role=role), manager_status=status
    )

    def swapped(other: Node) -> Node:
        return changed if other.id == node.id else other

    swarm = msgspec.structs.replace(
        observation.swarm, nodes=tuple(swapped(other) for other in observation.swarm.nodes)
    )
    return msgspec.structs.replace(observation, swarm=swarm)
