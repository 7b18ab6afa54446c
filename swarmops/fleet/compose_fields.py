"""Shapes that many keys of a Compose service share, and the table that a mapping is read by.

Called by the other ``compose_`` modules; pure.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from swarmops.fleet.compose_units import duration_ns, size_bytes
from swarmops.fleet.entry import Entry

Table = Mapping[str, tuple[str, Callable[[Entry], Any]]]
"""Compose's key → (our model's attribute, how to read it)."""


def fields(entry: Entry, table: Table, also: Iterable[str] = ()) -> dict[str, Any]:
    """Read a mapping by a table; keys in neither it nor ``also`` are refused, null is absent."""
    section = entry.section({*table, *also})
    return {
        attribute: read(value)
        for key, (attribute, read) in table.items()
        if (value := section.get(key)) is not None
    }


def duration(entry: Entry) -> int:
    """Return nanoseconds."""
    return entry.parsed(duration_ns, "a duration like 10s or 1m30s")


def size(entry: Entry) -> int:
    """Return bytes."""
    return entry.parsed(size_bytes, "a size like 64M or 1.5G")


def count(entry: Entry) -> int:
    """Return a whole number ≥ 0."""
    return entry.integer(least=0)


def words(entry: Entry) -> list[str]:
    """Return a command: a list as it is, a string split as a shell would."""
    if isinstance(entry.value, str):
        return entry.parsed(shlex.split, "a command whose quotes are closed")
    if not isinstance(entry.value, list):
        entry.expected("a command: a string or a list of strings")
    return [item.scalar() for item in entry.items()]


def pairs(entry: Entry) -> dict[str, str]:
    """Return ``{key: value}`` of a mapping or of a list of ``key=value``; sorted by key."""
    found: dict[str, str] = {}
    if isinstance(entry.value, list):
        for item in entry.items():
            key, separator, value = item.string().partition("=")
            if not separator or not key:
                item.expected("key=value")
            found[key] = value
    else:
        for key, item in entry.mapping():
            found[key] = item.scalar()
    return dict(sorted(found.items()))


def environment(entry: Entry) -> list[str]:
    """Return ``KEY=value`` sorted; a key without a value is refused: whose would it be."""
    if isinstance(entry.value, list):
        for item in entry.items():
            if "=" not in item.string():
                item.fail(f"{item.key}: '{item.value}' has no value: write '{item.value}='")
    else:
        for key, item in entry.mapping():
            if item.value is None:
                item.fail(f"{item.key} has no value: write '{key}: \"\"' for an empty one")
    return [f"{key}={value}" for key, value in pairs(entry).items()]
