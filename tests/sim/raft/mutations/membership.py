"""Who is a member: ``membership``, ``listener``, ``storage``, ``progress``, ``engine``."""

# ruff: noqa: ANN001, ANN002, ANN003, ARG005, PT008 - stand-ins take what the original takes

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

from swarmops.raft import engine, membership, replication, storage
from swarmops.raft.listener import Listener
from swarmops.raft.progress import Progress
from swarmops.raft.run import Run
from tests.sim.raft import stories
from tests.sim.raft.mutations.row import Mutation, replace

_R = replication._SyncObj
_T = engine._SyncObj


def _change_any_time(self, configuration) -> int:
    index = self._journal.last_index + 1
    command = b"\x02" + membership.encode(configuration)
    self._journal.add(command, index, self._SyncObj__raftCurrentTerm)
    self._configurations.append((index, configuration))
    self._use_configuration()
    self._host.kick()
    return int(index)


_original_accept = _R._accept


def _configuration_not_followed(self, index, entries) -> None:
    """Take entries without putting their configurations into effect."""
    before = list(self._configurations)
    _original_accept(self, index, entries)
    if len(before) > 1:
        self._configurations[:] = before
        self._use_configuration()


def _add_voter(configuration, member) -> membership.Configuration:
    if configuration.member(member.raft_id) is not None:
        return _original_add(configuration, member)
    voters = (*configuration.voters, member)
    return membership.Configuration(voters, configuration.learners, configuration.removed)


_original_add: Callable[..., membership.Configuration] = membership.add


def _say_nothing(self, raft_id) -> None:
    if raft_id == self._raft_id:
        self.clock.call_soon(self._leave)


def _silence() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(mock.patch.object(Run, "removed", _say_nothing))
    stack.enter_context(mock.patch.object(Listener, "is_removed", lambda self, _: False))
    stack.enter_context(mock.patch.object(_T, "refuse_removed", lambda self, _: False))
    return stack


_original_create = storage.create


def _create_without_peers(*arguments, **named) -> None:
    _original_create(*arguments, **(named | {"peers": ()}))


TABLE = [
    Mutation(
        "changes of membership at any time",
        "two majorities that do not meet",
        replace(_T, "change", _change_any_time),
        0,
        r"changes the members at .* before",
    ),
    Mutation(
        "followers ignore configurations in the log",
        "membership by arguments and hearsay",
        replace(_R, "_accept", _configuration_not_followed),
        6,
        r"liveness: .* (all vote|members agree)",
    ),
    Mutation(
        "new members vote at once",
        "an absent joiner stalls a group of one",
        replace(membership, "add", _add_voter),
        stories.an_absent_joiner_stalls_nobody,
        r"liveness: .* all vote",
    ),
    Mutation(
        "nobody is told of its removal",
        "a removed member never hears of it",
        _silence,
        6,
        r"does not know of its removal",
    ),
    Mutation(
        "a joiner's peers are not on its disk",
        "a joiner that crashed at once knows nobody for ever",
        replace(storage, "create", _create_without_peers),
        stories.a_joiner_crashes_before_it_knows_anything,
        r"liveness: .* it learns of its removal",
    ),
    Mutation(
        "strangers are never heard",
        "a member that was away while the group changed stays behind",
        replace(Listener, "stranger_dialled", lambda self, member: False),
        stories.a_member_was_away_while_the_group_changed,
        r"liveness: .* it knows the newest",
    ),
    Mutation(
        "only who has nearly the whole log is made a voter",
        "a joiner stays a learner as long as there is load",
        replace(Progress, "keeps_pace", lambda *_: False),
        stories.a_joiner_becomes_a_voter_under_load,
        r"liveness: .* the joiner votes",
    ),
]
