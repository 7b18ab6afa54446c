"""What holds for one hop of a connection: the inventory's word, then ssh_config's, then ours.

Used by ``connect``. Options of ``ansible_ssh_common_args`` that ssh_config has too are read as if
they were its first lines, for the host alone and not for those on the way to it.
"""

from __future__ import annotations

import functools
import io
import math
import re
from pathlib import Path

import fabric
import paramiko

from swarmops.errors import HostError
from swarmops.fleet.ssh_includes import expanded
from swarmops.fleet.target import Target

TIMEOUT_S = 10
_ACCEPT_NEW = "accept-new"
_KEEPALIVE_S = 15.0
_KEEPALIVES = 3
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TIME = re.compile("([0-9]+)([smhdw]?)")
_TIMES = re.compile("([0-9]+[smhdw]?)+")


def config_of(target: Target) -> fabric.Config:
    """Return a connection's own config: making the connection empties it for a moment.

    Raises HostError where the inventory names a file (``-F``) that is not there.
    """
    file = target.ssh_config
    if file is not None and file != "none" and not Path(file).expanduser().is_file():
        raise HostError(target.name, f"there is no file {file}: see -F in ansible_ssh_common_args")
    return read_config(
        file, target.address if target.ssh_options else "", target.ssh_options
    ).clone()


@functools.cache
def read_config(
    file: str | None = None, host: str = "", options: tuple[tuple[str, str], ...] = ()
) -> fabric.Config:
    """Read ssh_config once a run, not once a host; what is read first is the strongest.

    ``file`` instead of the user's and the system's; ``options`` count for the one ``host``.
    """
    config = paramiko.SSHConfig()
    lines = "".join(f"  {name} {value}\n" for name, value in options)
    config.parse(io.StringIO(f"Host {host}\n{lines}" if options else ""))
    own = Path("~/.ssh").expanduser()
    files = [(own / "config", own), (Path("/etc/ssh/ssh_config"), Path("/etc/ssh"))]
    if file is not None:
        files = [] if file == "none" else [(Path(file).expanduser(), own)]
    for path, folder in files:
        config.parse(io.StringIO(expanded(path, folder)))
    return fabric.Config(ssh_config=config)


def keepalive_s(hop: fabric.Connection) -> float:
    """Return after how long a silence the other end is asked whether it is there; inf: never."""
    said = str(hop.ssh_config.get("serveraliveinterval", "")).lower()
    if not _TIMES.fullmatch(said):
        return _KEEPALIVE_S
    return sum(int(number) * _UNITS[unit] for number, unit in _TIME.findall(said)) or math.inf


def quiet_max(hop: fabric.Connection) -> int:
    """Return for how many such periods in a row the other end may say nothing, two at least."""
    said = str(hop.ssh_config.get("serveralivecountmax", ""))
    return max(2, int(said) if said.isdecimal() and int(said) else _KEEPALIVES)


def timeout_s(target: Target, hop: fabric.Connection) -> int:
    """Return how long the hop may be silent."""
    said = str(hop.ssh_config.get("connecttimeout", ""))
    return target.connect_timeout_s or (int(said) if said.isdigit() else 0) or TIMEOUT_S


def checking(target: Target, hop: fabric.Connection) -> str:
    """Return how the hop's key is judged."""
    said = target.host_key_checking or hop.ssh_config.get("stricthostkeychecking")
    word = str(said or _ACCEPT_NEW).lower()
    return {"off": "no", "false": "no", "true": "yes"}.get(word, word)


def known_files(hop: fabric.Connection) -> tuple[Path, ...]:
    """Return the files that ssh_config's UserKnownHostsFile names."""
    said = str(hop.ssh_config.get("userknownhostsfile", "")).split()
    return tuple(Path("/dev/null" if name == "none" else name).expanduser() for name in said)
