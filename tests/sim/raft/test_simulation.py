"""Whole groups under faults, from seeds: as many as time allows, in order.

A few with every ``make check``; in ``make test`` for ``SIM_SECONDS`` (120 unless told), beginning
with the seed ``SIM_START`` (20). In order, so that a commit that passed once passes again;
``make sim START=…`` looks where nobody has looked. A seed that fails prints the end of its trace
and the command that replays it.
"""

from __future__ import annotations

import itertools
import os
import time

import pytest

from tests.sim.raft.__main__ import explain
from tests.sim.raft.world import Failure, simulate

QUICK_S = 15.0
SECONDS = float(os.environ.get("SIM_SECONDS", "120"))
START = int(os.environ.get("SIM_START", "20"))


def _play(seed: int) -> int:
    try:
        return simulate(seed).trace_hash
    except Failure as failure:
        pytest.fail(explain(failure), pytrace=False)


def test_a_seed_always_does_the_same():
    """Two runs of a seed have the same trace to the last event."""
    assert _play(7) == _play(7)


def _play_from(seed: int, seconds: float) -> None:
    """One seed after the other, until the time is up."""
    end = time.monotonic() + seconds
    for number in itertools.count(seed):
        _play(number)
        if time.monotonic() > end:
            return


def test_the_first_seeds_hold():
    """A few, with every change."""
    _play_from(0, QUICK_S)


@pytest.mark.slow
def test_every_seed_holds():
    """As many as fit into SIM_SECONDS."""
    _play_from(START, SECONDS)
