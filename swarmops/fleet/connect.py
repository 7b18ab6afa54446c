"""Open one SSH connection: fabric's, with host keys judged by us and failures said in a sentence.

Used by ``ssh``. Everything that ``~/.ssh/config`` says about a host counts (ProxyJump,
IdentityFile …); each hop's key is judged by ``known_hosts``, since fabric would accept any.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import re
import resource
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fabric
import paramiko

from swarmops.errors import HostError
from swarmops.fleet.credentials import Credentials
from swarmops.fleet.disconnect import disconnect
from swarmops.fleet.gateways import Gateways
from swarmops.fleet.host_keys import KeyPolicy
from swarmops.fleet.jumps import NONE, Hop, way_through
from swarmops.fleet.known_hosts import KnownHosts, host_id
from swarmops.fleet.ssh_agent import choose_agent, is_public, leave_agent
from swarmops.fleet.ssh_config import (
    TIMEOUT_S,
    checking,
    config_of,
    keepalive_s,
    known_files,
    quiet_max,
    timeout_s,
)
from swarmops.fleet.ssh_errors import is_silent, reason_of, was_dropped
from swarmops.fleet.ssh_transport import make_transport
from swarmops.fleet.target import Target

# Its threads log tracebacks of refused connections; ours are sentences.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_log = logging.getLogger(__name__)
_STARTS = threading.BoundedSemaphore(30)
"""Handshakes at once, whatever the forks."""
_STARTS_EACH = 8
"""Handshakes at once with one sshd: from ten on it turns away at random (MaxStartups 10:30:100)."""
_DROPS_MAX = 7
_DROP_PAUSE_S_MAX = 3.2
_RETRY_S_MAX = 10.0


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: a connection is one, and hosts are many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS says "unlimited" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Ways:
    """What all connections of a run share: known keys, the hosts on the way, and a person."""

    def __init__(self, known: KnownHosts, credentials: Credentials) -> None:
        self.known = known
        self.credentials = credentials
        self.gateways = Gateways()
        raise_file_limit()


def connect(target: Target, ways: Ways) -> fabric.Connection:
    """Return an open connection; HostError is one sentence.

    Tries again where sshd hung up at once because too many came at a time (MaxStartups), where a
    key wants its passphrase and a person gave it, and as often as ``connect_retries`` says.
    """
    dropped = silent = 0
    passphrases: dict[str, str] = {}
    while True:
        try:
            connection = _make_connection(target, ways, passphrases)
        except (paramiko.SSHException, LookupError, RuntimeError, ValueError) as error:
            raise HostError(
                target.name,
                f"its connection can't be prepared ({error}): look at ansible_host,"
                " ansible_ssh_common_args and ssh_config",
            ) from error
        before = time.monotonic()
        at = connection
        try:
            if isinstance(connection.gateway, fabric.Connection):
                at = connection.gateway
                connection.gateway = ways.gateways.through(at, _open)
                at = connection
            _open(connection)
        except Exception as error:
            disconnect(connection)
            if _wants_passphrase(error, at, ways.credentials, passphrases):
                continue
            late = time.monotonic() - before >= connection.connect_timeout
            if was_dropped(error) and not late and dropped < _DROPS_MAX:
                dropped += 1
                # Not all at the same time again: others were turned away together with this one.
                pause_s = min(_DROP_PAUSE_S_MAX, 0.1 * 2**dropped)
                time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
                continue
            if is_silent(error) and silent < target.connect_retries:
                silent += 1
                time.sleep(min(_RETRY_S_MAX, 0.5 * 2**silent))
                continue
            raise HostError(target.name, reason_of(error, at)) from error
        seconds = time.monotonic() - before
        _log.debug("%s: connected to %s in %.3f s", target.name, connection.host, seconds)
        return connection


def _open(hop: fabric.Connection) -> None:
    try:
        with _starts_with(hop.host, hop.port), _STARTS:
            hop.open()
    finally:
        leave_agent(hop)
    hop.transport.stay(keepalive_s(hop), quiet_max(hop))


@functools.cache
def _starts_with(host: str, port: int) -> threading.BoundedSemaphore:
    del host, port
    return threading.BoundedSemaphore(_STARTS_EACH)


def _wants_passphrase(
    error: Exception,
    hop: fabric.Connection,
    credentials: Credentials,
    passphrases: dict[str, str],
) -> bool:
    """Say whether it failed for want of a passphrase that is known now."""
    if not isinstance(error, paramiko.PasswordRequiredException):
        return False
    for key in hop.connect_kwargs.get("key_filename") or ():
        if key not in passphrases and _is_encrypted(key):
            answer = credentials.passphrase(key)
            if answer:
                passphrases[key] = answer
                return True
    return False


def _is_encrypted(key: str) -> bool:
    try:
        paramiko.PKey.from_path(key)
    except (paramiko.PasswordRequiredException, TypeError):
        return True
    except (OSError, ValueError, paramiko.SSHException):
        return False
    return False


def _make_connection(
    target: Target, ways: Ways, passphrases: Mapping[str, str]
) -> fabric.Connection:
    for name, path in zip(target.private_key_files, _key_files(target), strict=True):
        if not Path(path).is_file():
            raise HostError(
                target.name, f"there is no key file {name}: see ansible_ssh_private_key_file"
            )
    kwargs: dict[str, Any] = {"look_for_keys": not target.private_key_files}
    if target.password is not None:
        kwargs["password"] = target.password
    connection = Hop(
        target.address,
        user=target.user,
        port=target.port,
        config=config_of(target),
        gateway=_gateway(target),
        connect_timeout=target.connect_timeout_s or TIMEOUT_S,
        connect_kwargs=kwargs,
    )
    hop = connection
    while isinstance(hop, fabric.Connection):
        _prepare(hop, target, ways, passphrases)
        hop = hop.gateway
    return connection


def _gateway(target: Target) -> fabric.Connection | str | bool | None:
    """Return what ``ansible_ssh_common_args`` puts in between; None: as ssh_config says.

    False is nothing, whatever ssh_config says.
    """
    if target.jump is not None:
        return way_through(target.jump, config_of(target))
    return False if (target.proxy_command or "").lower() == NONE else _filled(target)


def _filled(target: Target) -> str | None:
    """Return the proxy command with its host, port and user, which fabric would not know."""
    if target.proxy_command is None:
        return None
    values = {"h": target.address, "p": str(target.port or 22), "r": target.user or "", "%": "%"}
    return re.sub("%([hpr%])", lambda found: values[found[1]], target.proxy_command)


def _key_files(target: Target) -> list[str]:
    return [str(Path(name).expanduser()) for name in target.private_key_files]


def _prepare(
    hop: fabric.Connection, target: Target, ways: Ways, passphrases: Mapping[str, str]
) -> None:
    """Set our host key policy, and the algorithms so that a known key's type is offered.

    A hop on the way (ProxyJump) may be opened with the host's keys too, beside its own.
    """
    alias = hop.ssh_config.get("hostkeyalias")
    files = known_files(hop)
    policy = KeyPolicy(ways.known, ways.credentials, checking(target, hop), alias, files)
    hop.client.set_missing_host_key_policy(policy)
    name = alias or host_id(hop.host, hop.port)
    types = [entry.key_type for entry in ways.known.entries(name, files)]
    kwargs = dict(hop.connect_kwargs)
    keys = [*kwargs.get("key_filename", ()), *_key_files(target)]
    there = [key for key in dict.fromkeys(keys) if Path(key).is_file() and not is_public(key)]
    patience_s = timeout_s(target, hop)
    opened = [passphrases[key] for key in there if key in passphrases]
    if opened:
        kwargs["passphrase"] = opened[-1]
    hop.connect_kwargs = kwargs | {
        "key_filename": there,
        "transport_factory": functools.partial(make_transport, types),
        "banner_timeout": patience_s,
        "auth_timeout": 3 * patience_s,
        "channel_timeout": 3 * patience_s,
    }
    hop.connect_timeout = patience_s
    choose_agent(hop, keys, there)
