"""What this node's tasks use and nobody else shall see, kept so that a restart needs no manager.

Secrets, configs, and the credentials with which a task's image is pulled.

The worker feeds it what managers send. On disk they are sealed with a key of this node's own
(AES-GCM, a file that only its owner reads), so a copy of the database shows nothing without it.
The cipher is loaded with the first secret: a node without any never pays for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from swarmops.agent.records import Database
from swarmops.agent.task_files import Dependencies
from swarmops.model.secret import Config, Secret
from swarmops.model.session import Assignments

KEY_FILE = "secrets.key"
KEY_BYTES = 32
NONCE_BYTES = 12
_AUTH = "registry-auth "
"""Before a task's ID, the name under which its credentials are kept."""
log = structlog.get_logger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode_secret = msgspec.msgpack.Decoder(Secret).decode
_decode_config = msgspec.msgpack.Decoder(Config).decode


class Sealer(Protocol):
    """Makes bytes unreadable for all others. ``open`` raises ``ValueError`` if it can't."""

    def seal(self, data: bytes, name: str) -> bytes:
        """Return the data sealed, bound to the name."""
        ...

    def open(self, sealed: bytes, name: str) -> bytes:
        """Return what was sealed under the name."""
        ...


class KeyFile:
    """Seals with a key in a file, which is made when it is first needed.

    ``instead`` may return a key that is kept elsewhere; the file is removed then.
    """

    def __init__(self, path: Path, instead: Callable[[], bytes | None] = lambda: None) -> None:
        self._path = path
        self._instead = instead

    def seal(self, data: bytes, name: str) -> bytes:
        """Return nonce and ciphertext."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._key()).encrypt(nonce, data, name.encode())

    def open(self, sealed: bytes, name: str) -> bytes:
        """Return the plaintext. Raises ``ValueError``."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see above
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - the same

        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(self._key()).decrypt(nonce, rest, name.encode())
        except (InvalidTag, OSError) as error:
            raise ValueError(f"{self._path} is not the key: {type(error).__name__}") from None

    def _key(self) -> bytes:
        elsewhere = self._instead()
        if elsewhere is not None:
            self._path.unlink(missing_ok=True)
            return elsewhere
        try:
            key = self._path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != KEY_BYTES:
            key = os.urandom(KEY_BYTES)
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self._path.with_suffix(".new")
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        return key


class Vault:
    """All secrets and configs of this node. Without a sealer they are kept as they are."""

    def __init__(self, database: Database, sealer: Sealer | None) -> None:
        self._database = database
        self._sealer = sealer
        self._secrets: dict[str, Secret] = {}
        self._configs: dict[str, Config] = {}
        self._auths: dict[str, str] = {}

    @property
    def held(self) -> Dependencies:
        """Return what tasks may use."""
        return Dependencies(self._secrets, self._configs, self._auths)

    async def restore(self, task_ids: Collection[str]) -> None:
        """Take up what was kept; what cannot be opened any more is dropped, and sent again.

        Of what belongs to one task alone only that of the named tasks is kept.
        """
        for object_id, sealed in (await self._database.load_sealed()).items():
            try:
                self._unpack(object_id, sealed)
            except (ValueError, msgspec.MsgspecError):
                log.warning("a kept secret or config cannot be opened", id=object_id)
                self._database.forget_sealed(object_id)
        for task_id in self._auths.keys() - set(task_ids):
            self.forget_task(task_id)

    def take(self, frame: Assignments) -> None:
        """Keep what came with the assignments, and drop what they say is not needed."""
        for secret in frame.secrets:
            if self._secrets.get(secret.id) != secret:
                self._secrets[secret.id] = secret
                self._keep(secret.id, b"s", _encode(secret))
        for config in frame.configs:
            if self._configs.get(config.id) != config:
                self._configs[config.id] = config
                self._keep(config.id, b"c", _encode(config))
        for task_id, auth in frame.registry_auths.items():
            if self._auths.get(task_id) != auth:
                self._auths[task_id] = auth
                self._keep(_AUTH + task_id, b"a", auth.encode())
        dropped = set(frame.dropped_dependencies)
        if frame.complete:
            named = {each.id for each in (*frame.secrets, *frame.configs)}
            dropped |= (self._secrets.keys() | self._configs.keys()) - named
        for object_id in dropped:
            self._secrets.pop(object_id, None)
            self._configs.pop(object_id, None)
            self._database.forget_sealed(object_id)

    def forget_task(self, task_id: str) -> None:
        """Drop what was kept for one task alone."""
        if self._auths.pop(task_id, None) is not None:
            self._database.forget_sealed(_AUTH + task_id)

    def _keep(self, object_id: str, kind: bytes, data: bytes) -> None:
        data = kind + data
        try:
            sealed = self._sealer.seal(data, object_id) if self._sealer else data
        except OSError as error:  # it is in memory; only a restart without managers misses it
            log.warning("a secret or config cannot be kept", id=object_id, reason=str(error))
            return
        self._database.put_sealed(object_id, sealed)

    def _unpack(self, object_id: str, sealed: bytes) -> None:
        data = self._sealer.open(sealed, object_id) if self._sealer else sealed
        if data[:1] == b"s":
            self._secrets[object_id] = _decode_secret(data[1:])
        elif data[:1] == b"a":
            self._auths[object_id.removeprefix(_AUTH)] = data[1:].decode()
        else:
            self._configs[object_id] = _decode_config(data[1:])
