"""How restarts slow down: the labels that ask for it, and the delay that follows from them.

Pure. Managers read the labels through ``manager.extensions``; an agent reads them here while no
manager answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

BACKOFF = "swarmops.restart.backoff"
BACKOFF_MAX = "swarmops.restart.backoff-max"
BACKOFF_MAX_S = 300.0

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_LENGTH_MAX = 100
_SECONDS_MAX = 2**63 / 1e9
"""As long as Docker's own durations can be; what adds it to a date must find that there is one."""


class Backoff(msgspec.Struct, frozen=True):
    """Each restart in a row waits ``factor`` times as long as the one before, up to ``max_s``."""

    factor: float = 1.0
    max_s: float = BACKOFF_MAX_S

    def delay_s(self, before_s: float, ran_s: float, least_s: float) -> float:
        """Return the delay after one of ``before_s``, and a life of ``ran_s``.

        What lived for longer than the longest delay begins anew, with the policy's ``least_s``.
        """
        if ran_s > max(self.max_s, least_s):
            return least_s
        return max(min(before_s * self.factor, self.max_s), least_s)


def backoff_of(labels: Mapping[str, str]) -> Backoff:
    """Return what a service's labels ask for; what is malformed counts for absent."""

    def value(name: str, read: Callable[[str], float], default: float) -> float:
        try:
            return read(labels[name]) if name in labels else default
        except ValueError:
            return default

    return Backoff(
        factor=value(BACKOFF, factor, 1.0), max_s=value(BACKOFF_MAX, seconds, BACKOFF_MAX_S)
    )


def seconds(text: str) -> float:
    """Read a duration. Raises ``ValueError``, whose text is what it should look like."""
    text = text.strip()
    if text == "0":
        return 0.0
    # As a whole, and not long: to search a row of digits takes the square of its length.
    if len(text) > _LENGTH_MAX or not _DURATION.fullmatch(text):
        raise ValueError("a duration like 90s or 10m")
    found_s = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if found_s > _SECONDS_MAX:
        raise ValueError("a duration of at most 292 years, 106751d")
    return found_s


def factor(text: str) -> float:
    """Read the factor. Raises ``ValueError``, whose text is what it should look like."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 1 <= found <= 100:  # noqa: PLR2004 - said in the text
        raise ValueError("a number from 1 to 100")
    return found
