"""What a manager's memory is with 100,000 tasks. `python -m bench.store_memory [--tasks N]`.

One process with everything that a manager imports, and a store that was filled as the log fills it:
entry by entry, decoded anew, so that nothing is shared but what the store itself shares.
"""

from __future__ import annotations

import argparse
import gc
import os
from datetime import UTC, datetime

from bench.measuring import load
from bench.raft_goals import goal
from bench.raft_processes import resident_mb
from bench.raft_state import transactions
from swarmops.runtime import manager_part
from swarmops.store import Store

GOAL_MB = 400.0


def main() -> int:
    """Print the resident memory without and with the tasks; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    tasks = parser.parse_args().tasks
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {load()}")
    at = datetime.now(UTC)
    print(f"  a process with {manager_part.__name__}: {resident_mb(os.getpid()):.1f} MB")
    store = Store()
    for tx in transactions(tasks, at):
        store.apply(store.applied + 1, tx.encode(at))
    gc.collect()
    print(f"  {len(store.tasks):,} running tasks of 100 services on 100 nodes are in it")
    return 0 if goal("resident, MB", resident_mb(os.getpid()), GOAL_MB) else 1


if __name__ == "__main__":
    raise SystemExit(main())
