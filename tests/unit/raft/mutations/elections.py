"""Who leads, and the engine's own ways in: ``engine_core``, ``elections``, ``clock``."""

# ruff: noqa: ANN001, ARG005 - stand-ins, see the sim's

from __future__ import annotations

import time

from swarmops.raft import elections, engine, engine_core
from swarmops.raft.clock import BootClock
from swarmops.raft.stock import syncobj
from tests.unit.raft import test_parts
from tests.unit.raft.faults import test_durability, test_elections, test_handover
from tests.unit.raft.mutations.row import Mutation, replace

_S = syncobj.SyncObj
_C = engine_core._SyncObj
_E = elections._SyncObj


def _both_ask_on(self, sender, message) -> None:
    asking = self._pre_votes
    _on_vote(self, sender, message)
    if message.pre:
        self._pre_votes = asking


_on_vote = _E._on_vote


def _obey_any_order(self, now) -> None:
    if self._ordered_term >= 0:
        self._ordered_term = self._SyncObj__raftCurrentTerm
    _stand_for_election(self, now)


_stand_for_election = _E._stand_for_election


def _keep_the_commit_index(self, state) -> None:
    commit = self._SyncObj__raftCommitIndex
    _set_state(self, state)
    self._SyncObj__raftCommitIndex = commit


_set_state = _E._SyncObj__setState


def _compact_as_the_engine_does(self) -> None:
    """Cut the log behind what was applied, when the stock engine would."""
    if self._clock() - self._SyncObj__lastSerializedTime > self.conf.logCompactionMinTime:
        self._SyncObj__lastSerializedTime = self._clock()
        self._SyncObj__deleteEntriesTo(self._SyncObj__raftLastApplied)


def _given_back(name: str, fault: str, method: str) -> Mutation:
    """Give the engine back a method of its own that ours refuses."""
    private = f"_SyncObj__{method}"
    owner = next(layer for layer in engine.Engine.__mro__ if private in vars(layer))
    stock = getattr(_S, private)
    test = test_parts.test_the_engines_own_ways_past_ours_are_shut
    return Mutation(name, fault, replace(owner, private, stock), test, {"name": method})


TABLE = [
    _given_back(
        "the engine may load a dump",
        "a missing or truncated dump is swallowed: a zombie leads",
        "loadDumpFile",
    ),
    _given_back(
        "the engine may apply entries itself",
        "entries are unpickled: whoever writes one runs code",
        "doApplyCommand",
    ),
    _given_back(
        "the engine may read who is a member out of entries",
        "memberships are unpickled: whoever writes one runs code",
        "parseChangeClusterRequest",
    ),
    _given_back(
        "the engine may change the members",
        "four changes in one tick are accepted",
        "changeCluster",
    ),
    _given_back(
        "the engine may change the members as it applies",
        "after a restart membership is taken at apply",
        "doChangeCluster",
    ),
    Mutation(
        "the engine compacts the log by itself",
        "it serialises on the tick, and keeps no trailing log",
        replace(_C, "_SyncObj__tryLogCompaction", _compact_as_the_engine_does),
        test_durability.test_the_engine_compacts_nothing_by_itself,
    ),
    Mutation(
        "time-outs are drawn from the module's generator",
        "an election can't be played again from its seed",
        replace(
            engine_core._SyncObj,
            "_SyncObj__generateRaftTimeout",
            syncobj.SyncObj._SyncObj__generateRaftTimeout,
        ),
        test_elections.test_time_outs_are_drawn_from_each_members_own_generator,
    ),
    Mutation(
        "a commit index outlives the office that it rests on",
        "what counted this disk, and is not on it, passes for committed",
        replace(_E, "_SyncObj__setState", _keep_the_commit_index),
        test_durability.test_who_led_takes_back_what_counted_its_own_unwritten_log,
    ),
    Mutation(
        "a leader's broken connection says nothing",
        "after a crash of the leader the whole time-out passes (ours)",
        replace(_E, "_suspect_leader", lambda self, sender: None),
        test_elections.test_followers_that_the_leader_hung_up_on_stand_as_soon_as_votes_come_loose,
        {"seed": 0},
    ),
    Mutation(
        "the clock of a lease stands still while the machine sleeps",
        "a leader wakes up with the lease that it fell asleep with",
        replace(BootClock, "time", lambda self: time.clock_gettime(time.CLOCK_MONOTONIC)),
        test_parts.test_the_clock_of_a_lease_goes_on_while_the_machine_sleeps,
    ),
    Mutation(
        "an order to stand outlives its term",
        "a member that was paused deposes the leader of a newer term",
        replace(_E, "_stand_for_election", _obey_any_order),
        test_handover.test_an_order_of_a_former_term_deposes_nobody,
    ),
    Mutation(
        "nobody gives way among candidates",
        "simultaneous candidates split the votes",
        replace(_E, "_on_vote", _both_ask_on),
        test_elections.test_two_members_that_ask_at_the_same_moment_do_not_split_the_votes,
        {"seed": 0},
    ),
]
