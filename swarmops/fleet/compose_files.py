"""A Compose service's ``secrets`` and ``configs``, as Docker's references to them.

Called by ``swarmops.fleet.compose_container``; pure. The references carry names only: whoever sends
the spec fills in the IDs, for only the swarm knows them.
"""

from __future__ import annotations

from swarmops.fleet.compose_fields import Table, fields
from swarmops.fleet.entry import Entry
from swarmops.model.service import ConfigReference, FileTarget, SecretReference

_MODE_MAX = 0o7777


def file_mode(entry: Entry) -> int:
    """Return a Unix file mode of ``0440`` (octal) or ``"0440"``."""
    if isinstance(entry.value, str):
        mode = entry.parsed(lambda text: int(text, 8), "a file mode like 0440")
    else:
        mode = entry.integer(least=0)
    if mode > _MODE_MAX:
        entry.expected("a file mode like 0440")
    return mode


LONG: Table = {
    "source": ("source", Entry.name),
    "target": ("name", Entry.name),
    "uid": ("uid", Entry.string),
    "gid": ("gid", Entry.string),
    "mode": ("mode", file_mode),
}


def _reference(entry: Entry, folder: str) -> tuple[str, FileTarget]:
    if isinstance(entry.value, dict):
        found = fields(entry, LONG)
        if "source" not in found:
            entry.fail(f"{entry.key} needs source: the name in the swarm")
    else:
        found = {"source": entry.name()}
    source = str(found.pop("source"))
    return source, FileTarget(**{"name": folder + source} | found)


def secrets(entry: Entry) -> list[SecretReference]:
    """Return the secrets, sorted by name; each appears as /run/secrets/<target>."""
    found = [_reference(item, "") for item in entry.items()]
    found.sort(key=lambda pair: (pair[0], pair[1].name))
    return [SecretReference(file=file, secret_name=name) for name, file in found]


def configs(entry: Entry) -> list[ConfigReference]:
    """Return the configs, sorted by name; each appears as /<target>."""
    found = [_reference(item, "/") for item in entry.items()]
    found.sort(key=lambda pair: (pair[0], pair[1].name))
    return [ConfigReference(file=file, config_name=name) for name, file in found]
