"""The certificate authority: lets nodes in by token, renews certificates, knows who was removed.

Any manager can issue, since the root's key is in the replicated store. Called by the runtime for
requests on the node port; the role in a certificate is always the node's observed role.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.errors import ApiError
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS, NODE_CERT_EXPIRY_S
from swarmops.model.ids import new_id
from swarmops.model.node import (
    Availability,
    Node,
    NodeDescription,
    NodeInternal,
    NodeSpec,
    Role,
)
from swarmops.model.swarm import (
    CAConfig,
    Cluster,
    ClusterInternal,
    JoinTokens,
    Peer,
    RootRotation,
)
from swarmops.pki.root import BACKDATED, RootCA, issue, tls_info, validity
from swarmops.pki.tls import PeerIdentity
from swarmops.pki.tokens import new_token, parse_token, same_token
from swarmops.pki.wire import CertificateReply, CertificateRequest, Described
from swarmops.store import Store, Transaction

_INVALID_TOKEN = "A valid join token is necessary to join this cluster"  # noqa: S105 - a message


class CertificateAuthority:
    """Issues certificates from the root in the store."""

    def __init__(self, store: Store, *, now: Callable[[], datetime], rng: random.Random) -> None:
        self._store = store
        self._now = now
        self._rng = rng

    async def issue(
        self, request: CertificateRequest, shown: PeerIdentity | None
    ) -> CertificateReply:
        """Answer a joiner (by its token) or a node (by the certificate it shows).

        Raises ApiError: 403 for a wrong token or a removed node, 503 before the swarm exists.
        """
        cluster = self._store.cluster
        if cluster is None or cluster.internal is UNSET:
            raise ApiError(503, "this manager has not caught up with its swarm yet: try again")
        if request.token:
            node = await self._admit(cluster.internal, request)
        else:
            node = self._known(cluster.id, cluster.internal, shown)
        role = node.internal.role if node.internal is not UNSET else Role.WORKER
        internal = cluster.internal
        signer = signing(internal)
        cert_pem = issue(
            RootCA(cert_pem=signer.ca_cert, key_pem=signer.ca_key),
            request.csr_pem,
            node_id=node.id,
            role=role,
            cluster_id=cluster.id,
            now=self._now(),
            lifetime_s=cert_lifetime_s(cluster),
        )
        cert_pem += signer.cross_cert
        return CertificateReply(
            node_id=node.id,
            cluster_id=cluster.id,
            role=role,
            cert_pem=cert_pem,
            root_pem=internal.ca_cert,
            managers=managers_of(self._store),
            described=describe(cert_pem, internal.ca_cert, signer.ca_cert),
        )

    async def _admit(self, internal: ClusterInternal, request: CertificateRequest) -> Node:
        parse_token(request.token)
        if same_token(request.token, internal.join_tokens.manager):
            role = Role.MANAGER
            if request.no_manager_because:
                raise ApiError(400, request.no_manager_because)
        elif same_token(request.token, internal.join_tokens.worker):
            role = Role.WORKER
        else:
            raise ApiError(403, _INVALID_TOKEN)
        try:
            availability = Availability(request.availability or "active")
        except ValueError:
            raise ApiError(400, f"invalid Availability: {request.availability!r}") from None
        node = Node(
            id=new_id(self._rng),
            spec=NodeSpec(labels={}, role=role, availability=availability),
            description=NodeDescription(hostname=request.hostname),
            internal=NodeInternal(role=role),
        )
        transaction = Transaction()
        transaction.put(node)
        await self._store.commit(transaction)
        return node

    def _known(
        self, cluster_id: str, internal: ClusterInternal, shown: PeerIdentity | None
    ) -> Node:
        if shown is None or shown.cluster_id != cluster_id:
            raise ApiError(403, _INVALID_TOKEN)
        node = self._store.nodes.get(shown.node_id)
        if node is None or any(gone.id == shown.node_id for gone in internal.removed_nodes):
            raise ApiError(
                403,
                f"Permission denied: node {shown.node_id} was removed from swarm: "
                "leave the swarm on that node and join again",
            )
        return node


def signing(internal: ClusterInternal) -> ClusterInternal | RootRotation:
    """Return what has the root that signs now: during a rotation the new one."""
    return given(internal.rotation, None) or internal


def describe(cert_pem: str, root_pem: str, issuer_pem: str) -> Described:
    """Read from a certificate what its owner wants to know; the root is what it trusts."""
    begin, end = validity(cert_pem)
    about = replace(tls_info(issuer_pem), trust_root=root_pem)
    return Described(tls_info=about, valid_from=begin + BACKDATED, valid_until=end)


def cert_lifetime_s(cluster: Cluster) -> float:
    """Return how long node certificates live, in seconds."""
    config = given(cluster.spec.ca_config, CAConfig())
    lifetime_ns = given(config.node_cert_expiry, 0)
    return lifetime_ns / NANOSECONDS if lifetime_ns else float(NODE_CERT_EXPIRY_S)


def managers_of(store: Store) -> list[Peer]:
    """Return every manager that has an address yet."""
    return [
        Peer(node_id=node.id, addr=node.manager_status.addr)
        for node in store.nodes.by_role(Role.MANAGER)
        if node.manager_status and node.manager_status.addr
    ]


def new_tokens(root_pem: str, rng: random.Random) -> JoinTokens:
    """Draw both join tokens anew."""
    return JoinTokens(worker=new_token(root_pem, rng), manager=new_token(root_pem, rng))
