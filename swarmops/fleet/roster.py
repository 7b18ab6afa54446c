"""Who is who: which node of the swarm is which host of the inventory, and what each host needs.

Called by the planner and by what chooses the managers; pure. A node is a host's if the host's
runtime says so; if that can't be asked, if the node carries the host's name in its label.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observation import HOST_LABEL, HostView, Observation
from swarmops.model.base import given
from swarmops.model.node import Node, NodeState, Role


class Roster(msgspec.Struct):
    """The result; every host is in at most one of ``members``, ``joining`` and ``unsure``."""

    members: dict[str, Node] = {}
    """Host → its node in the swarm."""
    lost: dict[str, list[Node]] = {}
    """Host → nodes that carry its name and are not its machine's: it was wiped, or is another."""
    strangers: list[Node] = []
    """Nodes of no host of the inventory."""
    joining: list[str] = []
    """Usable hosts that are in no swarm."""
    leaving: dict[str, str] = {}
    """Hosts (also in ``joining``) that must leave first, with the reason."""
    unsure: list[str] = []
    """Stopped hosts that may be members: to be started and looked at again."""
    problems: dict[str, str] = {}
    """Hosts with which nothing can be done, and why."""


def build_roster(inventory: Inventory, observation: Observation) -> Roster:
    """Return who is who."""
    roster = Roster()
    nodes = {node.id: node for node in (observation.swarm.nodes if observation.swarm else ())}
    claimed = {
        view.swarm.node_id: name
        for name, view in observation.hosts.items()
        if view.running and view.swarm.node_id in nodes
    }
    by_label: dict[str, list[Node]] = {}
    for node in nodes.values():
        if node.id not in claimed:
            by_label.setdefault(_host_of(node, inventory), []).append(node)
    for name in inventory.hosts:
        view = observation.hosts[name]
        labelled = sorted(by_label.pop(name, []), key=lambda node: node.created_at)
        own = nodes.get(view.swarm.node_id) if claimed.get(view.swarm.node_id) == name else None
        if own is not None and _clings_to_office(view, own):
            roster.lost[name] = [*labelled, own]
            roster.leaving[name] = "it takes itself for a manager, and the swarm replaced it"
            roster.joining.append(name)
            continue
        if own is not None:
            roster.members[name] = own
        elif labelled and not _knows_itself(view):
            roster.members[name] = labelled.pop()
        if labelled:
            roster.lost[name] = labelled
        _sort_in(name, view, observation, roster)
    roster.strangers = [node for found in by_label.values() for node in found]
    return roster


def _host_of(node: Node, inventory: Inventory) -> str:
    """Return the host that a node's label names, else the one whose name it has, else ''."""
    label = (given(node.spec.labels, {}) or {}).get(HOST_LABEL)
    if label is not None:
        return label
    hostname = given(node.description.hostname, "")
    named = [h.name for h in inventory.hosts.values() if hostname in {h.hostname, h.name}]
    return named[0] if hostname and len(named) == 1 else ""


def _knows_itself(view: HostView) -> bool:
    """Say whether the host could tell which node it is, or that it is none.

    A Docker Engine whose swarm is locked, or could not be started, doesn't know its own ID.
    """
    if not view.usable:
        return False
    if view.running:
        return bool(view.swarm.node_id) or view.state == "inactive"
    return not view.had_state


def _clings_to_office(view: HostView, node: Node) -> bool:
    """Say whether a host that was replaced as a manager while it was off doesn't hear of it.

    A Docker Engine waits for ever then, for a leader among managers of whom it is none.
    """
    demoted = node.spec.role is Role.WORKER and node.status.state is NodeState.DOWN
    leaderless = view.swarm.control_available and bool(view.swarm.error)
    return view.usable and demoted and leaderless


def _sort_in(name: str, view: HostView, observation: Observation, roster: Roster) -> None:
    """Say what a host needs."""
    if view.error:
        roster.problems[name] = view.error
    elif not view.running:
        if name not in roster.members:
            (roster.unsure if view.had_state else roster.joining).append(name)
    elif view.state == "inactive":
        roster.joining.append(name)
    elif view.state == "locked":
        roster.problems[name] = "its swarm is locked: unlock it with 'docker swarm unlock' there"
    elif name not in roster.members and _knows_us(view, observation):
        roster.leaving[name] = "its node was removed from the swarm"
        roster.joining.append(name)
    elif view.state == "error" and not (name in roster.members and view.swarm.node_id):
        roster.problems[name] = (
            f"its runtime is in trouble ({view.swarm.error or 'no reason given'}): see its log"
        )
    elif name not in roster.members and observation.swarm is not None:
        roster.problems[name] = (
            "it is still joining a swarm: apply again in a moment"
            if view.state == "pending"
            else "it is in another swarm: run 'docker swarm leave --force' there, or take it out of"
            " the inventory"
        )


def _knows_us(view: HostView, observation: Observation) -> bool:
    """Whether the host says it is in our swarm: its managers are ours."""
    if observation.swarm is None or view.state == "pending":
        return False
    known = {node.id for node in observation.swarm.nodes}
    return any(peer.node_id in known for peer in view.swarm.remote_managers or [])
