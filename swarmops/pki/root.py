"""The swarm's root certificate authority: makes the root, signs node certificates.

A certificate says who a node is: CN the node's ID, OU its role, O the swarm's ID, as SwarmKit's do.
Called by ``manager.ca`` and, for the first manager, by ``runtime``; keeps nothing on disk.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from swarmops.model.base import Model
from swarmops.model.node import Role, TLSInfo
from swarmops.pki.subject import UNIT, CertificateError

ROOT_YEARS = 20
BACKDATED = timedelta(hours=1)
"""Certificates begin this long before now, so that a host whose clock lags accepts them."""


class RootCA(Model, frozen=True):
    """A root certificate and its key, both PEM."""

    cert_pem: str
    key_pem: str


def new_root(now: datetime) -> RootCA:
    """Make a self-signed ECDSA P-256 root, valid for 20 years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "swarm-ca")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=365 * ROOT_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return RootCA(cert_pem=certificate_pem(cert), key_pem=_key_pem(key))


def new_request() -> tuple[str, str]:
    """Return a new private key and a signing request for it, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Whoever signs decides about the names, so the request carries none.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = request.sign(key, hashes.SHA256())
    return _key_pem(key), csr.public_bytes(serialization.Encoding.PEM).decode()


class Subject(NamedTuple):
    """Whom a certificate is about: CN, OU and O."""

    name: str
    unit: str
    cluster_id: str


def issue(
    root: RootCA,
    csr_pem: str,
    *,
    node_id: str,
    role: Role,
    cluster_id: str,
    now: datetime,
    lifetime_s: float,
) -> str:
    """Sign a node's request and return its certificate as PEM. Raises as ``sign``."""
    return sign(
        root,
        csr_pem,
        Subject(node_id, UNIT[role], cluster_id),
        names=[x509.DNSName(UNIT[role]), x509.DNSName(node_id)],
        usages=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        now=now,
        lifetime_s=lifetime_s,
    )


def sign(
    root: RootCA,
    csr_pem: str,
    subject: Subject,
    *,
    names: Sequence[x509.GeneralName] = (),
    usages: Sequence[x509.ObjectIdentifier],
    now: datetime,
    lifetime_s: float,
) -> str:
    """Sign a request for a certificate that signs nothing itself; return it as PEM.

    Raises CertificateError if the request is malformed, unsigned or not for an ECDSA key.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        proven = csr.is_signature_valid
        public_key = csr.public_key()
    except (ValueError, InvalidSignature) as exc:
        raise CertificateError(f"the certificate request can't be read: {exc}") from exc
    if not proven or not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise CertificateError("the certificate request must be signed by its own ECDSA key")
    issuer = x509.load_pem_x509_certificate(root.cert_pem.encode())
    signer = serialization.load_pem_private_key(root.key_pem.encode(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise CertificateError("the swarm's root key is not an ECDSA key")
    builder = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, subject.name),
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, subject.unit),
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.cluster_id),
                ]
            )
        )
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + timedelta(seconds=lifetime_s), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return certificate_pem(builder.sign(signer, hashes.SHA256()))


def tls_info(root_cert_pem: str) -> TLSInfo:
    """Describe a root as Docker's ``TLSInfo`` does: DER of subject and public key in base64."""
    cert = x509.load_pem_x509_certificate(root_cert_pem.encode())
    public_key = cert.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return TLSInfo(
        trust_root=root_cert_pem,
        cert_issuer_subject=base64.b64encode(cert.subject.public_bytes()).decode(),
        cert_issuer_public_key=base64.b64encode(public_key).decode(),
    )


def validity(cert_pem: str) -> tuple[datetime, datetime]:
    """Return the times from and until which a certificate is valid, in UTC."""
    cert = x509.load_pem_x509_certificate(cert_pem.encode())
    return cert.not_valid_before_utc, cert.not_valid_after_utc


def encrypted_key(key_pem: str, passphrase: str) -> str:
    """Encrypt a private key in clear."""
    key = serialization.load_pem_private_key(key_pem.encode(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    ).decode()


def decrypted_key(key_pem: str, passphrase: str) -> str:
    """Return a private key in clear, whether it was encrypted or not."""
    encrypted = "ENCRYPTED" in key_pem.partition("\n")[0]
    password = passphrase.encode() if encrypted else None
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), password)
    except (ValueError, TypeError) as exc:
        raise CertificateError(f"the node's key can't be decrypted: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the node's key is not an ECDSA key")
    return _key_pem(key)


def usage(*, sign_certificates: bool) -> x509.KeyUsage:
    """Return what a key may be used for."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def certificate_pem(cert: x509.Certificate) -> str:
    """Return a certificate as PEM."""
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
