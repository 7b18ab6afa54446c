"""What is applied and what is read: ``sessions``, ``requests``."""

# ruff: noqa: ANN001, ARG001 - stand-ins take what the original takes

from __future__ import annotations

from swarmops.raft import requests
from swarmops.raft.sessions import Sessions
from tests.sim.raft.mutations.row import Mutation, replace


def _always_first(self, index, session_id, number, floor) -> bool:
    return True


async def _read_unasked(self, timeout_s) -> int:
    return int(self._engine.commit_index()) if self._engine.is_leading() else 0


TABLE = [
    Mutation(
        "no memory of requests",
        "a command that is sent again is applied twice",
        replace(Sessions, "first_time", _always_first),
        0,
        r"applied command .* twice",
    ),
    Mutation(
        "reads without lease or round",
        "a deposed leader answers with old values",
        replace(requests.Requests, "_read_index", _read_unasked),
        3,
        r"is not linearizable",
    ),
]
