"""Points in time as Docker's clients send them: Unix seconds with a fraction, or RFC 3339.

Used by logs and events for ``since`` and ``until``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from swarmops.api.errors import bad_request

_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]{1,9}))?")
_DIGITS_MAX = 12
"""As many as the last second of all has; no number is made of more."""
_SECONDS_MAX = 253_402_300_799
"""The year 9999's last second: Docker's logs take no later one."""
_INT64_MAX = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp_ns(text: str, name: str) -> int:
    """Return Unix nanoseconds, 0 if there is no text. Raises ApiError 400 for what is no time.

    Docker takes years that no int64 has nanoseconds for: they become the first or the last that one
    has, in 1677 and 2262, before and after all that can be asked for.
    """
    if not text:
        return 0
    if match := _SECONDS.fullmatch(text):
        seconds, fraction = match.groups()
        return min(_unix_ns(seconds, fraction or "", name), _INT64_MAX)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise bad_request(f"invalid value for {name}: {text}: failed to parse time") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    at_ns = (at - _EPOCH) // timedelta(microseconds=1) * 1000
    return max(-_INT64_MAX, min(at_ns, _INT64_MAX))


def _unix_ns(seconds: str, fraction: str, name: str) -> int:
    if len(seconds) > _DIGITS_MAX or int(seconds) > _SECONDS_MAX:
        raise bad_request(
            f"invalid value for {name}: {seconds[:40]}: later than the year 9999: "
            "a time is given in seconds, not in milliseconds"
        )
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
