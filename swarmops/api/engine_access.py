"""Who may use the Docker Engine behind a node: those who could open its own socket anyway.

The kernel says who is at the other end of our unix socket; modes and owners of the engine's socket
and of the folders above it say whether they could have gone there themselves. Decides only.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path

from aiohttp import web

from swarmops.model.base import Model

_SO_PEERGROUPS = 59
"""asm-generic/socket.h; Python doesn't name it."""
_GROUP_BYTES = 4
_GROUPS_BYTES_MAX = 1024
"""The most that Python asks for: a user in more than 256 groups counts as in none of them."""
_CONNECT = 0o2
"""A unix socket is connected to by whoever may write to it."""
_SEARCH = 0o1


class LocalUser(Model, frozen=True):
    """A process at the other end of a unix socket, as it was when it connected."""

    uid: int
    groups: frozenset[int]


def local_user(request: web.Request) -> LocalUser | None:
    """Return who sent the request, None if it came over a network."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    _pid, uid, gid = struct.unpack(
        "iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    )
    return LocalUser(uid=uid, groups=frozenset((gid, *_other_groups(peer))))


def _other_groups(peer: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups; none where the kernel, before 4.13, doesn't tell them."""
    try:
        raw = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES_MAX)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // _GROUP_BYTES}I", raw)


def may_open(path: Path, user: LocalUser) -> bool:
    """Whether the user could connect to this unix socket; False if it isn't there."""
    if user.uid == 0:
        return True
    try:
        real = path.resolve(strict=True)
        return _allows(real.stat(), _CONNECT, user) and all(
            _allows(folder.stat(), _SEARCH, user) for folder in real.parents
        )
    except OSError:
        return False


def _allows(about: os.stat_result, wanted: int, user: LocalUser) -> bool:
    """Whether the mode grants the wanted bit: the owner's, else the group's, else the others'."""
    mode = stat.S_IMODE(about.st_mode)
    if about.st_uid == user.uid:
        return bool(mode >> 6 & wanted)
    if about.st_gid in user.groups:
        return bool(mode >> 3 & wanted)
    return bool(mode & wanted)
