"""Certificates and tokens: what they prove, and what is refused."""

from __future__ import annotations

import os
import random
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_connection, create_server
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.model.node import Role
from swarmops.pki.identity import (
    Credentials,
    load_credentials,
    save_credentials,
    write_private,
)
from swarmops.pki.root import RootCA, issue, new_request, new_root, validity
from swarmops.pki.subject import CertificateError
from swarmops.pki.tls import (
    ALPN_AGENT,
    ALPN_CA,
    NodeTLS,
    joining_client,
    peer_identity,
    unverified_client,
)
from swarmops.pki.tokens import (
    WrongRootError,
    check_root,
    new_token,
    parse_token,
    root_digest,
    same_token,
)

NOW = datetime.now(tz=UTC)
DAY_S = 86400.0


def node_tls(folder: Path, root: RootCA, role: Role, node_id: str = "n1") -> NodeTLS:
    """A node's TLS settings, with a certificate of this root."""
    key, csr = new_request()
    cert = issue(
        root, csr, node_id=node_id, role=role, cluster_id="c1", now=NOW, lifetime_s=90 * DAY_S
    )
    save_credentials(folder, Credentials(key_pem=key, cert_pem=cert, root_pem=root.cert_pem))
    return NodeTLS(folder)


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext
) -> tuple[dict[str, Any] | None, str | None, str | None]:
    """Shake hands over loopback; return the client's certificate, the ALPN and TLS version."""
    seen: list[dict[str, Any] | None] = []
    with create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            raw, _ = listener.accept()
            try:
                with server.wrap_socket(raw, server_side=True) as connection:
                    seen.append(connection.getpeercert())
                    connection.sendall(b"x")
            except (ssl.SSLError, ConnectionError):
                seen.append(None)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                create_connection(listener.getsockname(), timeout=60) as raw,
                client.wrap_socket(raw) as connection,
            ):
                connection.recv(1)
                return_value = connection.selected_alpn_protocol(), connection.version()
        finally:
            thread.join(60)
    return seen[0], *return_value


def test_a_certificate_says_who_the_node_is_and_in_which_role(tmp_path: Path):
    """CN, OU and O arrive at the other end, verified, over TLS 1.3 with the protocol asked for."""
    root = new_root(NOW)
    server = node_tls(tmp_path / "a", root, Role.MANAGER, "manager1")
    client = node_tls(tmp_path / "b", root, Role.WORKER, "worker1")
    cert, alpn, version = handshake(server.server, client.client(ALPN_AGENT))
    peer = peer_identity(cert)
    assert peer is not None
    assert (peer.node_id, peer.role, peer.cluster_id) == ("worker1", Role.WORKER, "c1")
    assert (alpn, version) == (ALPN_AGENT, "TLSv1.3")


@pytest.mark.parametrize("client_has", ["another root", "an expired certificate"])
def test_a_certificate_that_the_root_does_not_vouch_for_is_refused(tmp_path: Path, client_has: str):
    """No connection comes about with a foreign or an expired certificate."""
    root = new_root(NOW)
    server = node_tls(tmp_path / "a", root, Role.MANAGER)
    if client_has == "another root":
        client = node_tls(tmp_path / "b", new_root(NOW), Role.MANAGER)
        context = client.client(ALPN_CA)
        context.verify_mode = ssl.CERT_NONE
    else:
        key, csr = new_request()
        long_ago = NOW - timedelta(days=30)
        cert = issue(
            root,
            csr,
            node_id="n",
            role=Role.MANAGER,
            cluster_id="c1",
            now=long_ago,
            lifetime_s=DAY_S,
        )
        folder = tmp_path / "b"
        save_credentials(folder, Credentials(key_pem=key, cert_pem=cert, root_pem=root.cert_pem))
        context = NodeTLS(folder).client(ALPN_CA)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server.server, context)


