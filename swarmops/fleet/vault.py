"""Values encrypted by ansible-vault: read, never written.

Called by the readers of inventories and playbooks. The format is Ansible's documented one
(``$ANSIBLE_VAULT;1.1;AES256``: PBKDF2-HMAC-SHA256 of 10 000 rounds, AES-256-CTR, HMAC-SHA256):
the one library that reads it brings all of Ansible with it. The password is asked for only when
something encrypted is met, and once.
"""

from __future__ import annotations

import binascii
import contextvars
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from swarmops.errors import InputError

MARK = "$ANSIBLE_VAULT;"
_ROUNDS = 10_000
_KEY_BYTES = 32
_BLOCK_BYTES = 16
_FIELDS = 3
_SCRIPT_WITHIN_S = 60
PASSWORD_FILE = "ANSIBLE_VAULT_PASSWORD_FILE"  # noqa: S105 - the name of a variable


class Secret(str):
    """A decrypted value: as good as any string, and shown by nobody."""

    __slots__ = ()


class VaultError(Exception):
    """A text can't be decrypted; the message is the reason."""


def decrypt(text: str, password: bytes) -> bytes:
    """Return what a vault's text hides. Raises VaultError."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - not needed for --help
    from cryptography.hazmat.primitives import hashes, hmac, padding  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC  # noqa: PLC0415 - the same

    salt, digest, content = _parts(text)
    derived = PBKDF2HMAC(hashes.SHA256(), 2 * _KEY_BYTES + _BLOCK_BYTES, salt, _ROUNDS).derive(
        password
    )
    check = hmac.HMAC(derived[_KEY_BYTES : 2 * _KEY_BYTES], hashes.SHA256())
    check.update(content)
    try:
        check.verify(digest)
    except InvalidSignature:
        raise VaultError("the vault's password is wrong, or it was changed by somebody") from None
    cipher = Cipher(algorithms.AES(derived[:_KEY_BYTES]), modes.CTR(derived[2 * _KEY_BYTES :]))
    decryptor = cipher.decryptor()
    padded = decryptor.update(content) + decryptor.finalize()
    unpadder = padding.PKCS7(8 * _BLOCK_BYTES).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


def label_of(text: str) -> str:
    """Return the vault ID that a text was encrypted with, ``default`` where it names none."""
    fields = text.strip().split("\n", 1)[0].strip().split(";")
    return fields[_FIELDS] if len(fields) > _FIELDS else "default"


def _parts(text: str) -> tuple[bytes, bytes, bytes]:
    head, _, body = text.strip().partition("\n")
    fields = head.strip().split(";")
    if len(fields) < _FIELDS or fields[1] not in {"1.1", "1.2"} or fields[2] != "AES256":
        raise VaultError(f"its vault is of a kind that can't be read ({head.strip()[:40]})")
    try:
        inner = binascii.unhexlify("".join(body.split()))
        salt, digest, content = (binascii.unhexlify(part) for part in inner.split(b"\n", 2))
    except (binascii.Error, ValueError):
        raise VaultError("its vault is cut off or damaged") from None
    return salt, digest, content


class Vault:
    """Where passwords come from: files (a program is run), else a prompt on a terminal."""

    def __init__(
        self,
        files: tuple[str, ...] = (),
        environ: Mapping[str, str] = os.environ,
        prompt: Callable[[str], str] | None = None,
    ) -> None:
        """``files`` are paths, or ``LABEL@PATH``; ``prompt`` asks a person."""
        found = environ.get(PASSWORD_FILE)
        self._files = files or ((found,) if found else ())
        self._prompt = prompt
        self._passwords: dict[str, bytes] | None = None

    def read(self, text: str) -> bytes:
        """Decrypt a text with the password of its label, else with any. Raises VaultError."""
        if self._passwords is None:
            self._passwords = self._all()
        label = label_of(text)
        ordered = sorted(self._passwords, key=lambda known: known != label)
        reason = VaultError("no password is known for it")
        for known in ordered:
            try:
                return decrypt(text, self._passwords[known])
            except VaultError as error:
                reason = error
        raise reason

    def _all(self) -> dict[str, bytes]:
        passwords = {}
        for number, file in enumerate(self._files):
            label, at, path = file.rpartition("@")
            name = label if at else ("default" if not number else f"default {number}")
            passwords[name] = _from_file(Path(path).expanduser(), label or "default")
        if not passwords:
            passwords["default"] = self._asked()
        return passwords

    def _asked(self) -> bytes:
        if self._prompt is not None:
            return self._prompt("Vault password: ").encode()
        if not sys.stdin.isatty():
            raise VaultError(
                "it is encrypted by ansible-vault: give --vault-password-file, or set"
                f" {PASSWORD_FILE}"
            )
        import getpass  # noqa: PLC0415 - only where somebody is asked

        try:
            return getpass.getpass("Vault password: ").encode()
        except EOFError:
            raise VaultError(
                "it is encrypted by ansible-vault, and no password was given"
            ) from None


def _from_file(path: Path, label: str) -> bytes:
    """Return the first line of a file, or of what a program says, as Ansible does.

    A program whose name ends in ``-client`` is told for which vault ID.
    """
    try:
        if path.is_file() and os.access(path, os.X_OK):
            words = ["--vault-id", label] if path.stem.endswith("-client") else []
            done = subprocess.run(
                [str(path.absolute()), *words],
                capture_output=True,
                check=False,
                timeout=_SCRIPT_WITHIN_S,
            )
            if done.returncode:
                raise VaultError(f"the vault password program {path} exited {done.returncode}")
            content = done.stdout
        else:
            content = path.read_bytes()
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it took too long"
        raise VaultError(f"the vault password file {path} can't be read: {reason}") from error
    return content.strip().split(b"\n", 1)[0].strip()


current: contextvars.ContextVar[Vault | None] = contextvars.ContextVar("vault", default=None)
"""The run's own; set by the command line."""


def reveal(text: str, where: str) -> Secret:
    """Return a decrypted value. Raises InputError with the place."""
    vault = current.get()
    if vault is None:
        vault = Vault()
        current.set(vault)
    try:
        return Secret(vault.read(text).decode())
    except VaultError as error:
        raise InputError(f"{where}: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: what its vault hides is no text") from None
