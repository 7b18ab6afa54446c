"""A new root beside the old one: made or taken from the operator, and vouched for by the old.

While nodes change over, certificates of the new root come with a certificate of the new root's key
that the old root signed: so who trusts either root trusts them. Source: SwarmKit's root rotation.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from swarmops.pki.root import BACKDATED, RootCA, certificate_pem, usage
from swarmops.pki.subject import CertificateError

LIFE_MIN = timedelta(days=365)


def given_root(cert_pem: str, key_pem: str, now: datetime) -> RootCA:
    """Check a root that the operator brings. Raises CertificateError with what is wrong."""
    try:
        cert = x509.load_pem_x509_certificate(cert_pem.encode())
        key = serialization.load_pem_private_key(key_pem.encode(), None)
    except (ValueError, TypeError) as exc:
        raise CertificateError(f"the CA certificate or its key can't be read: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the CA's key must be an ECDSA key, such as one on P-256")
    if cert.public_key() != key.public_key():
        raise CertificateError("the CA key does not belong to the CA certificate")
    try:
        authority = cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    if not authority or cert.issuer != cert.subject:
        raise CertificateError("the CA certificate must be a root: its own issuer, with CA:TRUE")
    if cert.not_valid_before_utc > now or cert.not_valid_after_utc < now + LIFE_MIN:
        raise CertificateError("the CA certificate must be valid now and for a year at least")
    return RootCA(cert_pem=certificate_pem(cert), key_pem=key_pem)


def cross_sign(old: RootCA, new: RootCA, now: datetime) -> str:
    """Return a certificate of the new root's name and key, signed by the old root, as PEM.

    Raises CertificateError if both are of one key.
    """
    issuer = x509.load_pem_x509_certificate(old.cert_pem.encode())
    signer = serialization.load_pem_private_key(old.key_pem.encode(), None)
    subject = x509.load_pem_x509_certificate(new.cert_pem.encode())
    public_key = subject.public_key()
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or not isinstance(
        public_key, ec.EllipticCurvePublicKey
    ):
        raise CertificateError("the swarm's root keys must be ECDSA keys")
    if public_key == signer.public_key():
        raise CertificateError("the CA certificate is of the key that the swarm uses already")
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject.subject)
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(issuer.not_valid_after_utc, subject.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return certificate_pem(cert)
