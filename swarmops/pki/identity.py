"""A node's own certificate on disk: the key with its certificate, and the swarm's root.

The runtime loads it at start and replaces it at each renewal; it is the only writer.
"""

from __future__ import annotations

import os
from pathlib import Path

from swarmops.model.base import Model
from swarmops.pki.subject import CertificateError

CERT_FILE = "node.crt"
ROOT_FILE = "ca.crt"


class Credentials(Model, frozen=True):
    """What a node shows and trusts, all PEM."""

    key_pem: str
    cert_pem: str
    root_pem: str


def save_credentials(folder: Path, credentials: Credentials, passphrase: str = "") -> None:
    """Write the credentials durably, readable by their owner alone.

    With a passphrase the key is encrypted, too.
    """
    if passphrase:
        from swarmops.pki.root import encrypted_key  # noqa: PLC0415 - managers only

        sealed = encrypted_key(credentials.key_pem, passphrase)
        credentials = Credentials(
            key_pem=sealed, cert_pem=credentials.cert_pem, root_pem=credentials.root_pem
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / ROOT_FILE, credentials.root_pem.encode())
    # Key and certificate must change together: both stand in one file, which TLS reads as it is.
    write_private(folder / CERT_FILE, (credentials.key_pem + credentials.cert_pem).encode())


def load_credentials(folder: Path) -> Credentials:
    """Read the credentials; raises CertificateError naming the file that is missing or broken."""
    try:
        both = (folder / CERT_FILE).read_text()
        root_pem = (folder / ROOT_FILE).read_text()
    except OSError as exc:
        raise CertificateError(
            f"{exc.filename}: {exc.strerror}: restore the file, or leave the swarm and join again"
        ) from exc
    begin = both.find("-----BEGIN CERTIFICATE-----")
    if begin <= 0:
        raise CertificateError(
            f"{folder / CERT_FILE}: holds no key and certificate: leave the swarm and join again"
        )
    return Credentials(key_pem=both[:begin], cert_pem=both[begin:], root_pem=root_pem)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file durably and atomically, with mode 0600."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(data)
        while view:
            # A disk that fills up takes a part and says nothing: half a file must not be renamed.
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
