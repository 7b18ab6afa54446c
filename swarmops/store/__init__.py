"""The replicated object store: tables, indexes, transactions and watches over a replicated log.

Used by ``manager``, ``api`` and the runtime. Every manager holds a replica that is changed only by
applying log entries, in order, with the same result everywhere. It never talks to a network or a
disk itself: proposing bytes is a function that it is given.
"""

from swarmops.store.errors import (
    AlreadyExists,
    Fenced,
    FileInUse,
    IngressMissing,
    IngressPresent,
    NameConflict,
    NetworkInUse,
    NotFound,
    OutOfSequence,
    PoolsFull,
    PortConflict,
    ReferenceMissing,
    StoreError,
    SubnetConflict,
    TooLarge,
    WentBackwards,
)
from swarmops.store.store import Store
from swarmops.store.table import NamedTable, NodeTable, Table, TaskTable, place_of
from swarmops.store.transaction import Failure, Transaction
from swarmops.store.watch import Event, Watch, sliced

__all__ = [
    "AlreadyExists",
    "Event",
    "Failure",
    "Fenced",
    "FileInUse",
    "IngressMissing",
    "IngressPresent",
    "NameConflict",
    "NamedTable",
    "NetworkInUse",
    "NodeTable",
    "NotFound",
    "OutOfSequence",
    "PoolsFull",
    "PortConflict",
    "ReferenceMissing",
    "Store",
    "StoreError",
    "SubnetConflict",
    "Table",
    "TaskTable",
    "TooLarge",
    "Transaction",
    "Watch",
    "WentBackwards",
    "place_of",
    "sliced",
]
