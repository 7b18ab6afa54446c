"""Proposals, reads and what callers hear: ``proposals``, ``sessions``, ``requests``, ``run``."""

# ruff: noqa: ANN001, ARG001, ARG005 - stand-ins, see the sim's

from __future__ import annotations

import asyncio
from typing import Any

from swarmops.raft import commands, raft, requests, run
from swarmops.raft.asking import Asking
from swarmops.raft.messages import AdminReply
from swarmops.raft.proposals import Proposals
from swarmops.raft.sessions import Sessions
from swarmops.raft.sharing import Shared
from swarmops.raft.waiting import Waiters
from tests.unit.raft import test_group, test_parts
from tests.unit.raft.faults import (
    test_durability,
    test_elections,
    test_replication,
    test_requests,
)
from tests.unit.raft.mutations.row import Mutation, in_group, replace


def _apply_bare(self, index, command) -> None:
    request = commands.request(command)
    result = self._environment.state_machine.apply(index, command[commands.HEADER_BYTES :])
    if request.session == self.proposals.session:
        self.proposals.applied(request.number, result, None)


def _never_again(self, now) -> None:
    for number, pending in list(self._pending.items()):
        if pending.deadline <= now:
            self.applied(number, None, TimeoutError())


def _take_and_wake_nobody(self, number) -> Any:
    room, self._room = self._room, type(self._room)()
    taken = _take(self, number)
    self._room = room
    return taken


_take = Proposals._take


_first_time = Sessions.first_time


def _first_time_above_nothing(self, index, session_id, number, floor) -> bool:
    return bool(_first_time(self, index, session_id, number, 0))


async def _ask_patiently(self, timeout_s) -> int:
    return int(await _ask_read_index(self, 100.0))


_ask_read_index = requests.Requests._ask_read_index


def _number_from_zero(self, **parts: Any) -> None:
    _init(self, **parts)
    self._number = 0


_init = Asking.__init__


def _take_from_anybody(self, sender, message) -> None:
    asked = self._asked.get(message.request) if isinstance(message, AdminReply) else None
    _answered(self, asked.of if asked else sender, message)


_answered = Asking.answered


async def _ask_alone(self, timeout_s) -> int:
    return int(await self._ask(timeout_s))


async def _share_what_is_under_way(self, timeout_s) -> int:
    if self._newest is None:
        return int(await _answer(self, timeout_s))
    return int(await asyncio.shield(self._newest))


_answer = Shared.answer


def _look_unguarded(self) -> None:
    for future, condition in list(self._waiting.items()):
        if condition():
            self._answer(future, True)


TABLE = [
    Mutation(
        "who proposes never waits",
        "what is proposed and not applied costs unbounded memory",
        replace(Proposals, "is_full", lambda self: False),
        test_durability.test_what_one_member_has_proposed_and_not_seen_applied_is_bounded,
    ),
    Mutation(
        "a result that a snapshot hides is waited for",
        "the proposer of a command that was applied hears that time is up (ours)",
        replace(Proposals, "applied_unseen", lambda self, was_applied: None),
        test_durability.test_a_result_lost_in_a_snapshot_is_said_to_be_unknown,
    ),
    Mutation(
        "a callback's error is the engine's",
        "a raising callback wedges the member or applies twice",
        replace(run, "_call", lambda callback, *arguments: callback(*arguments)),
        test_elections.test_a_leadership_callback_that_raises_harms_nothing,
    ),
    Mutation(
        "a condition's error is the tick's",
        "who waits behind it hears nothing until its bound (ours, found by reading)",
        replace(Waiters, "look", _look_unguarded),
        test_elections.test_a_condition_that_raises_harms_nobody_else_who_waits,
    ),
    Mutation(
        "proposals are sent once",
        "a lost forward is never answered",
        replace(Proposals, "expire", _never_again),
        test_replication.test_a_lost_forward_is_sent_again_and_applied_once,
    ),
    Mutation(
        "a change of leader is no reason to send again",
        "what the former leader took along is lost: its proposer waits for the bound",
        replace(Proposals, "resend_all", lambda self: None),
        test_replication.test_what_the_former_leader_took_along_is_sent_to_the_next_at_once,
    ),
    Mutation(
        "no request is too old",
        "what its proposer gave up is applied late (ours)",
        replace(Sessions, "first_time", _first_time_above_nothing),
        test_parts.test_what_its_proposer_gave_up_is_never_applied_late,
    ),
    Mutation(
        "a question to the leader is asked once",
        "a read fails at its bound because one message was lost (ours)",
        replace(requests.Requests, "_ask_read_index", _ask_patiently),
        test_replication.test_a_lost_question_costs_a_read_no_more_than_a_moment,
        {"kind": "ReadIndex"},
    ),
    Mutation(
        "every run numbers its questions from zero",
        "an answer to the killed run's question passes for one to this run's (ours)",
        replace(Asking, "__init__", _number_from_zero),
        test_requests.test_an_answer_to_a_former_run_is_none_to_this_one,
    ),
    Mutation(
        "anybody's answer counts",
        "a change is reported done by a member that was not asked (ours)",
        replace(Asking, "answered", _take_from_anybody),
        test_requests.test_an_answer_counts_from_whom_was_asked_and_of_the_kind_asked_for,
    ),
    Mutation(
        "each read asks a question of its own",
        "reads through a follower cost the square of their number (ours)",
        replace(Shared, "answer", _ask_alone),
        test_requests.test_many_readers_through_a_follower_ask_the_leader_together,
    ),
    Mutation(
        "each read begins a round of its own",
        "a leader without a lease forgets its rounds and steps down under reads (ours)",
        replace(Shared, "answer", _ask_alone),
        test_requests.test_many_readers_on_a_leader_without_a_lease_share_its_rounds,
    ),
    Mutation(
        "a read shares the question that is under way",
        "its answer may be older than what was acknowledged before the read",
        replace(Shared, "answer", _share_what_is_under_way),
        test_requests.test_a_read_never_takes_the_answer_to_a_question_that_was_under_way,
    ),
    Mutation(
        "a read shares the round that is under way",
        "a deposed leader answers with old values",
        replace(Shared, "answer", _share_what_is_under_way),
        test_requests.test_a_read_never_takes_a_round_that_was_under_way,
    ),
    Mutation(
        "who waits for room is never woken",
        "a full queue answers nobody",
        replace(Proposals, "_take", _take_and_wake_nobody),
        test_replication.test_more_proposals_than_any_queue_holds_are_all_answered,
        {"count": 2_000},
    ),
    Mutation(
        "a command's error is the engine's",
        "an exception in a command wedges the node",
        replace(run.Run, "apply", _apply_bare),
        in_group(test_group.test_a_raising_command_reaches_its_proposer_and_harms_nothing_else),
    ),
    Mutation(
        "commands of any size",
        "a command over the batch is pickled and ends wrongly",
        replace(raft, "COMMAND_BYTES_MAX", 1 << 40),
        in_group(test_group.test_too_large_a_command_is_refused_in_dockers_words),
    ),
]
