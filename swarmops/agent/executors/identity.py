"""Whom a process task runs as, and what that user's home is: Docker's ``user`` and ``groups``.

Pure but for the machine's user and group tables; called by the process executor.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence

from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.launch import Identity
from swarmops.agent.task_files import ID_MAX


def identity(user: str, groups: Sequence[str]) -> Identity | None:
    """Return the identity for ``name`` or ``uid``, each with an optional ``:group``.

    None means that of the daemon. Raises ``TaskError`` for a user or group that doesn't exist, and
    for another user than the daemon's unless that is root.
    """
    if not user and not groups:
        return None
    name, _, group = user.partition(":")
    entry = _user(name or str(os.geteuid()))
    uid = int(name) if entry is None else entry.pw_uid
    gid = _group(group) if group else (0 if entry is None else entry.pw_gid)
    member_of = [] if entry is None else os.getgrouplist(entry.pw_name, gid)
    every = sorted({gid, *member_of, *map(_group, groups)})
    if os.geteuid() == 0:
        return Identity(uid=uid, gid=gid, groups=tuple(every))
    if uid == os.geteuid() and not group and not groups:
        return None
    raise TaskError(
        f'the task wants to run as "{user or ",".join(groups)}", but swarmops runs without root on '
        "this node: leave the user out, or run swarmops as root."
    )


def home(uid: int) -> str:
    """Return the user's home directory, ``/`` where there is none."""
    entry = _user(str(uid))
    return "/" if entry is None else entry.pw_dir


def _user(name: str) -> pwd.struct_passwd | None:
    """Look a user up by name or number; a number needs no entry."""
    try:
        return pwd.getpwuid(_number(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, ValueError):  # no such, or none that could be: with a NUL in it
        if name.isdecimal():
            return None
        raise TaskError(f"unable to find user {name}: no matching entries in passwd file") from None


def _group(name: str) -> int:
    if name.isdecimal():
        return _number(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise TaskError(f"unable to find group {name}: no matching entries in group file") from None


def _number(name: str) -> int:
    """Read the number of a user or group. Raises ``TaskError``, in Docker's words."""
    if len(name) > len(str(ID_MAX)) or int(name) > ID_MAX:
        raise TaskError(f"uids and gids must be in range 0-{ID_MAX}")
    return int(name)
