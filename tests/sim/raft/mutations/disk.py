"""What outlives a loss of power: ``logwriter``, ``logfile``, ``termfile``, the disk itself."""

# ruff: noqa: ANN001, ARG005 - stand-ins take what the original takes

from __future__ import annotations

import zlib

import msgspec

from swarmops.raft import logfile, termfile
from swarmops.raft.logwriter import LogWriter
from tests.sim.raft import stories
from tests.sim.raft.disk import SimDisk
from tests.sim.raft.mutations.row import Mutation, replace


def _no_sync(self) -> None:
    self._synced_to = self._end


def _store_unsynced(disk, state) -> None:
    body = msgspec.msgpack.encode(state)
    file = disk.create(f"{termfile.NAME}.new")
    file.write(termfile._MAGIC + body + zlib.crc32(body).to_bytes(termfile._CRC_BYTES, "big"))
    file.close()
    disk.replace(f"{termfile.NAME}.new", termfile.NAME)


def _forget_names(self) -> None:
    self._operate()


def _go_on_in_place(self) -> None:
    """Write on in the segment whose write or sync failed."""
    self._broken = False


TABLE = [
    Mutation(
        "the log is never synced",
        "acknowledged writes are lost with the power",
        replace(LogWriter, "_sync", _no_sync),
        1,
        r"refuses to start: .*log-|lost entry",
    ),
    Mutation(
        "the directory is never synced",
        "files are lost, or back under their old names, with the power",
        replace(SimDisk, "sync_names", _forget_names),
        1,
        r"lost entry|refuses to start|forgot term|ends at",
    ),
    Mutation(
        "the term file is renamed without a sync",
        "an empty term file",
        replace(termfile, "store", _store_unsynced),
        1,
        r"refuses to start: .*/term:",
    ),
    Mutation(
        "written on after a failed sync",
        "what the kernel dropped counts as synced",
        replace(LogWriter, "_mend", _go_on_in_place),
        32,
        r"refuses to start: .*log-|lost entry",
    ),
    Mutation(
        "what a killed run left unsynced is not synced at the start",
        "it is promised, and then lost with the power",
        replace(logfile, "_make_durable", lambda disk, name: None),
        stories.a_killed_run_left_unsynced_writes,
        r"refuses to start: .*log-|lost entry",
    ),
]
