"""Why a proposal, a read or a membership change was refused: raised by the seam, shown to users.

Callers of ``Raft`` catch these; the texts that Docker's clients search for are Docker's own.
"""

from __future__ import annotations

from swarmops.errors import SwarmopsError

NO_LEADER = (
    "The swarm does not have a leader. It's possible that too few managers are online. "
    "Make sure more than half of the managers are online."
)
TOO_LARGE = "raft: raft message is too large and can't be sent"
QUORUM_LOSS = "can't remove member from the raft: this would result in a loss of quorum"


class RaftError(SwarmopsError):
    """Base of what this package refuses or can't do."""


class NoLeader(RaftError):  # noqa: N818 - a state of the group, and the caller's word for it
    """No leader was known within the caller's bound; nothing was proposed."""

    def __init__(self) -> None:
        super().__init__(NO_LEADER)


class ProposalTimeout(RaftError):  # noqa: N818 - named after what happened
    """The bound passed; the command may still be applied later, once."""


class OutcomeUnknown(ProposalTimeout):
    """The command was applied, but inside a snapshot: its result is not known here."""


class TooLarge(RaftError):  # noqa: N818 - named after what happened
    """The command exceeds what one entry may hold."""

    def __init__(self) -> None:
        super().__init__(TOO_LARGE)


class QuorumLoss(RaftError):  # noqa: N818 - named after what would happen
    """Removing this member would leave too few reachable ones."""

    def __init__(self) -> None:
        super().__init__(QUORUM_LOSS)


class MembershipRefused(RaftError):  # noqa: N818 - named after what happened
    """The change contradicts the configuration: an id that was removed, an unknown member."""


class Stopped(RaftError):  # noqa: N818 - a state, not a mistake
    """This member was stopped or removed; ask another manager."""


class StorageCorrupt(RaftError):  # noqa: N818 - a state of the disk
    """What is on disk can't be trusted; the text names file, offset and cure."""

    def __init__(self, path: str, offset: int, what: str) -> None:
        super().__init__(
            f"{path}: {what} at byte {offset}; the raft state of this manager can't be trusted: "
            "demote or remove this node and join it again, or restore its state from a backup"
        )
        self.path = path
        self.offset = offset


class StorageUnavailable(RaftError):  # noqa: N818 - a state of the disk
    """The disk refuses writes (full, read-only, failing); cured by making room."""


class Contradiction(RaftError):  # noqa: N818 - named after what was seen
    """The leader contradicts what is committed here; this member stops rather than follow."""


class IncompatibleEngine(RaftError):  # noqa: N818 - a state of the installation
    """The installed pysyncobj is not the release whose private names are overridden."""
