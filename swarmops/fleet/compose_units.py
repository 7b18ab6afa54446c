"""Compose's ways to write a duration, a size and a share of CPUs, as Docker's API wants them.

Called by the readers of services; pure. Every function raises ValueError for a wrong text.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NANO_CPUS = 1_000_000_000


def duration_ns(text: str) -> int:
    """Return nanoseconds of ``1m30s``, ``500ms``, ``0``."""
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return int(sum(Decimal(number) * _NS[unit] for number, unit in parts))


def size_bytes(text: str) -> int:
    """Return bytes of ``64M``, ``1.5gb``, ``4096``; the units are powers of 1024, as in Docker."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    return int(Decimal(found[1]) * 1024 ** _POWERS[found[2].lower()])


def nano_cpus(text: str) -> int:
    """Return billionths of a CPU of ``0.5`` or ``2``."""
    try:
        value = Decimal(text) * _NANO_CPUS
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or value <= 0:
        raise ValueError(text)
    return int(value)
