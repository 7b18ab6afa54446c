"""Things and the moments that belong to them, in the order of the moments. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import datetime, timedelta

_TICK = timedelta.resolution


class Moments:
    """Each name has one moment at most; what is asked of them costs no look at all of them."""

    def __init__(self) -> None:
        self._order: list[tuple[datetime, str]] = []
        self._of: dict[str, datetime] = {}

    def set(self, name: str, moment: datetime | None) -> None:
        """Give a name its moment in place of the one before, or none."""
        before = self._of.pop(name, None)
        if before is not None:
            del self._order[bisect_left(self._order, (before, name))]
        if moment is not None:
            self._of[name] = moment
            insort(self._order, (moment, name))

    def until(self, moment: datetime) -> Iterator[str]:
        """Yield the names up to this moment, it included, the earliest first."""
        for at, name in self._order:
            if at > moment:
                return
            yield name

    def count_until(self, moment: datetime) -> int:
        """Return how many are not later than this."""
        return self._after(moment)

    def count_after(self, moment: datetime) -> int:
        """Return how many are later than this."""
        return len(self._order) - self._after(moment)

    def first_after(self, moment: datetime) -> datetime | None:
        """Return the earliest that is later than this, None if none is."""
        place = self._after(moment)
        return self._order[place][0] if place < len(self._order) else None

    def _after(self, moment: datetime) -> int:
        return bisect_left(self._order, (moment + _TICK, ""))
