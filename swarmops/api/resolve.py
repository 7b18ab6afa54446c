"""Which object a client means: its full ID, else its exact name, else the start of its ID.

Used by every handler with an ``{id}``, and for references inside filters. Raises ``ApiError`` 404,
or 400 where several objects fit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from swarmops.api import errors
from swarmops.model.network import Network
from swarmops.model.node import Node
from swarmops.model.object import Object
from swarmops.model.secret import Config, Secret
from swarmops.model.service import Service
from swarmops.model.task import Task
from swarmops.store import NamedTable, Store

T = TypeVar("T", bound=Object)


def node(store: Store, reference: str) -> Node:
    """Find a node by ID, hostname or prefix of its ID; hostnames may repeat."""
    exact = store.nodes.get(reference)
    if exact is not None:
        return exact
    return _one(
        "node",
        reference,
        store.nodes.by_hostname(reference) or store.nodes.prefixed(reference),
    )


def service(store: Store, reference: str) -> Service:
    """Find a service by ID, name or prefix of its ID."""
    return _named("service", store.services, reference)


def secret(store: Store, reference: str) -> Secret:
    """Find a secret by ID, name or prefix of its ID."""
    return _named("secret", store.secrets, reference)


def config(store: Store, reference: str) -> Config:
    """Find a config by ID, name or prefix of its ID."""
    return _named("config", store.configs, reference)


def network(store: Store, reference: str) -> Network:
    """Find a network by ID, name or prefix of its ID."""
    return _named("network", store.networks, reference)


def task(store: Store, reference: str) -> Task:
    """Find a task by ID or prefix of it; tasks have no names of their own here."""
    exact = store.tasks.get(reference)
    return exact if exact is not None else _one("task", reference, store.tasks.prefixed(reference))


def _named(kind: str, table: NamedTable[T], reference: str) -> T:
    exact = table.get(reference)
    if exact is not None:
        return exact
    # Unique whatever its case, but found only as it is written.
    named = table.named(reference)
    if named is not None and table.name_of(named) == reference:
        return named
    return _one(kind, reference, table.prefixed(reference))


def _one(kind: str, reference: str, matches: Collection[T]) -> T:
    if not matches or not reference:
        raise errors.not_found(kind, reference)
    if len(matches) > 1:
        raise errors.ambiguous(kind, reference, len(matches))
    return next(iter(matches))
