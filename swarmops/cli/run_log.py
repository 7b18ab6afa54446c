"""The log file of one run: what was asked, every step with its time, every error in full.

Begun by ``settings.on_fleet`` for every command that talks to hosts; ``main`` names its path when
the run fails. Whatever the operator's side logs goes there. Never in it: environments, passwords,
specs, and the words of commands, for people put secrets there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from swarmops import __version__
from swarmops.fleet.paths import state_dir

KEPT = 50
"""So many log files of each command are kept, the newest."""
_FOLDER_BYTES_MAX = 64 << 20
_BYTES_MAX = 8 << 20
"""A longer log begins anew, with the former beside it: a watch runs for months."""
RUN = "swarmops.run"
"""The logger of what is said of the run itself."""
_VARIABLES = {"env"}
_PROGRAMS = {"command", "entrypoint"}
_WORDS = {"args"}


class RunLog:
    """An open log file. Lines carry the time of day (UTC) and the seconds since the beginning."""

    def __init__(self, path: Path, began: float) -> None:
        self.path = path
        self._began = began
        self._bytes = 0
        self._open()
        self._handler = _Handler(self)
        logger = logging.getLogger("swarmops")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self._handler)

    def _open(self) -> None:
        # Opened for its owner alone, since reasons of failures may quote what hosts said.
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(
            handle, "w", encoding="utf-8", errors="backslashreplace", buffering=1
        )

    def write(self, text: str) -> None:
        """Write a line, or several; where there is no room, no run ends for that."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it could not be opened anew
            self._write(text)

    def _write(self, text: str) -> None:
        now = datetime.now(UTC)
        stamp = f"{now:%H:%M:%S.%f}"[:-3] + f" {time.monotonic() - self._began:8.3f}"
        for line in text.splitlines():
            self._bytes += self._file.write(f"{stamp}  {line}\n")
        if self._bytes > _BYTES_MAX:
            self._file.close()
            self.path.replace(self.path.with_suffix(".log.1"))
            self._bytes = 0
            self._open()

    def close(self) -> None:
        """Close the file; nothing that is logged goes there any more."""
        logging.getLogger("swarmops").removeHandler(self._handler)
        with contextlib.suppress(OSError):
            self._file.close()


class _Handler(logging.Handler):
    """Takes what libraries and hands log, each with its thread's host."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.DEBUG)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        head = "" if record.name == RUN else f"{record.levelname.lower()} {record.name}: "
        self._log.write(f"{head}{record.getMessage()}")


def begin(command: str, asked: str = "") -> RunLog | None:
    """Begin the log of a run; None where no file can be written: that stops no run."""
    folder = state_dir() / "logs"
    now = datetime.now(UTC)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _prune(folder, command)
        log = RunLog(folder / f"{command}-{now:%Y%m%dT%H%M%S}-{os.getpid()}.log", time.monotonic())
    except OSError:
        return None
    log.write(f"swarmops {__version__}, {now:%Y-%m-%d}: {asked or command}")
    return log


def _prune(folder: Path, command: str) -> None:
    """Make room for one more log of a command; the reports of defects are among them."""
    for name, kept in ((command, KEPT - 1), ("error", KEPT)):
        for path, _ in _newest_first(folder.glob(f"{name}-2*.log"))[kept:]:
            path.unlink(missing_ok=True)
    left = _FOLDER_BYTES_MAX
    for path, size in _newest_first(folder.glob("*.log*")):
        left -= size
        if left < 0:
            path.unlink(missing_ok=True)


def _newest_first(paths: Iterable[Path]) -> list[tuple[Path, int]]:
    """Return files with their sizes; another run may remove some meanwhile."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found.append((path, path.stat()))
    found.sort(key=lambda pair: pair[1].st_mtime, reverse=True)
    return [(path, stat.st_size) for path, stat in found]


def asked(context: click.Context) -> str:
    """Return what the user asked for, without the words that may hold a secret."""
    said = [
        f"{name}={_shown(name, value)}"
        for name, value in context.params.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    return " ".join([context.command_path.partition(" ")[2], *said])


def _shown(name: str, value: Any) -> str:
    if name in _VARIABLES:
        return ",".join(f"{str(one).partition('=')[0]}=…" for one in value)
    if name in _WORDS:
        return "…"
    if name in _PROGRAMS:
        words = (value if isinstance(value, str) else " ".join(value)).split()
        return " ".join([*words[:1], *(["…"] if words[1:] else [])])
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)
