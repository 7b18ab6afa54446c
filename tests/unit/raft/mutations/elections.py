"""Who leads, and the engine's own ways in: ``engine_core``, ``elections``, ``clock``."""

# ruff: noqa: ANN001, ARG005 - stand-ins, see the sim's

from __future__ import annotations

import time

from swarmops.raft import elections, engine_core
from swarmops.raft.clock import BootClock
from swarmops.raft.stock import syncobj
from tests.unit.raft import test_parts
from tests.unit.raft.faults import test_elections
from tests.unit.raft.mutations.row import Mutation, replace

_E = elections._SyncObj


def _both_ask_on(self, sender, message) -> None:
    asking = self._pre_votes
    _on_vote(self, sender, message)
    if message.pre:
        self._pre_votes = asking


_on_vote = _E._on_vote

TABLE = [
    Mutation(
        "the engine may load a dump",
        "a missing or truncated dump is swallowed: a zombie leads",
        replace(
            engine_core._SyncObj,
            "_SyncObj__loadDumpFile",
            syncobj.SyncObj._SyncObj__loadDumpFile,
        ),
        test_parts.test_the_engines_own_ways_past_ours_are_shut,
        {"name": "loadDumpFile", "argument": False},
    ),
    Mutation(
        "the clock of a lease stands still while the machine sleeps",
        "a leader wakes up with the lease that it fell asleep with",
        replace(BootClock, "time", lambda self: time.clock_gettime(time.CLOCK_MONOTONIC)),
        test_parts.test_the_clock_of_a_lease_goes_on_while_the_machine_sleeps,
    ),
    Mutation(
        "nobody gives way among candidates",
        "simultaneous candidates split the votes",
        replace(_E, "_on_vote", _both_ask_on),
        test_elections.test_two_members_that_ask_at_the_same_moment_do_not_split_the_votes,
        {"seed": 0},
    ),
]
