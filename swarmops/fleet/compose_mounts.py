"""A Compose service's ``volumes`` and ``tmpfs``, short and long, as Docker's mounts.

Called by ``swarmops.fleet.compose_container``; pure. Paths are the hosts': a relative one, which
Compose takes from the file's folder, is refused, for that folder is not on the hosts.
"""

from __future__ import annotations

import posixpath
from typing import Any

from swarmops.fleet.compose_fields import Table, fields, pairs, size
from swarmops.fleet.compose_files import file_mode
from swarmops.fleet.entry import Entry
from swarmops.model.service import BindOptions, Mount, TmpfsOptions, VolumeOptions

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_IGNORED_OPTIONS = ("rw", "z", "Z", "cached", "delegated", "consistent")


def volume_mounts(entry: Entry) -> list[Mount]:
    """Return the mounts of ``volumes``."""
    return [_long(item) if isinstance(item.value, dict) else _short(item) for item in entry.items()]


def tmpfs_mounts(entry: Entry) -> list[Mount]:
    """Return the mounts of ``tmpfs``."""
    return [Mount(type="tmpfs", target=_target(entry, path)) for path in entry.strings()]


def _short(entry: Entry) -> Mount:
    parts = entry.string().split(":")
    if len(parts) > 3 or not all(parts):  # noqa: PLR2004 - source, target, options
        entry.expected("source:target or source:target:options")
    if len(parts) == 1:
        return Mount(type="volume", target=_target(entry, parts[0]))
    source, target = parts[0], _target(entry, parts[1])
    bind = source[0] in "/.~"
    found: dict[str, Any] = {"type": "bind" if bind else "volume", "source": source}
    if bind:
        found["source"] = _source(entry, source)
    for option in parts[2].split(",") if len(parts) == 3 else []:  # noqa: PLR2004 - the same
        if option == "ro":
            found["read_only"] = True
        elif option == "nocopy" and not bind:
            found["volume_options"] = VolumeOptions(no_copy=True)
        elif option in PROPAGATIONS and bind:
            found["bind_options"] = BindOptions(propagation=option)
        elif option not in _IGNORED_OPTIONS:
            entry.fail(f"{entry.key}: unknown option '{option}' of '{entry.value}': use ro or rw")
    return Mount(target=target, **found)


def _bind(entry: Entry) -> BindOptions:
    return BindOptions(**fields(entry, BIND, also=["selinux"]))


def _volume(entry: Entry) -> VolumeOptions:
    return VolumeOptions(**fields(entry, VOLUME))


def _tmpfs(entry: Entry) -> TmpfsOptions:
    return TmpfsOptions(**fields(entry, TMPFS))


BIND: Table = {
    "propagation": ("propagation", lambda item: item.choice(*PROPAGATIONS)),
    "create_host_path": ("create_mountpoint", Entry.boolean),
}
VOLUME: Table = {
    "nocopy": ("no_copy", Entry.boolean),
    "labels": ("labels", pairs),
    "subpath": ("subpath", Entry.name),
}
TMPFS: Table = {"size": ("size_bytes", size), "mode": ("mode", file_mode)}
LONG: Table = {
    "type": ("type", lambda entry: entry.choice("volume", "bind", "tmpfs", "npipe", "cluster")),
    "source": ("source", Entry.name),
    "target": ("target", lambda entry: _target(entry, entry.name())),
    "read_only": ("read_only", Entry.boolean),
    "consistency": ("consistency", Entry.name),
    "bind": ("bind_options", _bind),
    "volume": ("volume_options", _volume),
    "tmpfs": ("tmpfs_options", _tmpfs),
}


def _long(entry: Entry) -> Mount:
    found = fields(entry, LONG)
    for needed in ("type", "target"):
        if needed not in found:
            entry.fail(f"{entry.key} needs {needed}")
    kind = found["type"]
    for other in ("bind", "volume", "tmpfs"):
        if other != kind and f"{other}_options" in found:
            entry.fail(f"{entry.key}: '{other}' options belong to type {other}, not {kind}")
    if kind == "bind":
        if "source" not in found:
            entry.fail(f"{entry.key} needs source: a path on the hosts")
        found["source"] = _source(entry, found["source"])
    if kind == "tmpfs" and "source" in found:
        entry.fail(f"{entry.key}: a tmpfs has no source: remove it")
    return Mount(**found)


def _source(entry: Entry, source: str) -> str:
    if not source.startswith("/"):
        entry.fail(
            f"{entry.key}: '{source}' must be an absolute path: it is looked up on the hosts"
        )
    return posixpath.normpath(source)


def _target(entry: Entry, target: str) -> str:
    if not target.startswith("/"):
        entry.fail(f"{entry.key}: the path in the container must be absolute, not '{target}'")
    return target
