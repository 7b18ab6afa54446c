"""Who is a member: ``membership``, ``storage``, ``recovery``, ``requests``."""

# ruff: noqa: ANN001, ARG001 - stand-ins, see the sim's

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from swarmops.raft import membership, recovery, storage
from swarmops.raft.changes import Changes
from tests.unit.raft.faults import test_membership
from tests.unit.raft.mutations.row import Mutation, replace


def _described_by_the_beginning(disk, key, snapshot, entries) -> tuple[Any, Any]:
    configurations, sessions = _described(disk, key, snapshot, entries)
    return configurations[:2], sessions


_described = storage._described


def _add_anyone(configuration, member) -> Any:
    return _add(membership.Configuration(configuration.voters, configuration.learners), member)


_add = membership.add


async def _go_at_once(self, raft_id, timeout_s) -> bool:
    configuration = membership.remove(self._engine.configuration, raft_id)
    return bool(await self._change(configuration, timeout_s))


def _bar_nobody(*, voters, removed) -> membership.Configuration:
    return membership.Configuration(voters=voters)


def _open_as_in_the_beginning(*arguments: Any) -> Any:
    opened = _open_member(*arguments)
    opened.configurations = opened.configurations[:1]
    return opened


_open_member = storage.open_member

TABLE = [
    Mutation(
        "membership after a restart is the first one",
        "a node that was started again elects itself from its first arguments",
        replace(storage, "_described", _described_by_the_beginning),
        test_membership.test_membership_after_a_restart_is_the_logs_not_the_arguments,
    ),
    Mutation(
        "removed ids come back",
        "a removed member takes part again",
        replace(membership, "add", _add_anyone),
        test_membership.test_a_removed_id_never_comes_back,
    ),
    Mutation(
        "no check of the quorum before a removal",
        "a removal stalls the group",
        replace(membership, "check_removal", lambda *_: None),
        test_membership.test_the_quorum_check_is_dockers,
        {"voters": 3, "reachable": 2, "may_go": False},
    ),
    Mutation(
        "a new cluster bars nobody",
        "a manager that was given up comes back and stands against the survivor",
        replace(recovery, "Configuration", _bar_nobody),
        test_membership.test_force_new_cluster_makes_a_group_of_one_survivor,
        {"number": 2, "snapshot_entries": 1_000_000},
    ),
    Mutation(
        "a new cluster asks the oldest configuration who is lost",
        "who joined since then is not barred",
        replace(recovery, "storage", SimpleNamespace(open_member=_open_as_in_the_beginning)),
        test_membership.test_force_new_cluster_makes_a_group_of_one_survivor,
        {"number": 2, "snapshot_entries": 1_000_000},
    ),
    Mutation(
        "a leader removes itself",
        "a leader can't go: it must hand over first",
        replace(Changes, "_remove", _go_at_once),
        test_membership.test_removals_down_to_one_member_work,
    ),
]
