"""A full disk costs lines of the log, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from swarmops.runtime.log_output import lossy


def test_who_logs_to_a_full_disk_goes_on_and_writes_again_once_there_is_room(tmp_path: Path):
    """/dev/full refuses each write as a full disk does."""
    path = tmp_path / "daemon.log"
    with path.open("w") as stream:
        log = structlog.PrintLogger(lossy(stream))
        room = os.dup(stream.fileno())
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, stream.fileno())
        for _ in range(3):
            log.msg("lost" * 10_000)
        os.dup2(room, stream.fileno())
        log.msg("written")
        os.close(room)
        os.close(full)
    assert path.read_text().endswith("written\n")
