"""The end of a root rotation: when every node has a certificate of the new root, it is the root.

Runs on the leader. Nodes change over by themselves, as their sessions tell them the issuer that is
wanted; a node that is down holds the rotation up until it comes back or is removed. With the old
root its join tokens end, and so does the access of people, whose certificates are of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.ca import new_tokens
from swarmops.manager.loop import Step
from swarmops.model.base import given
from swarmops.model.node import Node, TLSInfo
from swarmops.model.swarm import Cluster, ClusterInternal, RootRotation
from swarmops.store import Event, Store

Key = Literal["root"]
log = structlog.get_logger(__name__)


class RootRotations:
    """The control loop; its one key is the swarm's root."""

    tables = ("clusters", "nodes")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def reset(self, store: Store) -> Iterable[Key]:
        """Look once."""
        del store
        return ("root",)

    def observe(self, store: Store, event: Event) -> Iterable[Key]:
        """Look again after each change while a rotation goes on."""
        del event
        cluster = store.cluster
        return ("root",) if cluster is not None and cluster.root_rotation_in_progress else ()

    def step(self, store: Store, keys: Sequence[Key], now: datetime) -> Step[Key]:
        """End the rotation once all nodes have changed over."""
        del keys, now
        step: Step[Key] = Step()
        cluster = store.cluster
        rotation = _rotation(cluster)
        if cluster is not None and rotation is not None:
            waiting = [node for node in store.nodes if not has_changed_over(node, rotation)]
            if not waiting:
                step.tx.put(ended(cluster, rotation, self._rng))
                log.info("the swarm has a new root")
        return step


def has_changed_over(node: Node, rotation: RootRotation) -> bool:
    """Whether the node says that its certificate is of the new root."""
    seen = given(node.description.tls_info, TLSInfo())
    return seen.cert_issuer_public_key == rotation.tls_info.cert_issuer_public_key


def ended(cluster: Cluster, rotation: RootRotation, rng: random.Random) -> Cluster:
    """Return the cluster with the new root, and nothing left that was of the old one."""
    internal = given(cluster.internal, ClusterInternal())
    return replace(
        cluster,
        tls_info=rotation.tls_info,
        root_rotation_in_progress=False,
        internal=replace(
            internal,
            ca_cert=rotation.ca_cert,
            ca_key=rotation.ca_key,
            cross_cert=rotation.cross_cert,
            join_tokens=new_tokens(rotation.ca_cert, rng),
            people=[],
            rotation=UNSET,
        ),
    )


def _rotation(cluster: Cluster | None) -> RootRotation | None:
    if cluster is None:
        return None
    return given(given(cluster.internal, ClusterInternal()).rotation, None)
