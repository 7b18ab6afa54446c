"""Whom a member talks to: the members it knows, those on their way out, strangers when it is lost.

Made by ``run``; the only one that tells the transport. It reads configurations, never changes them.
"""

from __future__ import annotations

from swarmops.raft.engine import Engine
from swarmops.raft.messages import Removed
from swarmops.raft.seam import Clock, Member
from swarmops.raft.transport import Transport

_FAREWELL_S = 5.0
_STRANGERS_MAX = 16


class Peers:
    """One member's peers; ``told`` are whom a joiner was told of, before it has a configuration."""

    def __init__(
        self,
        me: Member,
        told: tuple[Member, ...],
        *,
        engine: Engine,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self._me = me
        self._told = told
        self._engine = engine
        self._transport = transport
        self._clock = clock
        self._known: dict[str, Member] = {}
        self._departing: dict[str, Member] = {}
        self._strangers: dict[str, Member] = {}
        self._stopped = False

    def configuration_changed(self) -> None:
        """Let the transport know whom to talk to."""
        engine = self._engine
        members: dict[str, Member] = {}
        committed = engine.committed_configuration(engine.applied_index())
        for configuration in (committed, engine.configuration):
            for member in (*configuration.voters, *configuration.learners):
                members[member.raft_id] = member
        if self._me.raft_id not in members:
            members = {member.raft_id: member for member in self._told} | members
        self._known |= members
        known = members.keys() | committed.removed
        self._strangers = {r: m for r, m in self._strangers.items() if r not in known}
        self._transport.set_peers((self._strangers | self._departing | members).values())

    def take_leave(self, raft_id: str) -> None:
        """Tell a member that its removal is committed, and stay in touch until it has heard."""
        member = self._known.get(raft_id)
        if member is not None:
            self._departing[raft_id] = member
            self._clock.call_later(_FAREWELL_S, self._forget, raft_id)
        self._transport.send(raft_id, Removed(raft_id))

    def listen_to_stranger(self, member: Member) -> bool:
        """Listen to a manager that isn't known here, as long as no leader is; says whether.

        This member may have been away while the whole group changed: the leader whose log would
        tell it so is then one that it does not know.
        """
        if self._engine.leader() is not None:
            return False
        self._strangers.pop(member.raft_id, None)
        if len(self._strangers) >= _STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]
        self._strangers[member.raft_id] = member
        self.configuration_changed()
        return member.raft_id in self._strangers

    def is_removed(self, raft_id: str) -> bool:
        """Say whether a member's removal is committed."""
        engine = self._engine
        return raft_id in engine.committed_configuration(engine.applied_index()).removed

    def stop(self) -> None:
        """Tell the transport nothing more."""
        self._stopped = True

    def _forget(self, raft_id: str) -> None:
        self._departing.pop(raft_id, None)
        if not self._stopped:
            self.configuration_changed()
