"""Open one SSH connection: fabric's, with host keys judged by us and failures said in a sentence.

Used by ``ssh``. Everything that ``~/.ssh/config`` says about a host counts (ProxyJump,
IdentityFile …); each hop's key is judged by ``known_hosts``, since fabric would accept any.
"""

from __future__ import annotations

import functools
import getpass
import logging
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fabric
import paramiko

from swarmops.errors import HostError
from swarmops.fleet.known_hosts import KnownHosts, Verdict, host_id, judge
from swarmops.fleet.target import Target

# Its threads log tracebacks of refused connections; ours are sentences.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

WINDOW_BYTES = 16 << 20
_STARTS = threading.BoundedSemaphore(30)
"""Handshakes at once, whatever the forks: sshd's MaxStartups begins to refuse early."""
_CONNECT_ATTEMPTS = 6
_KEEPALIVE_S = 15
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""First choice: the processor does both halves of it at once, unlike paramiko's first choice."""


@functools.cache
def _fabric_config() -> fabric.Config:
    """Read ssh_config once a run, not once a host."""
    return fabric.Config()


class _KeyRefusedError(Exception):
    """The host key is not one that we accept; the text is the reason."""


class _KeyPolicy(paramiko.MissingHostKeyPolicy):
    """Judges every host key: we give paramiko none, so that all come here."""

    def __init__(self, known: KnownHosts, mode: str) -> None:
        self.known = known
        self.mode = mode

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        del client
        blob = key.asbytes()
        verdict = judge(self.known.entries(hostname), blob)
        if verdict.state == "unknown" and self.mode != "yes":
            try:
                verdict = self.known.record(hostname, key.get_name(), blob)
            except OSError as error:
                raise _KeyRefusedError(
                    f"its host key can't be recorded in {self.known.own} ({error.strerror}): "
                    "make the file writable"
                ) from error
            if verdict.state == "unknown":
                return
        if verdict.state != "known":
            raise _KeyRefusedError(_refusal(verdict, hostname, key, self.known.own))


def _refusal(verdict: Verdict, hostname: str, key: paramiko.PKey, own: Path) -> str:
    offered = f"{key.get_name()} {key.fingerprint}"
    if verdict.entry is None:
        return (
            f"its host key ({offered}) is not known and host_key_checking is yes: compare it on "
            f"the host, then add it to {own}"
        )
    where = f"{verdict.entry.path} line {verdict.entry.line}"
    if verdict.state == "revoked":
        return f"its host key ({offered}) is revoked in {where}: do not trust this host"
    return (
        f"its host key has changed to {offered} from the one in {where}: if the host was "
        f"reinstalled, remove that line (ssh-keygen -f {shlex.quote(verdict.entry.path)} "
        f"-R {shlex.quote(hostname)}); else somebody may be in between"
    )


def connect(target: Target, known: KnownHosts) -> fabric.Connection:
    """Return an open connection; HostError is one sentence.

    Tries again where sshd hung up at once because too many came at a time (MaxStartups).
    """
    for attempt in range(1, _CONNECT_ATTEMPTS + 1):
        connection = _make_connection(target, known)
        before = time.monotonic()
        try:
            with _STARTS:
                connection.open()
        except Exception as error:
            disconnect(connection)
            silent = time.monotonic() - before >= target.connect_timeout_s
            if attempt < _CONNECT_ATTEMPTS and _was_dropped(error) and not silent:
                time.sleep(0.1 * 2**attempt)
                continue
            raise HostError(target.name, _reason(error, connection, target)) from error
        connection.transport.set_keepalive(_KEEPALIVE_S)
        return connection
    raise AssertionError("unreachable: the last attempt returns or raises")


def disconnect(connection: fabric.Connection) -> None:
    """Close the connection and those that it goes through, open or half open."""
    hop = connection
    while isinstance(hop, fabric.Connection):
        hop.client.close()
        hop = hop.gateway


