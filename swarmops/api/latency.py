"""How long requests took, by route: counts in buckets, cheap enough for each request.

Written by the application, read by ``/metrics``. Streams are counted, but not timed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

RouteName = tuple[str, str]
"""Method and path as in the route table."""


class Latencies:
    """All requests since the start."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, int]] = Counter()
        """Answers by method, path and status."""
        self._counts: dict[RouteName, list[int]] = {}
        self._sums_s: dict[RouteName, float] = {}

    def note(self, route: RouteName, status: int, took_s: float | None) -> None:
        """Count an answer; None: it was a stream."""
        self.answers[*route, status] += 1
        if took_s is None:
            return
        counts = self._counts.setdefault(route, [0] * (len(BOUNDS_S) + 1))
        counts[bisect_left(BOUNDS_S, took_s)] += 1
        self._sums_s[route] = self._sums_s.get(route, 0.0) + took_s

    def histograms(self) -> list[tuple[RouteName, list[tuple[str, float]], float]]:
        """Return each route's cumulative buckets (bound, count) and the sum of seconds."""
        found = []
        for route, counts in self._counts.items():
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
                total += count
                buckets.append((bound, total))
            found.append((route, buckets, self._sums_s[route]))
        return found
