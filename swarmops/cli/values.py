"""Values of flags in Docker's spelling: durations, sizes, parts of CPUs, command lines.

Used as types of the commands' options; each converts a text or says what it should look like.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

import click

from swarmops.fleet.compose_units import duration_ns, nano_cpus, size_bytes

_SECOND_NS = 10**9


def _convert(read: Callable[[str], int], text: str, complaint: str) -> int:
    try:
        return read(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' {complaint}") from None


def duration(text: str) -> int:
    """Convert ``1m30s`` to nanoseconds."""
    return _convert(duration_ns, text, "is no duration: write it as in 10s or 1m30s")


def pause(text: str) -> int:
    """Convert a duration of at least a second to nanoseconds."""
    found = duration(text)
    if found < _SECOND_NS:
        raise click.BadParameter(f"'{text}' is no pause: write a second or more, as in 10s")
    return found


def size(text: str) -> int:
    """Convert ``512m`` to bytes."""
    return _convert(size_bytes, text, "is no size: write it as in 512m or 2g")


def cpus(text: str) -> int:
    """Convert ``0.5`` to billionths of a CPU."""
    return _convert(nano_cpus, text, "is no number of CPUs: write it as in 0.5 or 2")


def words(text: str) -> tuple[str, ...]:
    """Split a command line as a shell does."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise click.BadParameter(f"'{text}' has a quote that is not closed: close it") from None


def scale(text: str) -> tuple[str, int]:
    """Convert ``web=5`` to ("web", 5)."""
    name, _, count = text.partition("=")
    if not name or not (count.isascii() and count.isdigit()):
        raise click.BadParameter(f"'{text}' is not SERVICE=REPLICAS: write it as in web=5")
    return name, int(count)
