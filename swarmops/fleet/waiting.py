"""Wait, bounded, until something is really so; until then it says what is still missing.

Called after changes that the swarm makes by and by: a demotion, a drain, a service's tasks.
Clock and sleep are parameters, so that tests need neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

PERIOD_S = 0.1


class Patience(msgspec.Struct, frozen=True):
    """How long to wait, how often to look, and by which clock."""

    bound_s: float
    period_s: float = PERIOD_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait_until(missing: Callable[[], str], patience: Patience) -> str:
    """Call ``missing`` until it returns an empty text, or time is up; return what it said last.

    So the result is empty exactly if the thing came true.
    """
    deadline = patience.clock() + patience.bound_s
    while True:
        text = missing()
        if not text or patience.clock() >= deadline:
            return text
        patience.sleep(patience.period_s)
