"""The daemon as its supervisor has it: one process, started, taken over or ended.

``swarmops.supervisor`` decides when; standard library only. The process is written down in
``<data-dir>/daemon.pid``, so that the next supervisor finds the daemon that outlived the last one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

STOP_GRACE_S = 15.0
WATCHDOG_S = 30.0


def start_time(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks: with the pid it names one process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


class Daemon:
    """The supervised process: started by us, or by a supervisor that died before us."""

    def __init__(self, data_dir: Path, argv: list[str]) -> None:
        self.data_dir = data_dir
        self.argv = argv
        self.pid = 0
        self.pidfd = -1
        self.since = time.monotonic()
        self._record = data_dir / "daemon.pid"

    def adopt(self) -> bool:
        """Take over a daemon that runs already; one with other arguments is ended first."""
        try:
            record = json.loads(self._record.read_text())
            pid, began, argv = record["pid"], record["start"], record["argv"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if start_time(pid) != began:
            return False
        try:
            self.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self.pid, self.since = pid, time.monotonic()
        if argv != self.argv:
            self.stop()
            return False
        return True

    def start(self, notify: str | None) -> None:
        """Start it with its output in the log; OSError if the program isn't there."""
        environment = dict(os.environ)
        if notify is not None:
            environment["NOTIFY_SOCKET"] = notify
            environment["WATCHDOG_USEC"] = str(int(WATCHDOG_S * 1e6))
        process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, env=environment)
        self.pid, self.since = process.pid, time.monotonic()
        self.pidfd = os.pidfd_open(self.pid)
        record = {"pid": self.pid, "start": start_time(self.pid), "argv": self.argv}
        temporary = self._record.with_suffix(".new")
        temporary.write_text(json.dumps(record))
        temporary.replace(self._record)

    def ended(self) -> str:
        """Clean up after its end, and say how it ended."""
        how = "ended"
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1
        self._record.unlink(missing_ok=True)
        return how

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after the grace."""
        if self.pidfd < 0:
            return
        self.signal(signal.SIGTERM)
        if not select.select([self.pidfd], [], [], STOP_GRACE_S)[0]:
            self.signal(signal.SIGKILL)
            select.select([self.pidfd], [], [])
        self.ended()
