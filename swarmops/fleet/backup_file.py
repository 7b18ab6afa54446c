"""A backup as a file: a line that says what it is, and the rest encrypted with a passphrase.

The first line is JSON in clear text (when, of which swarm, how much), so that files can be listed
without the passphrase; it is authenticated with the rest. AES-256-GCM, the key by scrypt.
"""

from __future__ import annotations

import gzip
import os
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from swarmops.errors import InputError
from swarmops.fleet.backup import Backup, summary

SUFFIX = ".swarmops-backup"
_FORMAT = 1
_SALT_BYTES, _NONCE_BYTES = 16, 12
_SCRYPT = {"length": 32, "n": 2**15, "r": 8, "p": 1}
_HEADER_BYTES_MAX = 64 << 10


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a file."""

    swarmops_backup: int = _FORMAT
    created: datetime
    swarm: str
    counts: dict[str, int]


def write_backup(path: Path, backup: Backup, name: str, now: datetime, passphrase: str) -> Header:
    """Write a file that is whole or not there. Raises InputError."""
    header = Header(created=now, swarm=name, counts=summary(backup))
    line = msgspec.json.encode(header) + b"\n"
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    content = gzip.compress(msgspec.json.encode(backup), mtime=0)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, content, line)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(line + salt + nonce + sealed)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path} can't be written ({error.strerror})") from error
    return header


def read_header(path: Path) -> Header:
    """Return a file's first line. Raises InputError."""
    return _split(path)[0]


def read_backup(path: Path, passphrase: str) -> Backup:
    """Return what a file holds. Raises InputError: no backup, spoilt, a wrong passphrase."""
    _, line, rest = _split(path)
    salt, nonce = rest[:_SALT_BYTES], rest[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
    try:
        content = AESGCM(_key(passphrase, salt)).decrypt(
            nonce, rest[_SALT_BYTES + _NONCE_BYTES :], line
        )
    except (InvalidTag, ValueError) as error:
        raise InputError(
            f"{path} can't be opened: the passphrase is wrong, or the file is spoilt"
        ) from error
    try:
        return msgspec.json.decode(gzip.decompress(content), type=Backup)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is of another release of swarmops: {error}") from error


def _split(path: Path) -> tuple[Header, bytes, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from error
    line, newline, rest = content.partition(b"\n")
    try:
        if not newline or len(line) > _HEADER_BYTES_MAX:
            raise msgspec.DecodeError("no first line")
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is no backup of swarmops") from error
    if header.swarmops_backup > _FORMAT:
        raise InputError(f"{path} was made by a newer swarmops: restore it with that one")
    return header, line + newline, rest


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, **_SCRYPT).derive(passphrase.encode())
