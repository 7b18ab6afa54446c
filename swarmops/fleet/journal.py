"""A node's own log, as its host keeps it: read once, or followed by asking again and again.

Called by ``swarmops logs``. Asking again works the same over SSH, with sudo and on this machine,
and goes on after a connection that was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from swarmops.backends import hostside
from swarmops.backends.base import Shell
from swarmops.fleet.target import Target

PERIOD_S = 1.0


def log_text(
    shell: Shell,
    target: Target,
    *,
    lines: int,
    follow: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Iterate over parts of the log, the last ``lines`` lines first. Raises HostError."""
    cursor = ""
    while True:
        args = {
            "unit": "" if target.place.local else target.place.unit,
            "path": f"{target.place.data_dir}/daemon.log",
            "lines": lines,
            "cursor": cursor,
        }
        answer = hostside.call(shell, "journal", args)
        cursor = answer["cursor"]
        if answer["text"]:
            yield answer["text"]
        if not follow:
            return
        sleep(PERIOD_S)
