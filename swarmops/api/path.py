"""A request's path with and without the API's version before it, and that version's numbers."""

from __future__ import annotations

import re

_VERSIONED = re.compile(r"/v([0-9]+\.[0-9]+)(?=/)")


def plain_path(path: str) -> str:
    """Return the path without the version before it."""
    return _VERSIONED.sub("", path, count=1) if path.startswith("/v") else path


def asked_version(path: str) -> str | None:
    """Return the version that stands before a path."""
    found = _VERSIONED.match(path)
    return found.group(1) if found else None


def version_numbers(version: str) -> tuple[int, int]:
    """Return both numbers, to be compared; of each only as many digits as a real one may have."""
    major, _, minor = version.partition(".")
    return int(major[:9]), int(minor[:9])
