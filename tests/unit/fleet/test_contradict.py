"""A one-off that the next apply would undo is told at once."""

from __future__ import annotations

import pytest

from swarmops.fleet.contradict import (
    contradictions,
    remove_contradiction,
    scale_contradiction,
)
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS
from swarmops.fleet.inventory import build_inventory
from swarmops.fleet.observation import HOST_LABEL, HostView, Observation, SwarmView
from swarmops.fleet.playbook import build_playbook
from swarmops.model.node import (
    Availability,
    ManagerStatus,
    Node,
    NodeSpec,
    NodeState,
    NodeStatus,
    Reachability,
    Role,
)

INVENTORY = build_inventory(
    "inv.yml",
    read_groups(parse_document("all: {hosts: {a: , b: , c: , d: , e: }}", "inv.yml"), OUR_VARS),
)


def node(host: str, manager: bool) -> Node:  # noqa: FBT001 - a test's shorthand
    """Return a healthy node."""
    if not manager:
        return Node(
            id=host,
            spec=NodeSpec(labels={HOST_LABEL: host}),
            status=NodeStatus(state=NodeState.READY),
        )
    return Node(
        id=host,
        spec=NodeSpec(labels={HOST_LABEL: host}, role=Role.MANAGER),
        status=NodeStatus(state=NodeState.READY),
        manager_status=ManagerStatus(leader=host == "a", reachability=Reachability.REACHABLE),
    )


WORLD = Observation(
    hosts={name: HostView(name=name, had_state=True) for name in INVENTORY.hosts},
    swarm=SwarmView(
        id="s", seen_from="a", nodes=tuple(node(name, name in "abc") for name in "abcde")
    ),
)


@pytest.mark.parametrize(
    ("text", "host", "role", "sentence"),
    [
        (
            "swarm: {managers: 3}",
            "c",
            Role.WORKER,
            "wants c to be a manager: the next apply promotes it again",
        ),
        (
            "swarm: {managers: 3}",
            "d",
            Role.MANAGER,
            "wants d to be a worker: the next apply demotes it again",
        ),
        (
            "swarm: {managers: 3}\nnodes: {b: {role: worker}}",
            "b",
            Role.WORKER,
            "wants 3 managers: the next apply promotes d",
        ),
        (
            "swarm: {managers: 3}\nnodes: {d: {role: manager}}",
            "d",
            Role.MANAGER,
            "wants 3 managers: the next apply demotes c",
        ),
        ("swarm: {managers: 2}\nnodes: {c: {role: worker}}", "c", Role.WORKER, None),
        ("services: {}", "c", Role.WORKER, None),
        ("services: {}", "d", Role.MANAGER, None),
    ],
)
def test_roles(text: str, host: str, role: Role, sentence: str | None):
    """A promotion or demotion against the playbook says what the next apply does."""
    playbook = build_playbook(parse_document(text, "prod.yml"), INVENTORY)
    found = contradictions(INVENTORY, playbook, WORLD, host, role=role)
    assert found == ([f"prod.yml {sentence}"] if sentence else [])


def test_availability_and_services():
    """A drain, scale or removal against the playbook says so; one that it leaves open doesn't."""
    text = """
nodes: {d: {availability: active}}
services: {web: {image: host, deploy: {replicas: 4}}, open: {image: host}}
"""
    playbook = build_playbook(parse_document(text, "prod.yml"), INVENTORY)
    drain = Availability.DRAIN
    assert contradictions(INVENTORY, playbook, WORLD, "d", availability=drain) == [
        "prod.yml wants d to be active: the next apply makes it so again"
    ]
    assert contradictions(INVENTORY, playbook, WORLD, "e", availability=drain) == []
    assert "wants 4 replicas of web" in str(scale_contradiction(playbook, "web", 2))
    assert scale_contradiction(playbook, "web", 4) is None
    assert scale_contradiction(playbook, "open", 9) is None
    assert "creates it again" in str(remove_contradiction(playbook, "web"))
    assert remove_contradiction(playbook, "other") is None
