"""The disk as consensus sees it: files in one directory, and lanes on which slow work is done.

``Disk`` and ``Lanes`` are protocols so that a simulation can tear writes, fill up and be slow on a
virtual clock. ``DirectoryDisk`` and ``ThreadLanes`` are the real ones. Nothing here knows what is
in the files.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol

Lane = Literal["log", "snapshot"]
Done = Callable[[Any, BaseException | None], None]


class File(Protocol):
    """An open file. What was written is safe only after ``sync``."""

    def write(self, data: bytes) -> None:
        """Append all of it; raises OSError."""

    def sync(self) -> None:
        """Make what was written survive a loss of power; raises OSError."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes."""

    def close(self) -> None:
        """Give the file back; again does nothing."""


class Disk(Protocol):
    """Files by name in one directory; every call may block and may raise OSError."""

    @property
    def label(self) -> str:
        """How messages for users name the directory."""

    def names(self) -> list[str]:
        """List the files, sorted."""

    def read(self, name: str) -> bytes:
        """Read a whole file."""

    def create(self, name: str) -> File:
        """Make a new, empty file for appending; one of that name is replaced."""

    def open(self, name: str) -> File:
        """Open a file for reading."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file, durably."""

    def rewrite(self, name: str) -> None:
        """Write a file's bytes over themselves, durably; needs no room."""

    def replace(self, source: str, target: str) -> None:
        """Rename, durably."""

    def remove(self, name: str) -> None:
        """Delete, if it is there."""

    def sync_names(self) -> None:
        """Make creations, renames and deletions survive a loss of power."""


class Lanes(Protocol):
    """Where jobs that touch the disk run: one at a time in each lane, in order."""

    def submit(self, lane: Lane, job: Callable[[], Any], done: Done) -> None:
        """Run the job elsewhere, then ``done(result, error)`` on the event loop's thread."""

    async def close(self, last: Callable[[], None]) -> None:
        """Finish what runs, then do a last job; no ``done`` comes after. Raises what the job does.

        The event loop goes on meanwhile: a disk that hangs holds up nobody but who waits for this.
        """


class DirectoryFile:
    """A real file, unbuffered."""

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Append all of it, however often the system takes only a part."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        """Flush data and size."""
        os.fdatasync(self._fd)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read at a place without moving."""
        return os.pread(self._fd, size, offset)

    def close(self) -> None:
        """Close the descriptor, once: a second time its number may be another file's."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class DirectoryDisk:
    """A real directory, made with mode 0700 when absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def label(self) -> str:
        """The directory's path."""
        return str(self._path)

    def names(self) -> list[str]:
        """List the files."""
        return sorted(entry.name for entry in self._path.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        return (self._path / name).read_bytes()

    def create(self, name: str) -> DirectoryFile:
        """Make it new."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        return DirectoryFile(self._path / name, flags)

    def open(self, name: str) -> DirectoryFile:
        """Open it for reading."""
        return DirectoryFile(self._path / name, os.O_RDONLY)

    def truncate(self, name: str, size: int) -> None:
        """Cut it and flush."""
        fd = os.open(self._path / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def rewrite(self, name: str) -> None:
        """Write it in place and flush: pages that the kernel takes for clean are written again."""
        data = self.read(name)
        fd = os.open(self._path / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(fd, data[done:], done)
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: str, target: str) -> None:
        """Rename and flush the directory."""
        (self._path / source).replace(self._path / target)
        self.sync_names()

    def remove(self, name: str) -> None:
        """Unlink."""
        (self._path / name).unlink(missing_ok=True)

    def sync_names(self) -> None:
        """Flush the directory."""
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class ThreadLanes:
    """One thread a lane; results come back through ``call_soon_threadsafe`` of the loop."""

    def __init__(self, hand_back: Callable[..., Any]) -> None:
        self._hand_back = hand_back
        self._pools: dict[Lane, ThreadPoolExecutor] = {
            "log": ThreadPoolExecutor(1, thread_name_prefix="raft-log"),
            "snapshot": ThreadPoolExecutor(1, thread_name_prefix="raft-snapshot"),
        }
        self._closed = False

    def submit(self, lane: Lane, job: Callable[[], Any], done: Done) -> None:
        """Queue the job."""

        def finished(future: Future[Any]) -> None:
            if not self._closed:
                self._hand_back(self._report, future, done)

        self._pools[lane].submit(job).add_done_callback(finished)

    def _report(self, future: Future[Any], done: Done) -> None:
        if self._closed:
            return
        error = future.exception()
        done(None if error else future.result(), error)

    async def close(self, last: Callable[[], None]) -> None:
        """Wait for both lanes; at most one sync and one chunk each."""
        self._closed = True
        await asyncio.to_thread(self._end, last)

    def _end(self, last: Callable[[], None]) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
        last()
