"""TLS between nodes: 1.3 only, certificates of the swarm's own root on both sides.

One port serves three protocols, told apart by ALPN. Only the certificate protocol may be spoken
without a certificate of one's own: a joiner has none yet. The runtime makes one ``NodeTLS`` and
reloads it when the certificate is renewed; names are not checked, roles are.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmops.model.base import Model
from swarmops.model.node import Role
from swarmops.pki.identity import CERT_FILE, ROOT_FILE
from swarmops.pki.subject import UNIT, CertificateError

ALPN_RAFT = "swarmops-raft/1"
ALPN_AGENT = "swarmops-agent/1"
ALPN_CA = "swarmops-ca/1"
ALPNS = (ALPN_RAFT, ALPN_AGENT, ALPN_CA)
_ROLES = {unit: role for role, unit in UNIT.items()}


class PeerIdentity(Model, frozen=True):
    """Who is at the other end, as its verified certificate says."""

    node_id: str
    role: Role
    cluster_id: str


class NodeTLS:
    """The TLS settings of one node, for accepting and for dialling.

    Certificates that a context trusts can't be taken away from it, so each reload makes new ones.
    ``server`` stays the same object for those who listen with it: each handshake is handed over to
    the newest, which Python offers where a client may name a server.
    """

    def __init__(self, folder: Path, passphrase: Callable[[], str] = lambda: "") -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._server: ssl.SSLContext | None = None
        self._newest: ssl.SSLContext | None = None
        self.reload()

    @property
    def server(self) -> ssl.SSLContext:
        """The settings for listening; workers, who never do, have none."""
        if self._server is None:
            self._newest = self._accepting()
            self._server = self._accepting()
            self._server.sni_callback = self._hand_over
        return self._server

    def client(self, alpn: str) -> ssl.SSLContext:
        """Return the settings for dialling a manager to speak this protocol."""
        return self._clients[alpn]

    def reload(self) -> None:
        """Take up the certificate and root now on disk; connections that stand are kept."""
        newest = self._accepting() if self._server is not None else None
        clients = {alpn: self._loaded(ssl.PROTOCOL_TLS_CLIENT, [alpn]) for alpn in ALPNS}
        self._newest, self._clients = newest, clients

    def _hand_over(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, listener: ssl.SSLContext
    ) -> None:
        del name, listener
        if self._newest is not None:
            connection.context = self._newest

    def _accepting(self) -> ssl.SSLContext:
        context = self._loaded(ssl.PROTOCOL_TLS_SERVER, list(ALPNS))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # no client of ours resumes a session
        return context

    def _loaded(self, protocol: int, alpns: list[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(alpns)
        try:
            # Asked for an encrypted key alone; without it OpenSSL would ask a terminal.
            context.load_cert_chain(self._folder / CERT_FILE, password=self._passphrase)
            context.load_verify_locations(self._folder / ROOT_FILE)
        except (OSError, ssl.SSLError) as exc:
            raise CertificateError(
                f"the certificate in {self._folder} can't be used ({exc}): "
                "leave the swarm and join again"
            ) from exc
        return context


def unverified_client() -> ssl.SSLContext:
    """Return settings that trust anyone: only for fetching a root that is checked by digest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN_CA])
    return context


def joining_client(root_pem: str) -> ssl.SSLContext:
    """Return settings that trust one root and show no certificate: for asking for the first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.set_alpn_protocols([ALPN_CA])
    context.load_verify_locations(cadata=root_pem)
    return context


def peer_identity(peercert: dict[str, Any] | None) -> PeerIdentity | None:
    """Read who a peer is from ``getpeercert()``; None if it showed no certificate of a node's."""
    if not peercert:
        return None
    subject = {key: value for group in peercert.get("subject", ()) for key, value in group}
    role = _ROLES.get(subject.get("organizationalUnitName", ""))
    node_id = subject.get("commonName")
    cluster_id = subject.get("organizationName")
    if role is None or not node_id or not cluster_id:
        return None
    return PeerIdentity(node_id=node_id, role=role, cluster_id=cluster_id)
