"""Whole swarms under changes and faults, from seeds: as many as time allows, in order.

``SWARM_SIM_SECONDS`` says how long seeds are tried (12 s unless told), ``SIM_START`` from which one
(0). A seed that fails tells what happened, and the command that replays it.
"""

from __future__ import annotations

import itertools
import os
import time

import pytest

from tests.sim.manager.world import Failure, simulate

SECONDS = float(os.environ.get("SWARM_SIM_SECONDS", "12"))
START = int(os.environ.get("SIM_START", "0"))


def _play(seed: int) -> int:
    try:
        return simulate(seed).trace
    except Failure as failure:
        pytest.fail(f"{failure}\npython -m tests.sim.manager --seed {seed}", pytrace=False)


def test_a_seed_always_does_the_same():
    """Two runs of a seed end with the same tasks, made by the same history."""
    assert _play(3) == _play(3)


def test_a_swarm_settles_after_anything():
    """Services of all modes, updates, rollbacks, drains, deaths, leaders that change by Raft.

    At every entry of the log no place has more live tasks than its service's order allows, none of
    a stop-first service begins to run before the one in its place has stopped, and tasks only move
    on; no node gives a port or a resource twice, no place is restarted more often than allowed;
    nobody but the leader runs control loops. Some machines never come back. Within two minutes
    of peace every service is as its spec says, on nodes that may have it, updates have ended,
    history is bounded, agents run exactly what they should, and all managers hold the same; then
    nothing is written any more.
    """
    end_s = time.monotonic() + SECONDS
    for seed in itertools.count(START):
        _play(seed)
        if time.monotonic() > end_s:
            return
