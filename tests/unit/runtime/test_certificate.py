"""A node's certificate is renewed, also where it has expired and nobody accepts it any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from swarmops.errors import SwarmopsError
from swarmops.model.node import Role, TLSInfo
from swarmops.model.swarm import Peer
from swarmops.pki.identity import Credentials
from swarmops.pki.root import issue, new_request, new_root, validity
from swarmops.pki.wire import CertificateReply, CertificateRequest, Described
from swarmops.runtime.certificate import NodeCertificate
from swarmops.runtime.keyring import Keyring

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=100)
ROOT = new_root(LONG_AGO)
NOBODY = Peer(node_id="other", addr="127.0.0.1:1")


def signed(csr_pem: str, now: datetime) -> str:
    """Return a manager's certificate that lives for an hour."""
    return issue(
        ROOT, csr_pem, node_id="me", role=Role.MANAGER, cluster_id="c", now=now, lifetime_s=3600
    )


async def own_authority(request: CertificateRequest) -> CertificateReply:
    """Issue as a manager does from its store."""
    return CertificateReply(
        node_id="me",
        cluster_id="c",
        role=Role.MANAGER,
        cert_pem=signed(request.csr_pem, NOW),
        root_pem=ROOT.cert_pem,
        managers=[],
        described=Described(tls_info=TLSInfo(), valid_from=NOW, valid_until=NOW),
    )


@pytest.fixture
def expired(tmp_path: Path) -> NodeCertificate:
    """Return the certificate of a machine that was off for too long."""
    certificate = NodeCertificate(tmp_path / "certificates", Keyring(tmp_path))
    key, csr = new_request()
    certificate.adopt(
        Credentials(key_pem=key, cert_pem=signed(csr, LONG_AGO), root_pem=ROOT.cert_pem)
    )
    return certificate


def ends(certificate: NodeCertificate) -> datetime:
    """Return when the certificate on disk ends."""
    return validity((certificate.folder / "node.crt").read_text())[1]


async def test_a_manager_whose_certificate_has_expired_issues_its_own(expired: NodeCertificate):
    """Nobody accepts it any more, itself included, and it holds the root's key."""
    assert ends(expired) < NOW
    await expired.renew([NOBODY], own_authority)
    assert ends(expired) > NOW


async def test_a_worker_says_why_no_manager_renewed(expired: NodeCertificate):
    """Without an authority of its own the certificate stays, and the last reason is told."""
    with pytest.raises(SwarmopsError, match=r"127\.0\.0\.1:1 can't be reached"):
        await expired.renew([NOBODY])
    assert ends(expired) < NOW
