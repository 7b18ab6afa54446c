"""The log file of one run: what was asked, every step with its time, every error in full.

Begun by the commands that change a fleet; ``main`` names its path when the run fails. Arguments are
in it, as they never hold secrets; environments, passwords and specs are not.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from swarmops import __version__
from swarmops.fleet.paths import state_dir

KEPT = 100
"""So many log files are kept, the newest."""


class RunLog:
    """An open log file. Lines carry the time of day (UTC) and the seconds since the beginning."""

    def __init__(self, path: Path, began: float) -> None:
        self.path = path
        self._began = began
        # Opened for its owner alone, since reasons of failures may quote what hosts said.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "w", encoding="utf-8", buffering=1)

    def write(self, text: str) -> None:
        """Write a line, or several."""
        now = datetime.now(UTC)
        stamp = f"{now:%H:%M:%S.%f}"[:-3] + f" {time.monotonic() - self._began:8.3f}"
        for line in text.splitlines():
            self._file.write(f"{stamp}  {line}\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Handler(logging.Handler):
    """Takes what libraries and hands log, each with its thread's host."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.DEBUG)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write(f"{record.levelname.lower()} {record.name}: {record.getMessage()}")


def begin(command: str) -> RunLog | None:
    """Begin the log of a run; None where no file can be written: that stops no run."""
    folder = state_dir() / "logs"
    now = datetime.now(UTC)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _prune(folder)
        log = RunLog(folder / f"{command}-{now:%Y%m%dT%H%M%S}-{os.getpid()}.log", time.monotonic())
    except OSError:
        return None
    log.write(f"swarmops {__version__}, {now:%Y-%m-%d}: {' '.join(sys.argv[1:])}")
    logger = logging.getLogger("swarmops")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(_Handler(log))
    return log


def _prune(folder: Path) -> None:
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    for path in logs[: max(0, len(logs) - KEPT + 1)]:
        path.unlink(missing_ok=True)
