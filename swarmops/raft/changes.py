"""Changes of the group that its leader makes: members added, removed, the office handed over.

Used by ``requests`` for what was asked here or by another member. Each may be asked for twice.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmops.raft import membership
from swarmops.raft.engine import ChangeBusy, Engine
from swarmops.raft.errors import MembershipRefused, QuorumLoss, RaftError
from swarmops.raft.seam import Member, Timing
from swarmops.raft.waiting import Waiters

RETRY = "retry"
"""The refusal of who does not lead, or can't now: ask again, whoever leads then."""
REFUSALS: dict[str, Callable[[str], RaftError]] = {
    "quorum": lambda _text: QuorumLoss(),
    "refused": MembershipRefused,
}
"""Refusals that are final, by name, as what the caller is told."""


class Changes:
    """The leader's side; every call may find that this member leads no more."""

    def __init__(self, *, me: str, engine: Engine, timing: Timing, waiters: Waiters) -> None:
        self._me = me
        self._engine = engine
        self._timing = timing
        self._waiters = waiters

    async def make(
        self, action: str, member: Member | None, raft_id: str, timeout_s: float
    ) -> tuple[str, str]:
        """Do it; return the refusal's name and text, both empty when it is done."""
        try:
            if action == "add" and member is not None:
                done = await self._change(
                    membership.add(self._engine.configuration, member), timeout_s
                )
            elif action == "remove":
                done = await self._remove(raft_id, timeout_s)
            elif action == "transfer":
                done = await self._transfer(raft_id or None, timeout_s)
            else:
                return "refused", f"no such change of the managers: {action}"
        except ChangeBusy:
            return RETRY, ""
        except QuorumLoss as error:
            return "quorum", str(error)
        except MembershipRefused as error:
            return "refused", str(error)
        return ("" if done else RETRY), ""

    async def _change(self, configuration: membership.Configuration, timeout_s: float) -> bool:
        engine = self._engine
        if configuration == engine.configuration:
            index = engine.configuration_index()
        else:
            index = engine.change(configuration)
        term = engine.term()

        def lost() -> bool:
            return engine.term() != term or not engine.is_leading()

        await self._waiters.until(lambda: lost() or engine.applied_index() >= index, timeout_s)
        return not lost() and engine.applied_index() >= index

    async def _remove(self, raft_id: str, timeout_s: float) -> bool:
        engine = self._engine
        configuration = engine.configuration
        if configuration.member(raft_id) is None:
            return await self._change(configuration, timeout_s)
        try:
            membership.check_removal(configuration, raft_id, engine.reachable())
        except QuorumLoss:
            if engine.has_just_begun():
                raise ChangeBusy("not all have answered this leader yet: ask again") from None
            raise
        if raft_id == self._me:
            await self._transfer(None, timeout_s)
            return False
        return await self._change(membership.remove(configuration, raft_id), timeout_s)

    async def _transfer(self, raft_id: str | None, timeout_s: float) -> bool:
        engine = self._engine
        if raft_id == self._me:
            return True
        if raft_id is not None and raft_id not in engine.configuration.voter_ids:
            raise MembershipRefused(f"{raft_id} is no voting manager: it can't lead")
        if not engine.transfer(raft_id):
            raise ChangeBusy("nobody who could take over answers")
        bound_s = min(timeout_s, 2 * self._timing.election_max_s)
        return await self._waiters.until(lambda: not engine.is_leading(), bound_s)
