"""Corrections taken out, one at a time, that a unit test notices; the rest is ``tests.sim.raft``'s.

``faults/test_mutations`` plays them. There is a table for each part of raft that is mutated; each
row has its fault, in PySyncObj or in an earlier version of ours, how the correction is taken out,
and the test that must fail then.
"""

from tests.unit.raft.mutations import (
    disk,
    elections,
    membership,
    proposals,
    replication,
    snapshots,
    wire,
)
from tests.unit.raft.mutations.row import Mutation

__all__ = ["TABLE", "Mutation"]

TABLE = [
    *disk.TABLE,
    *snapshots.TABLE,
    *elections.TABLE,
    *replication.TABLE,
    *membership.TABLE,
    *proposals.TABLE,
    *wire.TABLE,
]
