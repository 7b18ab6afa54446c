"""The part of a plan that sets what nodes are told: availability, labels, and their own name.

Called by ``swarmops.fleet.plan``; pure. What the playbook doesn't say of a node stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from swarmops.fleet.nodes import NodeWish
from swarmops.fleet.observation import HOST_LABEL
from swarmops.fleet.steps import Change, Step, StepKind
from swarmops.model.base import given
from swarmops.model.node import Availability, Node


def update_id(host: str) -> str:
    """Return the ID of the step that sets a node's availability and labels."""
    return f"{StepKind.UPDATE_NODE.value}:{host}"


def node_step(
    host: str, node: Node | None, wish: NodeWish, after: Iterable[str] = ()
) -> Step | None:
    """Return the step that makes a node as it is wished, None if it is so.

    ``node`` is None for one that has just joined, with the wished availability.
    """
    labels = {HOST_LABEL: host, **wish.labels}
    present = (given(node.spec.labels, {}) or {}) if node is not None else {}
    wrong = {key: value for key, value in labels.items() if present.get(key) != value}
    changes = [
        Change(f"label {key}", present.get(key), value) for key, value in sorted(wrong.items())
    ]
    availability: Availability | None = None
    if node is not None and wish.availability not in {None, node.spec.availability}:
        availability = wish.availability
        changes.insert(0, Change("availability", node.spec.availability.value, _word(availability)))
    if not changes:
        return None
    step = Step(
        id=update_id(host),
        kind=StepKind.UPDATE_NODE,
        target=host,
        reason="the playbook says so",
        proof="the swarm shows it so",
        changes=tuple(changes),
        after=tuple(after),
        node_id=node.id if node is not None else "",
        availability=availability,
        labels=wrong,
    )
    if only_names(step):
        step = msgspec.structs.replace(step, reason="the node is told its name in the inventory")
    return step


def only_names(step: Step) -> bool:
    """Say whether a step tells a node its name in the inventory and no more.

    That is for us to know it by: it changes nothing about where tasks may run.
    """
    return (
        step.kind is StepKind.UPDATE_NODE
        and set(step.labels) == {HOST_LABEL}
        and step.availability is None
        and step.role is None
    )


def _word(availability: Availability | None) -> str | None:
    return availability.value if availability else None
