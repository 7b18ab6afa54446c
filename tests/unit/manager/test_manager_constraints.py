"""Placement constraints: Docker's grammar, keys and refusals."""

from __future__ import annotations

import pytest

from swarmops.errors import InputError
from swarmops.manager.constraints import matches, parse
from swarmops.model.node import (
    EngineDescription,
    Node,
    NodeDescription,
    NodeInternal,
    NodeSpec,
    NodeStatus,
    Role,
)
from swarmops.model.service import Platform

NODE = Node(
    id="abc123",
    spec=NodeSpec(labels={"zone": "East", "disk": "ssd"}),
    description=NodeDescription(
        hostname="Host-1",
        platform=Platform(architecture="x86_64", os="linux"),
        engine=EngineDescription(labels={"gpu": "yes"}),
    ),
    status=NodeStatus(addr="10.1.2.3"),
    internal=NodeInternal(role=Role.MANAGER),
)


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("node.id==abc123", True),
        ("node.id != abc123", False),
        ("node.hostname==host-1", True),
        ("node.hostname!=host-2", True),
        ("node.role==manager", True),
        ("node.role == worker", False),
        ("node.role!=worker", True),
        ("node.ip==10.1.2.3", True),
        ("node.ip==10.1.0.0/16", True),
        ("node.ip!=10.1.0.0/16", False),
        ("node.ip==10.2.0.0/16", False),
        ("node.ip==nonsense", False),
        ("node.platform.os==LINUX", True),
        ("node.platform.arch==x86_64", True),
        ("node.labels.zone==east", True),
        ("node.labels.zone!=west", True),
        ("node.labels.rack!=7", True),
        ("node.labels.rack==7", False),
        ("engine.labels.gpu==yes", True),
        ("engine.labels.gpu!=yes", False),
        ("NODE.ROLE==Manager", True),
        ("node.color==red", False),
        ("node.color!=red", False),
    ],
)
def test_an_expression_fits_as_docker_says(expression: str, fits: bool) -> None:  # noqa: FBT001
    """Keys, operators, case, networks, missing labels and unknown keys."""
    assert matches(parse([expression]), NODE) is fits


def test_all_expressions_must_hold() -> None:
    """Several constraints are joined by and."""
    assert matches(parse(["node.role==manager", "node.labels.disk==ssd"]), NODE)
    assert not matches(parse(["node.role==manager", "node.labels.disk==hdd"]), NODE)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("node.role=manager", "constraint expected one operator from ==, !="),
        ("node.role", "constraint expected one operator from ==, !="),
        ("no de==x", "key 'no de' is invalid"),
        ("==x", "key '' is invalid"),
        ("node.role==", "value '' is invalid"),
        ("node.labels.a==b,c", "value 'b,c' is invalid"),
    ],
)
def test_malformed_expressions_are_refused_in_dockers_words(expression: str, text: str) -> None:
    """The API answers with exactly these sentences."""
    with pytest.raises(InputError) as refusal:
        parse([expression])
    assert str(refusal.value) == text
