"""Where the lab keeps what it builds and runs: always outside the repository.

`SWARMOPS_LAB_CACHE` overrides; else `$XDG_CACHE_HOME/swarmops-lab`, else /var/cache for root.
Everything in it can be deleted while no lab is up and is built again when needed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache's directory, made if missing."""
    if chosen := os.environ.get("SWARMOPS_LAB_CACHE"):
        path = Path(chosen)
    elif xdg := os.environ.get("XDG_CACHE_HOME"):
        path = Path(xdg) / "swarmops-lab"
    else:
        path = Path("/var/cache/swarmops-lab")
    path.mkdir(parents=True, exist_ok=True)
    return path


def default_lab_name() -> str:
    """Return the lab that commands and tests mean when none is named (`LAB_NAME`)."""
    return os.environ.get("LAB_NAME", "lab")


def lab_dir(name: str) -> Path:
    """Return a lab's scratch folder (inventory, lab.json, key); `LAB_DIR` moves the default's."""
    if (chosen := os.environ.get("LAB_DIR")) and name == default_lab_name():
        return Path(chosen)
    return cache_dir() / "run" / name


@contextmanager
def locked(path: Path, *, within_s: float, what: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; TimeoutError says who could not be waited for."""
    with path.open("a") as file:
        deadline = time.monotonic() + within_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"{what} was in use by another process for {within_s:.0f} s"
                    raise TimeoutError(message) from None
                time.sleep(0.1)
        yield
