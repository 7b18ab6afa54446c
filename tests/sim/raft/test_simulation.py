"""Whole groups under faults, from seeds: the pinned ones, then as many new ones as time allows.

``SIM_SECONDS`` says how long new seeds are tried (20 s unless told, 240 in CI). A seed that fails
prints the end of its trace and the command that replays it.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.sim.raft.__main__ import explain
from tests.sim.raft.world import Failure, simulate

SECONDS = float(os.environ.get("SIM_SECONDS", "20"))


def _play(seed: int) -> int:
    try:
        return simulate(seed).trace_hash
    except Failure as failure:
        pytest.fail(explain(failure), pytrace=False)


def test_a_seed_always_does_the_same():
    """Two runs of a seed have the same trace to the last event."""
    assert _play(7) == _play(7)


def test_new_seeds_hold_too():
    """Seeds that nobody has tried, until the time is up."""
    end = time.monotonic() + SECONDS
    rng = random.SystemRandom()
    while time.monotonic() < end:
        _play(rng.getrandbits(32))
