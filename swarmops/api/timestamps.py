"""Points in time as Docker's clients send them: Unix seconds with a fraction, or RFC 3339.

Used by logs and events for ``since`` and ``until``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from swarmops.errors import ApiError

_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp_ns(text: str, name: str) -> int:
    """Return Unix nanoseconds, 0 if there is no text. Raises ApiError 400 for what is no time."""
    if not text:
        return 0
    if match := _SECONDS.fullmatch(text):
        seconds, fraction = match.groups()
        return int(seconds) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(400, f"invalid value for {name}: {text}: failed to parse time") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
