"""Which ssh-agent opens a hop, and which of its keys: ssh_config's IdentityAgent, IdentitiesOnly.

Used by ``connect``. Paramiko alone knows one agent, that of SSH_AUTH_SOCK, and offers all of its
keys, also those that it has offered from their files; sshd hangs up on whoever offers too many.
"""

from __future__ import annotations

import base64
import functools
import os
import re
import socket
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import fabric
import paramiko
from paramiko.agent import AgentKey, AgentSSH

_FROM_ENVIRONMENT = "SSH_AUTH_SOCK"
_USUAL_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_PUBLIC = ("ssh-", "ecdsa-", "sk-")
"""How the types of keys begin, and with them the files of public ones."""
_PRIVATE = re.compile("-----BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_MAGIC = b"openssh-key-v1\0"
_LISTED_WITHIN_S = 10.0
_SIGNED_WITHIN_S = 120.0
"""Somebody may have to touch a key, or to confirm."""


class ChosenAgent(AgentSSH):
    """An agent at a socket: of its keys those ``wanted`` (None: all) and not offered ``already``.

    As to ssh, one that doesn't answer is one without keys.
    """

    def __init__(
        self, path: str, wanted: Collection[bytes] | None, already: Collection[bytes]
    ) -> None:
        super().__init__()
        self._path = path
        self._wanted = wanted
        self._already = already
        self._socket: socket.socket | None = None

    def get_keys(self) -> tuple[AgentKey, ...]:
        """Ask for the keys; they sign until ``close``."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_LISTED_WITHIN_S)
            connection.connect(self._path)
            self._connect(connection)  # type: ignore[attr-defined]  # stubs lack it
            connection.settimeout(_SIGNED_WITHIN_S)
        except (OSError, paramiko.SSHException):
            connection.close()
            return ()
        self._socket = connection
        keys: tuple[AgentKey, ...] = super().get_keys()
        return tuple(key for key in keys if self._is_offered(key.blob))

    def _is_offered(self, key: bytes) -> bool:
        return key not in self._already and (self._wanted is None or key in self._wanted)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()


def choose_agent(hop: fabric.Connection, keys: Sequence[str], offered: Sequence[str]) -> None:
    """Let a hop that isn't open yet ask the agent that ssh_config names, or the environment.

    ``keys`` are the files named for the hop, ``offered`` those of them that are there: with
    IdentitiesOnly no other key is offered, though it is the agent that has them.
    """
    path = _socket_of(str(hop.ssh_config.get("identityagent", _FROM_ENVIRONMENT)))
    only = hop.ssh_config.get("identitiesonly") == "yes"
    if path:
        wanted = _known(map(_public_half, keys or _USUAL_KEYS)) if only else None
        already = _known(_opened_by_nobody(name, _changed(name)) for name in offered)
        hop.client._agent = ChosenAgent(path, wanted, already)  # noqa: SLF001 - it makes its own
    else:
        hop.connect_kwargs["allow_agent"] = False
    if only and keys:
        hop.connect_kwargs["look_for_keys"] = False


def leave_agent(hop: fabric.Connection) -> None:
    """Hang up on the agent: a hop that is open, or couldn't be opened, needs it no more.

    An agent answers only so many at a time.
    """
    agent, hop.client._agent = hop.client._agent, None  # noqa: SLF001 - see choose_agent
    if agent is not None:
        agent.close()


def is_public(path: str) -> bool:
    """Say whether a file has a public key: then its private half is the agent's."""
    return _text(path).startswith(_PUBLIC)


def _socket_of(named: str) -> str:
    if named.lower() == "none":
        return ""
    if named == _FROM_ENVIRONMENT or re.fullmatch(r"\$\w+", named):
        return os.environ.get(named.lstrip("$"), "")
    home = str(Path.home())
    path = os.path.expandvars(named.replace("%d", home))
    return str(Path(path.replace("%%", "%")).expanduser())


def _known(halves: Iterable[bytes | None]) -> frozenset[bytes]:
    return frozenset(half for half in halves if half)


def _public_half(name: str) -> bytes | None:
    """Read it from the file itself or the one beside it: a locked private key has it in clear."""
    path = str(Path(name).expanduser())
    for text in (_text(path), _text(f"{path}.pub")):
        words = text.split(maxsplit=2)
        if text.startswith(_PUBLIC) and len(words) > 1:
            return _decoded(words[1])
    private = _PRIVATE.search(_text(path))
    body = _decoded(private[1]) if private else b""
    if not body.startswith(_MAGIC):
        return None
    message = paramiko.Message(body[len(_MAGIC) :])
    for _ in ("cipher", "kdf", "its options"):
        message.get_binary()
    message.get_int()
    return message.get_binary()


@functools.lru_cache(maxsize=256)
def _opened_by_nobody(path: str, changed_ns: int) -> bytes | None:
    """Return the public half of a key that has no passphrase, for which nobody is asked."""
    del changed_ns
    try:
        return paramiko.PKey.from_path(path).asbytes()
    except Exception:  # noqa: BLE001 - what the library can't read it doesn't offer
        return None


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:  # it is damaged: nothing to compare with
        return b""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
