"""A loopback network of one test run's own, so that two checkouts can run these tests at once.

The first free of 127.0.7.0/24 … 127.0.99.0/24, held by a lock until this process ends.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path


def _claim() -> str:
    for third in range(7, 100):
        path = Path(tempfile.gettempdir()) / f"swarmops-local-{third}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT)  # closed by the process's end alone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return f"127.0.{third}"
    raise RuntimeError("93 runs of these tests hold a network each: end some of them")


NETWORK = _claim()
"""The first three numbers of this run's addresses."""


def node_address(number: int | str) -> str:
    """Where the demo's node of this number (1 to 5) is."""
    return f"{NETWORK}.1{number}"
