"""Encryption at rest: AES-256-GCM under the node's data key, one derived key a file.

Used by the log and the snapshots. A file draws a random salt when it is created and is written
once, front to back, by one process: so the record's offset is a nonce that never repeats under
its derived key. Autolock's key-encrypting key wraps the data key, outside of this module.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SALT_BYTES = 16
KEY_BYTES = 32
FINGERPRINT_BYTES = 8
TAG_BYTES = 16


class Sealer:
    """Seals and opens the records of one file."""

    def __init__(self, data_key: bytes, salt: bytes) -> None:
        if len(data_key) != KEY_BYTES:
            raise ValueError(f"a data key has {KEY_BYTES} bytes, not {len(data_key)}")
        self._cipher = AESGCM(hmac.digest(data_key, b"swarmops file " + salt, hashlib.sha256))

    def seal(self, offset: int, clear: bytes, header: bytes) -> bytes:
        """Encrypt; the header is bound to it but stays readable."""
        return self._cipher.encrypt(offset.to_bytes(12, "big"), clear, header)

    def open(self, offset: int, sealed: bytes, header: bytes) -> bytes | None:
        """Decrypt, or None when key, header or content are not what was sealed."""
        try:
            return self._cipher.decrypt(offset.to_bytes(12, "big"), sealed, header)
        except InvalidTag:
            return None


def fingerprint(data_key: bytes) -> bytes:
    """Name a data key without telling it: a wrong key is then no broken file."""
    return hmac.digest(data_key, b"swarmops key name", hashlib.sha256)[:FINGERPRINT_BYTES]
