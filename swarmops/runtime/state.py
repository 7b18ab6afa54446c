"""What a node must remember to come back into its swarm: one small file in its data directory.

Written by the daemon alone, atomically and durably, at each change.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from swarmops.errors import SwarmopsError
from swarmops.model.node import Role
from swarmops.model.swarm import Peer
from swarmops.pki.identity import write_private
from swarmops.pki.wire import Described

STATE_FILE = "node.json"


class NodeState(msgspec.Struct, frozen=True):
    """Membership of a swarm. ``raft_id`` is empty on workers.

    ``manager``: whether this node is in the Raft group; ``certified``: the role its certificate is
    for. They differ while the role changes.
    """

    node_id: str
    cluster_id: str
    listen_addr: str
    advertise_addr: str
    manager: bool
    certificate: Described
    certified: Role
    raft_id: str = ""
    managers: tuple[Peer, ...] = ()


class StateError(SwarmopsError):
    """The state file can't be read."""


def new_raft_id(rng: random.Random) -> str:
    """Draw the ID of a new member of the Raft group: 64 random bits, never used again."""
    return f"{rng.getrandbits(64):016x}"


def load_state(data_dir: Path) -> NodeState | None:
    """Return what was saved, None for a node that is in no swarm; StateError if it is broken."""
    path = data_dir / STATE_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodeState)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        raise StateError(
            f"{path}: can't be read ({exc}): restore it from a backup, "
            "or remove the data directory and join the swarm again"
        ) from exc


def save_state(data_dir: Path, state: NodeState) -> None:
    """Replace the state file durably."""
    write_private(data_dir / STATE_FILE, msgspec.json.encode(state))
