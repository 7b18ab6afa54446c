"""Who runs this program, and whether another run of it on this machine still lives.

Called by ``lease``, so that the lock of a killed run need not be waited for where that can be
known. Knows nothing of other machines: of a process there it never says that it is gone.
"""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

_UNKNOWN = ""
_ENDED = "-"


def owner() -> str:
    """Return ``user@machine``; SWARMOPS_OWNER instead, where a pipeline knows a better name."""
    named = os.environ.get("SWARMOPS_OWNER", "")
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user: OSError from Python 3.13 on
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def fingerprint(pid: int | None = None) -> str:
    """Return what tells this process from all others, also later ones of its number; or ''.

    The machine's boot, the namespace in which the number counts, the number and the start.
    """
    number = os.getpid() if pid is None else pid
    here = _here()
    started = _started(number)
    return f"{here}#{number}/{started}" if here and started else _UNKNOWN


def is_gone(process: str) -> bool:
    """Say whether the process of a fingerprint is known to have ended.

    Of one that can't be seen it is not known: ``/proc`` may hide other users' (``hidepid``).
    """
    here, _, rest = process.partition("#")
    number, _, start = rest.partition("/")
    if not number.isdigit() or here != _here():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # it is there, somebody else's; or no number of a process, written by who knows whom
    return _started(int(number)) not in {start, _UNKNOWN}


def _here() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return _UNKNOWN
    return f"{boot}/{space}"


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the boot: '' unknown, '-' if only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _UNKNOWN
    return _ENDED if fields[0] in {"Z", "X"} else fields[19]