def test_a_joiner_trusts_the_server_only_after_the_root_is_known(tmp_path: Path):
    """Fetching the root needs no trust; asking for a certificate needs the right root."""
    root = new_root(NOW)
    server = node_tls(tmp_path, root, Role.MANAGER).server
    assert handshake(server, unverified_client())[0] is None
    assert handshake(server, joining_client(root.cert_pem))[1] == ALPN_CA
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, joining_client(new_root(NOW).cert_pem))


def test_older_tls_is_refused(tmp_path: Path):
    """A client that speaks TLS 1.2 at most doesn't get in."""
    root = new_root(NOW)
    server = node_tls(tmp_path, root, Role.MANAGER).server
    old = unverified_client()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, old)


def test_a_certificate_is_valid_from_an_hour_ago_for_its_lifetime():
    """Clocks may differ by an hour; the lifetime counts from now."""
    root = new_root(NOW)
    _, csr = new_request()
    cert = issue(
        root, csr, node_id="n", role=Role.WORKER, cluster_id="c", now=NOW, lifetime_s=DAY_S
    )
    begin, end = validity(cert)
    second = NOW.replace(microsecond=0)
    assert (begin, end) == (second - timedelta(hours=1), second + timedelta(days=1))


@pytest.mark.parametrize("csr", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n"])
def test_a_malformed_request_is_refused_with_a_sentence(csr: str):
    """A request from the network can't raise anything but a CertificateError."""
    with pytest.raises(CertificateError, match="certificate request"):
        issue(
            new_root(NOW),
            csr,
            node_id="n",
            role=Role.WORKER,
            cluster_id="c",
            now=NOW,
            lifetime_s=1.0,
        )


def test_a_token_has_dockers_form_and_names_its_root():
    """SWMTKN-1-<50>-<25>; a joiner accepts the token's own root and no other."""
    root, other = new_root(NOW), new_root(NOW)
    token = new_token(root.cert_pem, random.Random(1))
    assert [len(part) for part in token.split("-")] == [6, 1, 50, 25]
    parsed = parse_token(token)
    assert parsed.root_digest == root_digest(root.cert_pem)
    check_root(parsed, root.cert_pem)
    with pytest.raises(WrongRootError, match="remote CA does not match fingerprint"):
        check_root(parsed, other.cert_pem)


@pytest.mark.parametrize(
    "token", ["", "SWMTKN-1-x-y", "SWMTKN-2-" + "a" * 50 + "-" + "b" * 25, "hello"]
)
def test_what_is_no_token_is_refused_in_dockers_words(token: str):
    """As ``docker swarm join`` prints it."""
    with pytest.raises(InputError, match=r"^invalid join token$"):
        parse_token(token)


def test_an_empty_token_matches_nothing():
    """A swarm whose tokens are not set yet lets nobody in."""
    assert not same_token("", "")
    assert same_token("a", "a")


def _remove_root(folder: Path) -> None:
    (folder / "ca.crt").unlink()


def _empty_cert(folder: Path) -> None:
    (folder / "node.crt").write_text("")


@pytest.mark.parametrize("damage", [_remove_root, _empty_cert])
def test_broken_credentials_are_named_with_their_file(
    tmp_path: Path, damage: Callable[[Path], None]
):
    """The sentence says which file, and what to do."""
    node_tls(tmp_path, new_root(NOW), Role.WORKER)
    assert load_credentials(tmp_path).cert_pem.startswith("-----BEGIN CERTIFICATE")
    damage(tmp_path)
    with pytest.raises(CertificateError, match=r"(ca|node)\.crt: .*: .*join again"):
        load_credentials(tmp_path)


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path):
    """Mode 0600, in a folder 0700."""
    folder = tmp_path / "certificates"
    node_tls(folder, new_root(NOW), Role.WORKER)
    assert (folder / "node.crt").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_that_the_disk_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A disk that fills up takes a part and says nothing: half a key must not replace one."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    write_private(tmp_path / "key", b"0123456789")
    assert (tmp_path / "key").read_bytes() == b"0123456789"
