"""Who leads, and until when: ``elections``, the tick in ``engine``, the lease's clock."""

# ruff: noqa: ANN001, ARG005 - stand-ins take what the original takes

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest import mock

import msgspec

from swarmops.raft import elections, engine, engine_core
from swarmops.raft.messages import VoteReply
from swarmops.raft.seam import Timing
from tests.sim.raft import stories
from tests.sim.raft import world as sim_world
from tests.sim.raft.mutations.row import Mutation, Patch, replace
from tests.sim.raft.process import DriftingClock

_E = elections._SyncObj
_T = engine._SyncObj


def _timing(**values: float) -> Patch:
    """Change defaults of Timing in every world."""
    original = Timing

    def make(**given: Any) -> Timing:
        return msgspec.structs.replace(original(**given), **values)

    def patch() -> ExitStack:
        stack = ExitStack()
        for module in (sim_world, stories):
            stack.enter_context(mock.patch.object(module, "Timing", make))
        return stack

    return patch


def _campaign_at_once(self, now) -> None:
    self._SyncObj__raftElectionDeadline = now + self._SyncObj__generateRaftTimeout()
    self._campaign()


def _grant_always(self, sender, message) -> None:
    """Vote without looking at whom this member voted for."""
    if message.pre:
        self._send_after_term(sender, VoteReply(message.term, True, True))
        return
    self._see_term(message.term)
    granted = message.term == self._SyncObj__raftCurrentTerm
    if granted:
        self._SyncObj__setCurrentTerm(self._SyncObj__raftCurrentTerm, sender)
    self._send_after_term(sender, VoteReply(self._SyncObj__raftCurrentTerm, False, granted))


_original_forget_leader = _E._forget_leader


def _forget_if_electable(self) -> None:
    if self._electable():
        _original_forget_leader(self)


_original_on_vote = _E._on_vote


def _vote_for_any_log(self, sender, message) -> None:
    """Vote without looking at the candidate's log."""
    message = msgspec.structs.replace(message, last_term=10**9)
    _original_on_vote(self, sender, message)


def _send_before_durable(self, raft_id, message) -> None:
    self._host.send(raft_id, message)


_stock_become_leader = engine_core._SyncObj._SyncObj__onBecomeLeader


def _lead_before_durable(self) -> None:
    if self._electable():
        self._rounds.clear()
        self._heard.clear()
        self._transfer = None
        self._prepare_leading()
        _stock_become_leader(self)


def _keep_leading_alone(self) -> None:
    """Answer that everybody was heard just now, as far as stepping down is concerned."""
    now = self._clock()
    for node in self._SyncObj__otherNodes:
        self._SyncObj__lastResponseTime[node] = now
    _original_tick(self)


_original_tick = _T._tick


def _time_awake(self) -> float:
    """Leave out the time that the process stood still, as CLOCK_MONOTONIC does a suspension."""
    return float(_time(self) - self._process.paused_s * self._rate)


_time = DriftingClock.time

TABLE = [
    Mutation(
        "no pre-vote",
        "a member that was isolated deposes the leader when it returns",
        replace(_E, "_ask_for_pre_votes", _campaign_at_once),
        stories.followers_come_and_go,
        r"deposed the leader",
    ),
    Mutation(
        "who cannot stand believes in its leader for ever",
        "a joiner whose whole group was replaced hears none of the new ones",
        replace(_E, "_forget_leader", _forget_if_electable),
        stories.a_joiner_was_away_while_all_others_were_replaced,
        r"liveness: .* the joiner votes",
    ),
    Mutation(
        "votes do not stick to a live leader",
        "another is elected within the leader's lease",
        replace(_E, "_sticks_to_leader", lambda self, now: False),
        stories.a_follower_loses_sight_of_the_leader_alone,
        r"was elected within the lease",
    ),
    Mutation(
        "a lease longer than votes stick",
        "an isolated leader serves while another leads",
        _timing(read_lease_s=3.0, step_down_s=5.0),
        stories.a_leader_sleeps_through_its_lease,
        r"was elected within the lease",
    ),
    Mutation(
        "the clock of a lease stands still while its machine sleeps",
        "a leader wakes up with its lease while another leads",
        replace(DriftingClock, "time", _time_awake),
        stories.a_leader_sleeps_through_its_lease,
        r"reads under its lease although a newer leader",
    ),
    Mutation(
        "a lease that outlives a hand-over",
        "a delayed order breaks the stickiness that the lease rests on",
        replace(_E, "lease_reads", _E.leads_within_lease),
        stories.a_leader_is_cut_off_while_it_hands_over,
        r"was elected within the lease|reads under its lease although",
    ),
    Mutation(
        "who ordered a successor to stand still says that it leads",
        "two members at once say so (ours, found by reading)",
        replace(_E, "serves", _E.leads_within_lease),
        stories.a_leader_is_cut_off_while_it_hands_over,
        r"two members say that they lead",
    ),
    Mutation(
        "no check of the quorum",
        "an isolated leader stays one for ever",
        replace(_T, "_tick", _keep_leading_alone),
        stories.an_isolated_leader_steps_down,
        r"liveness: .* it steps down",
    ),
    Mutation(
        "a second vote in a term",
        "two leaders in a term",
        replace(_E, "_on_vote", _grant_always),
        3,
        r"votes twice in term|two leaders in term",
    ),
    Mutation(
        "votes for any log",
        "a leader that lacks what is committed",
        replace(_E, "_on_vote", _vote_for_any_log),
        3,
        r"leader completeness",
    ),
    Mutation(
        "messages that rest on a term leave before it is durable",
        "the term, or the vote in it, is forgotten",
        replace(_E, "_send_after_term", _send_before_durable),
        1,
        r"forgot term|votes twice in term",
    ),
    Mutation(
        "leading before term and vote are durable",
        "the same term is led twice",
        replace(_E, "_SyncObj__onBecomeLeader", _lead_before_durable),
        0,
        r"leads term .* not on its disk",
    ),
    Mutation(
        "a leader on a failing disk goes on leading",
        "a full disk stops the group",
        replace(_T, "disk_failed", lambda self: None),
        stories.a_full_disk_costs_the_leader_its_office,
        r"liveness: .* another leads",
    ),
    Mutation(
        "a leader whose disk hangs goes on leading",
        "one disk that neither writes nor fails stops the group",
        replace(_T, "_leave_a_stuck_disk", lambda self, now: None),
        stories.a_leader_whose_disk_hangs_hands_over,
        r"liveness: .* another leads",
    ),
]
