"""A request's path with and without the version of the API before it."""

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
