"""Which node a name means: the inventory's name for its host, its hostname, its ID or a prefix.

Called wherever a person names a node. Pure functions over the nodes that the API listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from swarmops.errors import InputError
from swarmops.fleet.nearest import did_you_mean
from swarmops.fleet.observation import HOST_LABEL
from swarmops.model.base import given
from swarmops.model.node import Node, NodeState


def host_of(node: Node) -> str:
    """Return the inventory's name of a node's host, else its hostname, else its ID."""
    labels: dict[str, str] = given(node.spec.labels, {})
    return labels.get(HOST_LABEL) or given(node.description.hostname, "") or node.id


def find_node(nodes: Collection[Node], name: str, hosts: Iterable[str] = ()) -> Node:
    """Return the one node that a name means; ``hosts`` are the inventory's, for better errors.

    Of several nodes with one name, one that is left over from an earlier life of the host (down)
    yields to one that is not. Raises InputError where no or more than one node has the name.
    """
    ways: tuple[Callable[[Node], bool], ...] = (
        lambda node: given(node.spec.labels, {}).get(HOST_LABEL) == name,
        lambda node: given(node.description.hostname, "") == name,
        lambda node: node.id == name,
        lambda node: node.id.startswith(name),
    )
    for way in ways:
        found = [node for node in nodes if name and way(node)]
        living = [node for node in found if node.status.state is not NodeState.DOWN]
        if len(living) == 1 or len(found) == 1:
            return (living or found)[0]
        if found:
            ids = ", ".join(node.id[:12] for node in found)
            raise InputError(f"{len(found)} nodes are called '{name}': name one by its ID ({ids})")
    if name in hosts:
        raise InputError(
            f"{name} is in the inventory, but is no node of the swarm: 'swarmops apply' joins it"
        )
    raise InputError(
        f"no node is called '{name}': {did_you_mean(name, {host_of(node) for node in nodes})}"
    )
