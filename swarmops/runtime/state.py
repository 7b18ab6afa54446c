"""What a node must remember to come back into its swarm: one small file in its data directory.

Written through the daemon's ``Membership`` alone, atomically and durably, at each change.
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

_FILE = "node.json"


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


class Membership:
    """This node's place in a swarm, on disk before anybody sees it; ``state`` is None in none."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.state: NodeState | None = None

    def load(self) -> NodeState | None:
        """Take up what was saved; None for a node that is in no swarm; StateError if broken."""
        path = self._data_dir / _FILE
        try:
            self.state = msgspec.json.decode(path.read_bytes(), type=NodeState)
        except FileNotFoundError:
            self.state = None
        except (OSError, msgspec.MsgspecError) as exc:
            raise StateError(
                f"{path}: can't be read ({exc}): restore it from a backup, "
                "or remove the data directory and join the swarm again"
            ) from exc
        return self.state

    def current(self) -> NodeState:
        """Return the state of a node that is in a swarm."""
        if self.state is None:
            raise RuntimeError("this node is in no swarm")
        return self.state

    def remember(self, state: NodeState) -> None:
        """Replace the state, durably."""
        write_private(self._data_dir / _FILE, msgspec.json.encode(state))
        self.state = state

    def forget(self) -> None:
        """Be in no swarm from now on."""
        (self._data_dir / _FILE).unlink(missing_ok=True)
        self.state = None
