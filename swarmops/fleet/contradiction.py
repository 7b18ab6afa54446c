"""Whether a one-off change is one that the next apply would undo, as far as the API can tell.

Called by ``swarmops node …`` and ``swarmops service …`` after a change. No host is looked at but
through the swarm itself; ``contradict`` judges, here is only brought together what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmops.errors import SwarmopsError
from swarmops.fleet.access import Swarm
from swarmops.fleet.contradict import (
    contradictions,
    remove_contradiction,
    scale_contradiction,
)
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.names import find_node, host_of
from swarmops.fleet.observation import HostView, Observation, SwarmView
from swarmops.fleet.playbook import Playbook, playbook_paths, read_playbook
from swarmops.fleet.quorum import is_manager
from swarmops.model.node import Availability, Node, Role
from swarmops.model.swarm import SwarmInfo


def of_node(
    swarm: Swarm,
    name: str,
    *,
    role: Role | None = None,
    availability: Availability | None = None,
) -> list[str]:
    """Return a sentence for all that the playbook says otherwise of a node; none without one."""
    playbook = _playbook(swarm)
    if not isinstance(playbook, Playbook):
        return playbook or []
    if swarm.inventory is None:
        return []
    nodes = swarm.client.nodes()
    host = host_of(find_node(nodes, name, swarm.hosts))
    if host not in swarm.inventory.hosts:
        return []
    seen = seen_through(swarm.inventory, nodes)
    return contradictions(
        swarm.inventory, playbook, seen, host, role=role, availability=availability
    )


def of_scale(swarm: Swarm, service: str, number: int) -> list[str]:
    """Return a sentence if the playbook wants another number of tasks."""
    playbook = _playbook(swarm)
    if not isinstance(playbook, Playbook):
        return playbook or []
    sentence = scale_contradiction(playbook, service, number)
    return [sentence] if sentence else []


def of_removal(swarm: Swarm, service: str) -> list[str]:
    """Return a sentence if the playbook wants the service."""
    playbook = _playbook(swarm)
    if not isinstance(playbook, Playbook):
        return playbook or []
    sentence = remove_contradiction(playbook, service)
    return [sentence] if sentence else []


def seen_through(inventory: Inventory, nodes: Sequence[Node]) -> Observation:
    """Return the observation that the API alone allows: hosts are as their nodes say. Pure."""
    by_host = {host_of(node): node for node in nodes}
    hosts = {name: _view(name, by_host.get(name)) for name in inventory.hosts}
    return Observation(hosts=hosts, swarm=SwarmView(id="", seen_from="", nodes=tuple(nodes)))


def _view(name: str, node: Node | None) -> HostView:
    if node is None:
        return HostView(name=name)
    info = SwarmInfo(node_id=node.id, local_node_state="active", control_available=is_manager(node))
    return HostView(name=name, running=True, had_state=True, swarm=info)


def _playbook(swarm: Swarm) -> Playbook | list[str] | None:
    """Return the playbook, None if there is none, or why it can't be read.

    A playbook that can't be read is no reason to refuse what was asked: it is said instead.
    """
    inventory = swarm.inventory
    if inventory is None:
        return None
    if not swarm.choice.playbooks and not inventory.playbooks:
        return None
    try:
        return read_playbook(playbook_paths(inventory, swarm.choice.playbooks), inventory)
    except SwarmopsError as error:
        return [f"whether the playbook wants it so is unknown: {error}"]
