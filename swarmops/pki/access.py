"""Certificates for the API over the network: a person's to call with, a manager's to answer with.

Both are of the swarm's root and neither is a node's: another organizational unit, and each is good
for its own side of a connection only. Called by ``api.access`` and the runtime.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from swarmops.pki.person import PERSON_UNIT
from swarmops.pki.root import RootCA, Subject, new_request, sign

API_UNIT = "swarm-api"


def issue_person(
    root: RootCA, csr_pem: str, *, name: str, cluster_id: str, now: datetime, lifetime_s: float
) -> tuple[str, str]:
    """Sign a person's request; return the certificate (PEM) and its number.

    Raises CertificateError as ``sign``.
    """
    cert_pem = sign(
        root,
        csr_pem,
        Subject(name, PERSON_UNIT, cluster_id),
        usages=[ExtendedKeyUsageOID.CLIENT_AUTH],
        now=now,
        lifetime_s=lifetime_s,
    )
    return cert_pem, serial_of(cert_pem)


def issue_api(
    root: RootCA,
    *,
    node_id: str,
    cluster_id: str,
    names: Iterable[str],
    now: datetime,
    lifetime_s: float,
) -> str:
    """Make key and certificate of a manager's API under all its names; both as one PEM."""
    key_pem, csr_pem = new_request()
    cert_pem = sign(
        root,
        csr_pem,
        Subject(node_id, API_UNIT, cluster_id),
        names=[_general_name(name) for name in dict.fromkeys(names) if name],
        usages=[ExtendedKeyUsageOID.SERVER_AUTH],
        now=now,
        lifetime_s=lifetime_s,
    )
    return key_pem + cert_pem


def serial_of(cert_pem: str) -> str:
    """Return a certificate's number as TLS tells it: hexadecimal, whole bytes, upper case."""
    digits = f"{x509.load_pem_x509_certificate(cert_pem.encode()).serial_number:X}"
    return digits if len(digits) % 2 == 0 else "0" + digits


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