def _make_connection(target: Target, known: KnownHosts) -> fabric.Connection:
    for name, path in zip(target.private_key_files, _key_files(target), strict=True):
        if not Path(path).is_file():
            raise HostError(
                target.name, f"there is no key file {name}: see ansible_ssh_private_key_file"
            )
    kwargs: dict[str, Any] = {"look_for_keys": not target.private_key_files}
    if target.password is not None:
        kwargs["password"] = target.password
    connection = fabric.Connection(
        target.address,
        user=target.user,
        port=target.port,
        config=_fabric_config(),
        connect_timeout=target.connect_timeout_s,
        connect_kwargs=kwargs,
    )
    hop = connection
    while isinstance(hop, fabric.Connection):
        _prepare(hop, target, known)
        hop = hop.gateway
    return connection


def _key_files(target: Target) -> list[str]:
    return [str(Path(name).expanduser()) for name in target.private_key_files]


def _prepare(hop: fabric.Connection, target: Target, known: KnownHosts) -> None:
    """Set our host key policy, and the algorithms so that a known key's type is offered.

    A hop on the way (ProxyJump) may be opened with the host's keys too, beside its own.
    """
    hop.client.set_missing_host_key_policy(_KeyPolicy(known, target.host_key_checking))
    types = [entry.key_type for entry in known.entries(host_id(hop.host, hop.port))]
    kwargs = dict(hop.connect_kwargs)
    keys = [*kwargs.get("key_filename", ()), *_key_files(target)]
    hop.connect_kwargs = kwargs | {
        "key_filename": [key for key in dict.fromkeys(keys) if Path(key).is_file()],
        "transport_factory": functools.partial(_transport_of, types),
        "banner_timeout": target.connect_timeout_s,
        "auth_timeout": 3 * target.connect_timeout_s,
        "channel_timeout": 3 * target.connect_timeout_s,
    }
    hop.connect_timeout = hop.connect_timeout or target.connect_timeout_s
    if hop.ssh_config.get("identitiesonly") == "yes":
        hop.connect_kwargs["allow_agent"] = False


def _reason(error: Exception, connection: fabric.Connection, target: Target) -> str:
    where = f"{connection.host}:{connection.port}"
    if isinstance(error, _KeyRefusedError):
        return str(error)
    if isinstance(error, paramiko.SSHException):
        return _ssh_reason(error, where, connection.user or getpass.getuser())
    if isinstance(error, socket.gaierror):
        return f"no address is known for {connection.host}: check ansible_host"
    if isinstance(error, TimeoutError):
        return (
            f"{where} didn't answer within {target.connect_timeout_s} s: "
            "is it on, and does a firewall let SSH through?"
        )
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        reasons = {getattr(e, "strerror", None) or str(e) for e in error.errors.values()}
        return f"can't reach {where} ({', '.join(sorted(reasons))}): is it on, with sshd?"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"can't reach {where} ({reason}): is it on, and is its address right?"


def _ssh_reason(error: paramiko.SSHException, where: str, user: str) -> str:
    if isinstance(error, paramiko.PasswordRequiredException):
        return "its private key has a passphrase: add the key to ssh-agent (ssh-add)"
    if isinstance(error, paramiko.AuthenticationException):
        return (
            f"{where} refused every key for user {user}: check ansible_user and "
            "ansible_ssh_private_key_file, or add the public key to its authorized_keys"
        )
    return f"no SSH connection to {where} ({error}): is it an SSH server that has room?"


def _transport_of(known_types: Sequence[str], sock: Any, **kwargs: Any) -> paramiko.Transport:
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock, default_window_size=WINDOW_BYTES, **kwargs)
    options = transport.get_security_options()
    available = tuple(options.ciphers)
    fast = [cipher for cipher in _CIPHERS if cipher in available]
    options.ciphers = [*fast, *(c for c in available if c not in fast)]
    names = {
        name
        for key_type in known_types
        for name in ((key_type,) if key_type != "ssh-rsa" else ("rsa-sha2-512", "rsa-sha2-256"))
    }
    offered = tuple(options.key_types)
    options.key_types = [n for n in offered if n in names] + [n for n in offered if n not in names]
    return transport


def _was_dropped(error: Exception) -> bool:
    """Whether sshd hung up before it said anything: its MaxStartups, or it is just starting."""
    if isinstance(error, paramiko.AuthenticationException | TimeoutError):
        return False
    return isinstance(error, ConnectionResetError | EOFError | paramiko.SSHException)
