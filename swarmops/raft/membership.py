"""The group's configuration and the rules for changing it, as pure functions over frozen data.

Used by the engine (which takes a configuration into effect when it is appended) and by the seam
(which refuses a change before it is proposed). Knows no log and no network.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import msgspec

from swarmops.raft.errors import MembershipRefused, QuorumLoss
from swarmops.raft.seam import Member


class Configuration(msgspec.Struct, frozen=True, dict=True):
    """Who votes, who only listens, and whose ids may never come back. A log entry holds it whole.

    Holding it whole, not as a change, makes rolling back an uncommitted one a matter of looking
    at the entry before.
    """

    voters: tuple[Member, ...] = ()
    learners: tuple[Member, ...] = ()
    removed: tuple[str, ...] = ()

    def member(self, raft_id: str) -> Member | None:
        """Return the voter or learner with this id."""
        for member in (*self.voters, *self.learners):
            if member.raft_id == raft_id:
                return member
        return None

    @functools.cached_property
    def voter_ids(self) -> frozenset[str]:
        """The ids that count for a majority."""
        return frozenset(member.raft_id for member in self.voters)


EMPTY = Configuration()


def encode(configuration: Configuration) -> bytes:
    """Spell a configuration for the log and for snapshots."""
    return msgspec.msgpack.encode(configuration)


def decode(data: bytes) -> Configuration:
    """Read what ``encode`` wrote; raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Configuration)


def add(configuration: Configuration, member: Member) -> Configuration:
    """Return the configuration with a new learner, or with a known member's new address."""
    if member.raft_id in configuration.removed:
        raise MembershipRefused(
            f"raft id {member.raft_id} was removed from the swarm and can't come back: "
            "join this node again to get a new one"
        )
    known = configuration.member(member.raft_id)
    if known is None:
        return msgspec.structs.replace(configuration, learners=(*configuration.learners, member))
    if known.node_id != member.node_id:
        raise MembershipRefused(
            f"raft id {member.raft_id} belongs to node {known.node_id}, not to {member.node_id}: "
            "join this node again to get its own"
        )

    def update(members: tuple[Member, ...]) -> tuple[Member, ...]:
        return tuple(member if old.raft_id == member.raft_id else old for old in members)

    return msgspec.structs.replace(
        configuration,
        voters=update(configuration.voters),
        learners=update(configuration.learners),
    )


def promote(configuration: Configuration, raft_id: str) -> Configuration:
    """Return the configuration with a learner made a voter."""
    member = configuration.member(raft_id)
    if member is None or member in configuration.voters:
        return configuration
    return msgspec.structs.replace(
        configuration,
        voters=(*configuration.voters, member),
        learners=tuple(other for other in configuration.learners if other != member),
    )


def remove(configuration: Configuration, raft_id: str) -> Configuration:
    """Return the configuration without a member, its id barred for ever."""
    if configuration.member(raft_id) is None:
        return configuration
    return Configuration(
        voters=tuple(m for m in configuration.voters if m.raft_id != raft_id),
        learners=tuple(m for m in configuration.learners if m.raft_id != raft_id),
        removed=(*configuration.removed, raft_id),
    )


def check_removal(configuration: Configuration, raft_id: str, reachable: Collection[str]) -> None:
    """Refuse a removal after which too few voters could be reached (SwarmKit's rule).

    With N voters, those reachable without the one to go must be at least (N-1)//2 + 1.
    Raises QuorumLoss; a learner or an unknown id may always go.
    """
    voters = configuration.voter_ids
    if raft_id not in voters:
        return
    remaining = sum(1 for voter in voters if voter != raft_id and voter in reachable)
    if remaining < (len(voters) - 1) // 2 + 1:
        raise QuorumLoss


def majority(count: int) -> int:
    """How many of ``count`` voters decide."""
    return count // 2 + 1
