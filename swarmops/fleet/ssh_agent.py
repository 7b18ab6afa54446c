"""Which ssh-agent opens a hop, and which of its keys: ssh_config's IdentityAgent, IdentitiesOnly.

Used by ``connect``. Paramiko alone knows one agent, that of SSH_AUTH_SOCK, and offers all of its
keys; sshd hangs up on whoever offers too many.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

import fabric
import paramiko
from paramiko.agent import AgentKey, AgentSSH

_FROM_ENVIRONMENT = "SSH_AUTH_SOCK"
_USUAL_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_PUBLIC = ("ssh-", "ecdsa-", "sk-")
"""How the types of keys begin, and with them the files of public ones."""


class ChosenAgent(AgentSSH):
    """An agent at a socket, and those of its keys whose public halves are ``wanted``; None: all.

    As to ssh, one that doesn't answer is one without keys.
    """

    def __init__(self, path: str, wanted: Collection[bytes] | None) -> None:
        super().__init__()
        self._path = path
        self._wanted = wanted
        self._socket = socket.socket(socket.AF_UNIX)

    def get_keys(self) -> tuple[AgentKey, ...]:
        """Ask for the keys, once."""
        try:
            self._socket.connect(self._path)
            self._connect(self._socket)  # type: ignore[attr-defined]  # stubs lack it
        except (OSError, paramiko.SSHException):
            return ()
        keys: tuple[AgentKey, ...] = super().get_keys()
        return tuple(key for key in keys if self._wanted is None or key.blob in self._wanted)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def choose_agent(hop: fabric.Connection, key_files: Sequence[str]) -> None:
    """Let a hop that isn't open yet ask the agent that ssh_config names, if it names one.

    ``key_files`` are those of the hop: with IdentitiesOnly no other key is offered, though it is
    the agent that has them.
    """
    named = str(hop.ssh_config.get("identityagent", _FROM_ENVIRONMENT))
    only = hop.ssh_config.get("identitiesonly") == "yes"
    if named == _FROM_ENVIRONMENT and not only:
        return
    path = _socket_of(named)
    wanted = _public_halves(key_files or _USUAL_KEYS) if only else None
    if path:
        hop.client._agent = ChosenAgent(path, wanted)  # noqa: SLF001 - else it makes its own
    else:
        hop.connect_kwargs["allow_agent"] = False
    if only and key_files:
        hop.connect_kwargs["look_for_keys"] = False


def is_public(path: str) -> bool:
    """Say whether a file has a public key: then its private half is the agent's."""
    return _first_word(path).startswith(_PUBLIC)


def _socket_of(named: str) -> str:
    if named.lower() == "none":
        return ""
    if named == _FROM_ENVIRONMENT or re.fullmatch(r"\$\w+", named):
        return os.environ.get(named.lstrip("$"), "")
    home = str(Path.home())
    path = os.path.expandvars(named.replace("%d", home))
    return str(Path(path.replace("%%", "%")).expanduser())


def _public_halves(key_files: Sequence[str]) -> frozenset[bytes]:
    found = set()
    for name in key_files:
        path = str(Path(name).expanduser())
        words = _words(path if is_public(path) else f"{path}.pub")
        try:
            found.add(base64.b64decode(words[1], validate=True))
        except (IndexError, binascii.Error):
            continue  # there is none, or it is damaged: nothing to compare with
    return frozenset(found)


def _first_word(path: str) -> str:
    return next(iter(_words(path)), "")


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").split(maxsplit=2)
    except OSError:
        return []
