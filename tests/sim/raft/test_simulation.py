"""Whole groups under faults, from seeds: as many as time allows, in order.

``SIM_SECONDS`` says how long seeds are tried (20 s unless told, 240 in CI), ``SIM_START`` from
which one (0). In order, so that a commit that passed once passes again; ``make sim START=…`` looks
where nobody has looked. A seed that fails prints the end of its trace and the command that replays
it.
"""

from __future__ import annotations

import itertools
import os
import time

import pytest

from tests.sim.raft.__main__ import explain
from tests.sim.raft.world import Failure, simulate

SECONDS = float(os.environ.get("SIM_SECONDS", "20"))
START = int(os.environ.get("SIM_START", "0"))


def _play(seed: int) -> int:
    try:
        return simulate(seed).trace_hash
    except Failure as failure:
        pytest.fail(explain(failure), pytrace=False)


def test_a_seed_always_does_the_same():
    """Two runs of a seed have the same trace to the last event."""
    assert _play(7) == _play(7)


def test_every_seed_holds():
    """One after the other, until the time is up."""
    end = time.monotonic() + SECONDS
    for seed in itertools.count(START):
        _play(seed)
        if time.monotonic() > end:
            return
