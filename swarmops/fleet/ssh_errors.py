"""Why a connection could not be opened: the sentence for it, and whether trying again helps.

Called by ``connect``. Pure but for asking who runs the program.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator

import fabric
import paramiko

from swarmops.fleet.host_keys import KeyRefusedError
from swarmops.fleet.ssh_transport import PasswordWithheldError, SilentError

_NOT_OPENED = "Invalid key"
"""What the library calls a key that the passphrase given does not open."""
_NOTHING_TO_OFFER = "No authentication methods available"
"""What it says where there is neither a key nor a password."""
_HUNG_UP_ON = "No existing session"
"""What it says where it still has keys to offer, and sshd has had enough."""


def reason_of(error: Exception, connection: fabric.Connection) -> str:
    """Return why a connection could not be opened, and what to do; ``connection`` is the hop."""
    if isinstance(error, KeyRefusedError | PasswordWithheldError):
        return str(error)
    for hop in _way_to(connection):
        if lost := getattr(hop.transport, "lost", ""):
            return f"{hop.host}:{hop.port}, on the way to it, was lost ({lost}): try again"
    if isinstance(error, paramiko.SSHException):
        return _ssh_reason(error, connection)
    return _network_reason(error, connection)


def why_lost(connection: fabric.Connection) -> str:
    """Return why an open connection, or one that it goes through, was given up; '': it wasn't."""
    hops = (connection, *_way_to(connection))
    return next((lost for hop in hops if (lost := getattr(hop.transport, "lost", ""))), "")


def _way_to(connection: fabric.Connection) -> Iterator[fabric.Connection]:
    while isinstance(connection.gateway, fabric.Connection):
        connection = connection.gateway
        yield connection


def _network_reason(error: Exception, connection: fabric.Connection) -> str:
    where = f"{connection.host}:{connection.port}"
    if isinstance(error, socket.gaierror):
        return f"no address is known for {connection.host}: check ansible_host"
    if isinstance(error, TimeoutError):
        return (
            f"{where} didn't answer within {connection.connect_timeout} s: "
            "is it on, and does a firewall let SSH through?"
        )
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        reasons = {getattr(e, "strerror", None) or str(e) for e in error.errors.values()}
        return f"can't reach {where} ({', '.join(sorted(reasons))}): is it on, with sshd?"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"can't reach {where} ({reason}): is it on, and is its address right?"


def _ssh_reason(error: paramiko.SSHException, connection: fabric.Connection) -> str:
    where = f"{connection.host}:{connection.port}"
    if isinstance(connection.gateway, fabric.Connection) and _not_through(error):
        hop = f"{connection.gateway.host}:{connection.gateway.port}"
        return f"can't reach {where} through {hop}: is it on, with sshd?"
    about_keys = _file_reason(error, connection) or _offer_reason(error, connection, where)
    return (
        about_keys or f"no SSH connection to {where} ({error}): is it an SSH server that has room?"
    )


def _file_reason(error: paramiko.SSHException, connection: fabric.Connection) -> str:
    """Return what is wrong with the key files; '': nothing."""
    opened = connection.connect_kwargs.get("passphrase")
    if isinstance(error, paramiko.PasswordRequiredException) or (
        opened and "key" in str(error).lower()
    ):
        return (
            "its private key has a passphrase, and it was not given or is wrong: run it in a"
            " terminal, or add the key to ssh-agent (ssh-add)"
        )
    if _is_no_key(error):
        files = ", ".join(connection.connect_kwargs.get("key_filename") or ())
        return (
            f"no private key can be read from {files} ({error}): see ansible_ssh_private_key_file"
            " and ssh_config's IdentityFile"
        )
    return ""


def _offer_reason(error: paramiko.SSHException, connection: fabric.Connection, where: str) -> str:
    """Return why sshd let nobody in with what it was offered; '': it was something else."""
    user = connection.user or getpass.getuser()
    if isinstance(error, paramiko.AuthenticationException):
        return (
            f"{where} refused every key for user {user}: check ansible_user and "
            "ansible_ssh_private_key_file, or add the public key to its authorized_keys"
        )
    if str(error) == _NOTHING_TO_OFFER:
        return (
            f"there is no key and no password for user {user} of {where}: name a key in"
            " ansible_ssh_private_key_file, add one to ssh-agent (ssh-add), or give --ask-pass"
            f"{_agent_said(connection)}"
        )
    if str(error) == _HUNG_UP_ON:
        return (
            f"{where} hung up after it had refused some keys (MaxAuthTries): name the right one in"
            " ansible_ssh_private_key_file, or as IdentityFile with IdentitiesOnly in ssh_config"
        )
    return ""


def _agent_said(connection: fabric.Connection) -> str:
    """Return what ssh_config says of agents: why a key that somebody has may not be offered."""
    names = {"identityagent": "IdentityAgent", "identitiesonly": "IdentitiesOnly"}
    said = [
        f"{name} {connection.ssh_config[key]}"
        for key, name in names.items()
        if connection.ssh_config.get(key)
    ]
    return f"; ssh_config says {', '.join(said)}" if said else ""


def _is_no_key(error: Exception) -> bool:
    """Whether a file that should have a key has something else, or is damaged."""
    return str(error) == _NOT_OPENED or "private key file" in str(error)


def _not_through(error: Exception) -> bool:
    """Whether the last hop couldn't reach the host itself."""
    text = str(error)
    return isinstance(error, paramiko.ChannelException) or text == "Unable to open channel."


def is_silent(error: Exception) -> bool:
    """Whether nothing answered at all: it may be booting."""
    if _not_through(error):
        return True
    return isinstance(
        error,
        TimeoutError
        | ConnectionRefusedError
        | SilentError
        | paramiko.ssh_exception.NoValidConnectionsError,
    )


def was_dropped(error: Exception) -> bool:
    """Whether sshd hung up before it said anything: its MaxStartups, or it is just starting."""
    if isinstance(error, paramiko.AuthenticationException | TimeoutError) or _not_through(error):
        return False
    if _is_no_key(error) or str(error) in {_NOTHING_TO_OFFER, _HUNG_UP_ON}:
        return False
    return isinstance(error, ConnectionResetError | EOFError | paramiko.SSHException)
