"""A new root beside the old one: who trusts whom at each stage, and which roots are of no use."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from swarmops.model.node import Role
from swarmops.pki.identity import Credentials, save_credentials
from swarmops.pki.root import RootCA, issue, new_request, new_root
from swarmops.pki.rotation import cross_sign, given_root
from swarmops.pki.subject import CertificateError
from swarmops.pki.tls import ALPN_AGENT, NodeTLS
from tests.unit.pki.test_pki import handshake

NOW = datetime.now(tz=UTC)
OLD, NEW = new_root(NOW), new_root(NOW)
CROSS = cross_sign(OLD, NEW, NOW)


def keep(folder: Path, signer: RootCA, chain: str, trusts: RootCA) -> None:
    """Put a manager's certificate, with what is sent along, and its root on disk."""
    key, csr = new_request()
    cert = issue(
        signer, csr, node_id="n", role=Role.MANAGER, cluster_id="c", now=NOW, lifetime_s=86400
    )
    credentials = Credentials(key_pem=key, cert_pem=cert + chain, root_pem=trusts.cert_pem)
    save_credentials(folder, credentials)


STAGES = {
    "before": (OLD, "", OLD),
    "changed over": (NEW, CROSS, OLD),
    "after": (NEW, CROSS, NEW),
}


@pytest.mark.parametrize("one", STAGES)
@pytest.mark.parametrize("other", STAGES)
def test_nodes_of_neighbouring_stages_trust_each_other(tmp_path: Path, one: str, other: str):
    """Only one that has not begun and one that has ended don't: the swarm never has both."""
    for name, stage in ((tmp_path / "one", one), (tmp_path / "other", other)):
        keep(name, *STAGES[stage])
    server = NodeTLS(tmp_path / "one").server
    client = NodeTLS(tmp_path / "other").client(ALPN_AGENT)
    if {one, other} == {"before", "after"}:
        with pytest.raises(ssl.SSLError):
            handshake(server, client)
    else:
        assert handshake(server, client)[1] == ALPN_AGENT


def test_a_listener_drops_the_old_root_when_it_reloads(tmp_path: Path):
    """Who shows a certificate of the old root is refused, by the same listening context."""
    for name in ("listener", "caller"):
        keep(tmp_path / name, *STAGES["before"])
    listener, caller = NodeTLS(tmp_path / "listener"), NodeTLS(tmp_path / "caller")
    server = listener.server
    assert handshake(server, caller.client(ALPN_AGENT))
    keep(tmp_path / "listener", *STAGES["after"])
    listener.reload()
    with pytest.raises(ssl.SSLError):
        handshake(server, caller.client(ALPN_AGENT))
    assert listener.server is server
    keep(tmp_path / "caller", *STAGES["changed over"])
    caller.reload()
    assert handshake(server, caller.client(ALPN_AGENT))


def _short_lived() -> RootCA:
    return new_root(NOW - timedelta(days=365 * 20 - 300))


def _rsa() -> RootCA:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return RootCA(cert_pem=NEW.cert_pem, key_pem=pem.decode())


def _leaf() -> RootCA:
    key, csr = new_request()
    cert = issue(
        NEW, csr, node_id="n", role=Role.MANAGER, cluster_id="c", now=NOW, lifetime_s=10**9
    )
    return RootCA(cert_pem=cert, key_pem=key)


BAD = {
    "is no PEM": (RootCA(cert_pem="x", key_pem="y"), "can't be read"),
    "has another's key": (RootCA(cert_pem=NEW.cert_pem, key_pem=OLD.key_pem), "does not belong"),
    "ends soon": (_short_lived(), "for a year at least"),
    "is RSA": (_rsa(), "must be an ECDSA key"),
    "is no authority": (_leaf(), "must be a root"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_root_that_is_of_no_use_is_refused(what: str):
    """With what is wrong with it."""
    root, said = BAD[what]
    with pytest.raises(CertificateError, match=said):
        given_root(root.cert_pem, root.key_pem, NOW)


def test_a_root_can_not_follow_itself():
    """Its key would be no safer than it was."""
    assert given_root(NEW.cert_pem, NEW.key_pem, NOW) == NEW
    with pytest.raises(CertificateError, match="uses already"):
        cross_sign(OLD, OLD, NOW)
