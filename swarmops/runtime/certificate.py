"""This node's certificate in use: kept on disk, renewed by a manager, taken up by TLS.

Held by the daemon; the only writer of the folder. It decides nothing about roles: a manager issues
for the role that the swarm gives the node, and the reply says which.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path

from swarmops.errors import ApiError, SwarmopsError
from swarmops.model.swarm import Peer
from swarmops.pki.identity import Credentials, load_credentials, save_credentials
from swarmops.pki.tls import NodeTLS
from swarmops.pki.wire import CertificateReply, CertificateRequest
from swarmops.runtime.dial import renewed_certificate
from swarmops.runtime.keyring import Keyring
from swarmops.runtime.keys import new_key

Issue = Callable[[CertificateRequest], Awaitable[CertificateReply]]


class NodeCertificate:
    """Key, certificate and root of one node, and the TLS settings made of them."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self.folder = folder
        self._keyring = keyring
        self._tls: NodeTLS | None = None

    @property
    def tls(self) -> NodeTLS:
        """The TLS settings; ConnectionError while the node is in no swarm."""
        if self._tls is None:
            raise ConnectionError("this node has no certificate: it is in no swarm")
        return self._tls

    def use(self) -> None:
        """Take up what is on disk; raises CertificateError if it can't be used."""
        if self._tls is None:
            self._tls = NodeTLS(self.folder, self._passphrase)
        else:
            self._tls.reload()

    def adopt(self, credentials: Credentials) -> None:
        """Keep new credentials and take them up."""
        passphrase = self._passphrase() if self._keyring.protected else ""
        save_credentials(self.folder, credentials, passphrase)
        self.use()

    def rewrite(self, *, protected: bool) -> None:
        """Keep the key encrypted, or in clear; a manager's alone is ever encrypted."""
        from swarmops.pki.root import decrypted_key  # noqa: PLC0415 - managers only

        passphrase = self._passphrase()
        now = load_credentials(self.folder)
        clear = Credentials(
            key_pem=decrypted_key(now.key_pem, passphrase),
            cert_pem=now.cert_pem,
            root_pem=now.root_pem,
        )
        save_credentials(self.folder, clear, passphrase if protected else "")

    def forget(self) -> None:
        """Remove them: nothing of a swarm that was left is trusted in the next one."""
        self._tls = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _passphrase(self) -> str:
        return self._keyring.derived("node key").hex()

    async def renew(
        self, managers: Iterable[Peer], issue_here: Issue | None = None
    ) -> CertificateReply:
        """Get a new certificate from any of these managers; raises what the last one said.

        A manager whom no other one answers issues its own (``issue_here``): it needs no connection
        for that, which nobody would accept once the certificate has expired.
        """
        key_pem, csr_pem = await new_key()
        failure: SwarmopsError = ApiError(503, "no manager is known")
        ways: list[Callable[[], Awaitable[CertificateReply]]] = [
            partial(renewed_certificate, peer.addr, self.tls, csr_pem) for peer in managers
        ]
        if issue_here is not None:
            ways.append(partial(issue_here, CertificateRequest(csr_pem=csr_pem)))
        for ask in ways:
            try:
                reply = await ask()
            except SwarmopsError as exc:
                failure = exc
                continue
            self.adopt(
                Credentials(key_pem=key_pem, cert_pem=reply.cert_pem, root_pem=reply.root_pem)
            )
            return reply
        raise failure
