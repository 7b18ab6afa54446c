"""The command line of OpenSSH's ``ssh`` to a host of the inventory.

Called by ``swarmops ssh``, which becomes that program. Pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from swarmops.errors import InputError
from swarmops.fleet.target import Target

_NO_FILE = ("/dev/null", "none")
_MODES = {"true": "yes", "false": "no", "off": "no"}


def ssh_argv(target: Target, known_hosts: Path, command: Sequence[str] = ()) -> list[str]:
    """Return the argument list. Raises InputError for a host that is this machine.

    ``known_hosts`` is our own file: hosts that apply met first are known there.
    """
    if target.connection == "local":
        raise InputError(f"{target.name} is this machine (connection: local): no SSH is needed")
    options = _options(target, known_hosts)
    argv = ["ssh", *_own(target, known_hosts), *options]
    if (proxy := _proxy(target, options)) is not None:
        argv += ["-o", f"ProxyCommand={proxy}"]
    if target.port is not None:
        argv += ["-p", str(target.port)]
    if target.user is not None:
        argv += ["-l", target.user]
    return [*argv, target.address, *(["--", *command] if command else [])]


def _options(target: Target, known_hosts: Path) -> list[str]:
    """Return what holds for the host and for each host on the way to it."""
    user_files = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
    said = (target.host_key_checking or "accept-new").lower()
    # ssh leaves a ~ in it as it is, unlike in all other names of files.
    file = None if target.ssh_config is None else str(Path(target.ssh_config).expanduser())
    options = [] if file is None else ["-F", file]
    options += ["-o", f"UserKnownHostsFile={_quoted(known_hosts)} {user_files}"]
    options += ["-o", f"StrictHostKeyChecking={_MODES.get(said, said)}"]
    if target.connect_timeout_s is not None:
        options += ["-o", f"ConnectTimeout={target.connect_timeout_s}"]
    for key in target.private_key_files:
        options += ["-i", key]
    return options


def _own(target: Target, known_hosts: Path) -> list[str]:
    """Return what holds for the host alone; ssh takes the first word on each thing."""
    own = _quoted(known_hosts)
    words: list[str] = []
    for name, value in target.ssh_options:
        met = f"{own} " if name == "userknownhostsfile" and value not in _NO_FILE else ""
        words += ["-o", f"{name}={met}{value}"]
    return words


def _quoted(path: Path) -> str:
    return '"{}"'.format(str(path).replace("%", "%%"))


def _proxy(target: Target, options: Sequence[str]) -> str | None:
    """Return the command through which ssh reaches the host, None: as ssh_config says.

    Not ``-J``: the programs that it starts for the hosts on the way would know neither our file of
    known hosts nor the inventory's keys.
    """
    if target.jump is None:
        return target.proxy_command
    way: str | None = None
    for hop in target.jump.split(","):
        argv = ["ssh", *options, *([] if way is None else ["-o", f"ProxyCommand={way}"])]
        # ssh fills in %h and %p of its own ProxyCommand only: each %% is for the one further in.
        inner = shlex.join(argv).replace("%", "%%")
        way = f"{inner} -W '[%h]:%p' {shlex.join(_destination(hop.strip()))}"
    return way


def _destination(hop: str) -> list[str]:
    """Return the words for ``user@host:port``, ``[address]:port`` or ``ssh://user@host:port``."""
    if hop.startswith("ssh://"):
        return [hop]
    user, at, place = hop.rpartition("@")
    host, bracket, port = place.removeprefix("[").partition("]:" if place[:1] == "[" else ":")
    if ":" in port:  # an IPv6 address as it is
        host, bracket, port = place, "", ""
    return [*(["-p", port] if bracket else []), f"{user}{at}{host.removesuffix(']')}"]
