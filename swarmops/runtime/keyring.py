"""A manager's data key on disk: as it is, or, with autolock, wrapped by the swarm's unlock key.

Held by the daemon, the only writer of the file. Everything else of a manager that must not be read
without the unlock key is protected by keys derived from the data key, so turning autolock on and
off, or rotating the unlock key, replaces one small file, atomically. A manager that was down while
the key was rotated still needs the old one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from swarmops.errors import SwarmopsError
from swarmops.pki.identity import write_private

KEY_FILE = "raft.key"
KEY_BYTES = 32
_WRAPPED = b"swarmops wrapped key 1\n"
_NONCE_BYTES = 12


class WrongKeyError(SwarmopsError):
    """The unlock key is not the one that this manager's key was wrapped with."""


class Keyring:
    """The data key of one manager."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / KEY_FILE
        self._data_key: bytes | None = None
        self._wrapped_by: bytes | None = None
        """The unlock key in use, None while the file is in clear."""

    @property
    def locked(self) -> bool:
        """Whether an unlock key is needed first."""
        return self._data_key is None and self._read().startswith(_WRAPPED)

    @property
    def protected(self) -> bool:
        """Whether the data key is wrapped on disk."""
        return self._wrapped_by is not None

    def unlock(self, unlock_key: bytes) -> None:
        """Open the data key. Raises WrongKeyError."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - managers only
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - the same

        sealed = self._read().removeprefix(_WRAPPED)
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            self._data_key = AESGCM(unlock_key).decrypt(nonce, rest, _WRAPPED)
        except (InvalidTag, ValueError) as error:
            raise WrongKeyError("invalid key provided") from error
        self._wrapped_by = unlock_key

    def data_key(self) -> bytes:
        """Return the key that log and snapshots are encrypted with; made at first use."""
        if self._data_key is None:
            key = self._read()
            if key.startswith(_WRAPPED):
                raise WrongKeyError("this manager is locked")
            if len(key) != KEY_BYTES:
                key = secrets.token_bytes(KEY_BYTES)
                self._write(key)
            self._data_key = key
        return self._data_key

    def wrap(self, unlock_key: bytes) -> None:
        """Keep the data key wrapped by this key from now on."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - the same

        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(unlock_key).encrypt(nonce, self.data_key(), _WRAPPED)
        self._write(_WRAPPED + nonce + sealed)
        self._wrapped_by = unlock_key

    def unwrap(self) -> None:
        """Keep the data key in clear from now on."""
        self._write(self.data_key())
        self._wrapped_by = None

    def is_wrapped_by(self, unlock_key: bytes | None) -> bool:
        """Whether the file is as it should be with this unlock key, or none."""
        return self._wrapped_by == unlock_key

    def derived(self, purpose: str) -> bytes:
        """Return a key for something else that needs the data key to be opened."""
        return hmac.digest(self.data_key(), f"swarmops {purpose}".encode(), hashlib.sha256)

    def lock_again(self) -> None:
        """Forget what was unlocked."""
        self._data_key = self._wrapped_by = None

    def forget(self) -> None:
        """Remove the key: what it encrypted is gone, or goes now."""
        self.path.unlink(missing_ok=True)
        self.lock_again()

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self, data: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path, data)
