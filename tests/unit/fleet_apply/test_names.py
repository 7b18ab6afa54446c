"""Which node a name means."""

from __future__ import annotations

import msgspec
import pytest

from swarmops.errors import InputError
from swarmops.fleet.names import find_node, host_of
from swarmops.model.node import Node, NodeDescription, NodeSpec, NodeState, NodeStatus


def node(node_id: str, host: str = "", hostname: str = "") -> Node:
    """Make a node that answers."""
    return Node(
        id=node_id,
        spec=NodeSpec(labels={"swarmops.host": host} if host else {}),
        description=NodeDescription(hostname=hostname),
        status=NodeStatus(state=NodeState.READY),
    )


def down(up: Node) -> Node:
    """Take a node down."""
    return msgspec.structs.replace(up, status=NodeStatus(state=NodeState.DOWN))


NODES = [
    node("aa1", "web1", "box"),
    node("ab2", "web2", "web1"),
    node("bb3", "", "plain"),
    down(node("bb4", "db1")),
    node("bc5", "db1"),
    node("plain", "", "x"),
]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web1", "aa1"),  # the label goes before another's hostname
        ("box", "aa1"),
        ("plain", "bb3"),  # a hostname before an ID
        ("aa1", "aa1"),
        ("ab", "ab2"),
        ("db1", "bc5"),  # the living one
        ("bb4", "bb4"),
    ],
)
def test_found(name: str, found: str) -> None:
    """The inventory's name goes before the hostname, that before the ID, that before a prefix."""
    assert find_node(NODES, name).id == found


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("a", "2 nodes are called 'a': name one by its ID"),
        ("web", "no node is called 'web': did you mean 'web"),
        ("new1", "new1 is in the inventory, but is no node of the swarm"),
        ("", "no node is called ''"),
    ],
)
def test_not_found(name: str, error: str) -> None:
    """A name of no node, or of several, is refused with the cure."""
    with pytest.raises(InputError, match=error):
        find_node(NODES, name, ["web1", "new1"])


def test_host_of() -> None:
    """A node is called as in the inventory, else by its hostname, else by its ID."""
    assert [host_of(one) for one in (NODES[0], NODES[2], node("zz"))] == ["web1", "plain", "zz"]
