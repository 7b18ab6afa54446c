"""Consensus: a small seam (``Raft``) over PySyncObj with storage, wire and membership of our own.

The store and the manager use what is exported here and nothing else of this package; see DESIGN.md.
"""

from swarmops.raft.clock import BootClock
from swarmops.raft.errors import (
    MembershipRefused,
    NoLeader,
    OutcomeUnknown,
    ProposalTimeout,
    QuorumLoss,
    RaftError,
    Stopped,
    StorageCorrupt,
    StorageUnavailable,
    TooLarge,
)
from swarmops.raft.raft import Raft, new_raft_id
from swarmops.raft.recovery import force_new_cluster
from swarmops.raft.seam import COMMAND_BYTES_MAX, Clock, Member, StateMachine, Status, Timing
from swarmops.raft.streams import StreamTransport
from swarmops.raft.transport import Transport

__all__ = [
    "COMMAND_BYTES_MAX",
    "BootClock",
    "Clock",
    "Member",
    "MembershipRefused",
    "NoLeader",
    "OutcomeUnknown",
    "ProposalTimeout",
    "QuorumLoss",
    "Raft",
    "RaftError",
    "StateMachine",
    "Status",
    "Stopped",
    "StorageCorrupt",
    "StorageUnavailable",
    "StreamTransport",
    "Timing",
    "TooLarge",
    "Transport",
    "force_new_cluster",
    "new_raft_id",
]
