"""What happened, in order: kept cheap while all is well, spelled only for a seed that failed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class Violation(AssertionError):  # noqa: N818 - what happened, in one word
    """An invariant does not hold."""


class Trace:
    """(time, member, event) for each event; ``detailed`` also takes every message and tick."""

    def __init__(self, *, detailed: bool) -> None:
        self.detailed = detailed
        self._now: Callable[[], float] = lambda: 0.0
        self._events: list[tuple[float, str, str, tuple[Any, ...]]] = []

    def use_clock(self, now: Callable[[], float]) -> None:
        """Read times from here."""
        self._now = now

    def add(self, member: str, event: str, *arguments: Any) -> None:
        """Note an event; ``event % arguments`` is spelled later, so give unchanging values."""
        self._events.append((self._now(), member, event, arguments))

    def lines(self, last: int | None = None) -> list[str]:
        """Spell the events."""
        events = self._events if last is None else self._events[-last:]
        return [
            f"{at:10.4f}  {who:<6} {what % args if args else what}"
            for at, who, what, args in events
        ]

    def __len__(self) -> int:
        return len(self._events)


class LogToTrace(logging.Handler):
    """What raft logs is part of what happened."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(logging.INFO)
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        """Note it, with the error's kind if there is one."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({record.exc_info[1]!r})"
        self._trace.add("log", "%s", text)
