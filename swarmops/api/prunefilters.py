"""The filter ``until`` of prune requests: a point in time, or how long ago. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from swarmops.api.errors import bad_request
from swarmops.api.query import Filters
from swarmops.api.timestamps import timestamp_ns

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def until_of(filters: Filters, now: datetime) -> datetime | None:
    """Return before when a thing must have been made, None if any will do. Raises ApiError 400."""
    values = filters.get("until", ())
    if not values:
        return None
    if len(values) > 1:
        raise bad_request("more than one until filter specified")
    [text] = values
    if _DURATION.fullmatch(text):
        parts = _PART.findall(text)
        try:
            return now - timedelta(
                seconds=sum(float(number) * _UNITS_S[unit] for number, unit in parts)
            )
        except OverflowError:
            raise bad_request(f"invalid value for until: {text}: there is no such time") from None
    return _EPOCH + timedelta(microseconds=timestamp_ns(text, "until") // 1000)
