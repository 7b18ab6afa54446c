"""Placement constraints: Docker's grammar and keys, as a pure test of a node.

``parse`` is for the API, which refuses what it raises for, and for ``matches``, which the scheduler
and the global orchestrator ask. An expression is ``key==value`` or ``key!=value``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from swarmops.errors import InputError
from swarmops.model import constraint_text
from swarmops.model.base import given
from swarmops.model.node import EngineDescription, Node, NodeInternal
from swarmops.model.service import Platform

_NODE_LABELS = "node.labels."
_ENGINE_LABELS = "engine.labels."


class Constraint(msgspec.Struct, frozen=True):
    """One parsed expression; ``equal`` is False for ``!=``."""

    key: str
    equal: bool
    value: str

    def matches(self, node: Node) -> bool:
        """Whether the node fulfils it. Case doesn't count; an unknown key never matches."""
        found = _values(self.key, node)
        if found is None:
            return False
        if self.key.lower() == "node.ip":
            return _same_address(found, self.value) == self.equal
        return (found.lower() == self.value.lower()) == self.equal


@lru_cache(maxsize=4096)
def parse_one(expression: str) -> Constraint:
    """Parse one expression. Raises InputError in Docker's words."""
    try:
        return Constraint(*constraint_text.split(expression))
    except ValueError as error:
        raise InputError(str(error)) from None


def parse(expressions: Sequence[str]) -> tuple[Constraint, ...]:
    """Parse all expressions. Raises InputError for the first that is wrong."""
    return tuple(parse_one(expression) for expression in expressions)


def matches(constraints: Sequence[Constraint], node: Node) -> bool:
    """Whether the node fulfils every constraint."""
    return all(constraint.matches(node) for constraint in constraints)


def label_value(descriptor: str, node: Node) -> str | None:
    """Return a node's value of a label descriptor, such as ``node.labels.zone``.

    A label that the node doesn't have is empty; None is returned for what is no label.
    """
    lowered = descriptor.lower()
    if lowered.startswith(_NODE_LABELS):
        labels = given(node.spec.labels, {})
        return labels.get(descriptor[len(_NODE_LABELS) :], "")
    if lowered.startswith(_ENGINE_LABELS):
        engine = given(node.description.engine, EngineDescription())
        return given(engine.labels, {}).get(descriptor[len(_ENGINE_LABELS) :], "")
    return None


def _values(key: str, node: Node) -> str | None:
    platform = given(node.description.platform, Platform())
    known = {
        "node.id": node.id,
        "node.hostname": given(node.description.hostname, ""),
        "node.ip": given(node.status.addr, ""),
        "node.role": given(node.internal, NodeInternal()).role.value,
        "node.platform.os": given(platform.os, ""),
        "node.platform.arch": given(platform.architecture, ""),
    }
    found = known.get(key.lower())
    return label_value(key, node) if found is None else found


def _same_address(found: str, wanted: str) -> bool:
    """Compare with an address or with a network in CIDR form; what is neither never equals."""
    try:
        return ipaddress.ip_address(found) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False
