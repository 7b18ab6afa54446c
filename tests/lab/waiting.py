"""Waiting for a condition with a bound: what lab code and lab tests use instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
BUSY = 3
"""How much longer a condition may take on a machine that others use, too."""


def wait_for(condition: Callable[[], T], what: str, *, within_s: float, every_s: float = 0.05) -> T:
    """Return the condition's first true value; AssertionError with the last one after the bound.

    ``within_s`` is what it may take on a machine that does nothing else.
    """
    within_s *= BUSY
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"waited {within_s:g} s for: {what}; last seen: {value!r}"
            raise AssertionError(message)
        time.sleep(every_s)
