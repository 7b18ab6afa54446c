"""The command line of OpenSSH's ``ssh`` to a host of the inventory.

Called by ``swarmops ssh``, which becomes that program. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarmops.errors import InputError
from swarmops.fleet.target import Target


def ssh_argv(target: Target, known_hosts: Path, command: Sequence[str] = ()) -> list[str]:
    """Return the argument list. Raises InputError for a host that is this machine.

    ``known_hosts`` is our own file: hosts that apply met first are known there.
    """
    if target.connection == "local":
        raise InputError(f"{target.name} is this machine (connection: local): no SSH is needed")
    user_files = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
    checking = "yes" if target.host_key_checking == "yes" else "accept-new"
    argv = ["ssh", "-o", f"UserKnownHostsFile={known_hosts} {user_files}"]
    argv += ["-o", f"StrictHostKeyChecking={checking}"]
    if target.port is not None:
        argv += ["-p", str(target.port)]
    if target.user is not None:
        argv += ["-l", target.user]
    for key in target.private_key_files:
        argv += ["-i", key]
    return [*argv, target.address, *(["--", *command] if command else [])]
