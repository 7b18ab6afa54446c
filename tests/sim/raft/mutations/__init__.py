"""Every correction taken out, one at a time, by name; and the seed or story that notices.

``test_mutations`` plays them. There is a table for each part of raft that is mutated. After raft
or the simulation has changed, seeds mean something else: then the first that notices is looked
for, and ``python -m tests.sim.raft.mutations`` says which.
"""

from tests.sim.raft.mutations import (
    disk,
    elections,
    membership,
    proposals,
    replication,
    snapshots,
)
from tests.sim.raft.mutations.playing import noticed, notices
from tests.sim.raft.mutations.row import Mutation

__all__ = ["TABLE", "Mutation", "noticed", "notices"]

TABLE = [
    *elections.TABLE,
    *replication.TABLE,
    *membership.TABLE,
    *proposals.TABLE,
    *disk.TABLE,
    *snapshots.TABLE,
]
