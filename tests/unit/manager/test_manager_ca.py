"""The certificate authority: whom it refuses a certificate, in Docker's words."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from swarmops.errors import ApiError
from swarmops.manager.ca import CertificateAuthority
from swarmops.model.node import Node, NodeInternal, Role
from swarmops.model.swarm import Cluster, ClusterInternal, JoinTokens, RemovedNode
from swarmops.pki.root import new_request, new_root
from swarmops.pki.tls import PeerIdentity
from swarmops.pki.tokens import new_token
from swarmops.pki.wire import CertificateRequest
from swarmops.store import Store, Transaction
from tests.sim.memory_log import MemoryLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT, RNG = new_root(NOW), random.Random(1)
CSR = new_request()[1]
WORKER, MANAGER, OTHER = (new_token(ROOT.cert_pem, RNG) for _ in range(3))
NOBODY = "A valid join token is necessary to join this cluster"
GONE = "Permission denied: node {} was removed from swarm"
CURE = ": leave the swarm on that node and join again"


async def authority() -> tuple[CertificateAuthority, Store]:
    """Make one of a swarm that has a worker, and removed one whose object is still there."""
    store = Store(now=lambda: NOW)
    MemoryLog().attach(store)
    internal = ClusterInternal(
        ca_cert=ROOT.cert_pem,
        ca_key=ROOT.key_pem,
        join_tokens=JoinTokens(worker=WORKER, manager=MANAGER),
        removed_nodes=[RemovedNode(id="removed", until=NOW)],
    )
    tx = Transaction()
    tx.put(Cluster(id="c", internal=internal))
    for name in ("w1", "removed"):
        tx.put(Node(id=name, internal=NodeInternal(role=Role.WORKER)))
    await store.commit(tx)
    return CertificateAuthority(store, now=lambda: NOW, rng=random.Random(1)), store


def shown(node_id: str, cluster_id: str = "c") -> PeerIdentity:
    """Return what a node's certificate says of it."""
    return PeerIdentity(node_id=node_id, role=Role.WORKER, cluster_id=cluster_id)


@pytest.mark.parametrize(
    ("token", "peer", "said"),
    [
        pytest.param(OTHER, None, NOBODY, id="a token that was rotated away"),
        pytest.param(OTHER, shown("w1"), NOBODY, id="a token counts before a certificate"),
        pytest.param("", None, NOBODY, id="neither token nor certificate"),
        pytest.param("", shown("w1", "another"), NOBODY, id="a certificate of another swarm"),
        pytest.param("", shown("removed"), GONE.format("removed"), id="a removed node"),
        pytest.param("", shown("w9"), GONE.format("w9"), id="a node that there is not"),
    ],
)
async def test_who_may_not_be_in_the_swarm_gets_no_certificate(
    token: str, peer: PeerIdentity | None, said: str
):
    """He is told why with 403, and no node is made."""
    ca, store = await authority()
    with pytest.raises(ApiError) as refused:
        await ca.issue(CertificateRequest(csr_pem=CSR, token=token), peer)
    assert refused.value.status == 403
    assert refused.value.message.removesuffix(CURE) == said
    assert {node.id for node in store.nodes} == {"w1", "removed"}


@pytest.mark.parametrize(
    ("token", "role"),
    [
        pytest.param(WORKER, Role.WORKER, id="worker"),
        pytest.param(MANAGER, Role.MANAGER, id="manager"),
    ],
)
async def test_a_token_says_what_its_node_becomes(token: str, role: Role):
    """A new node of that role, with a certificate of that role."""
    ca, store = await authority()
    reply = await ca.issue(CertificateRequest(csr_pem=CSR, token=token), None)
    node = store.nodes.get(reply.node_id)
    assert node is not None
    assert (node.spec.role, reply.role) == (role, role)


async def test_a_node_renews_its_certificate_without_a_token():
    """Under its own ID."""
    ca, store = await authority()
    reply = await ca.issue(CertificateRequest(csr_pem=CSR), shown("w1"))
    assert (reply.node_id, len(store.nodes)) == ("w1", 2)
