"""A process task's output: one file a stream, of bounded size, read back as lines.

The task writes straight into the file, so it never blocks on a daemon that is away, and no line is
copied. To bound a file its beginning is given back to the file system (a hole is punched) while
the task goes on appending: no line is lost, positions stay valid, ``ls`` shows the size it would
have had.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from swarmops.agent.executors.base import LogLine, LogRequest

KEPT_BYTES = 10 * 1024 * 1024
"""What is kept of a stream; up to half as much again is held for a moment."""
FOLLOW_S = 0.2
_BLOCK = 64 * 1024
_PAGE = 4096
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")


def path_of(task_dir: Path, stream: str) -> Path:
    """Return the file of ``stdout`` or ``stderr``."""
    return task_dir / f"{stream}.log"


def trim(path: Path, kept_bytes: int = KEPT_BYTES) -> None:
    """Give back the oldest output beyond ``kept_bytes``."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        stat = os.fstat(fd)
        if stat.st_blocks * 512 > kept_bytes * 3 // 2:
            _punch(fd, (stat.st_size - kept_bytes) // _PAGE * _PAGE)
    finally:
        os.close(fd)


async def read(task_dir: Path, request: LogRequest) -> AsyncIterator[LogLine]:
    """Iterate over the kept lines, one stream after the other, then over new ones if following."""
    wanted = {"stdout": request.stdout, "stderr": request.stderr}
    tails = [_Tail(path_of(task_dir, s), s, request.tail) for s in _STREAMS if wanted[s]]
    while True:
        for tail in tails:
            while lines := await asyncio.to_thread(tail.more):
                for line in lines:
                    yield line
        if not request.follow or not await asyncio.to_thread(task_dir.exists):
            break
        await asyncio.sleep(FOLLOW_S)
    for tail in tails:
        if tail.rest:
            yield LogLine(tail.stream, tail.rest)


class _Tail:
    """A place in one stream's file."""

    def __init__(self, path: Path, stream: Literal["stdout", "stderr"], lines: int) -> None:
        self.stream = stream
        self.rest = b""
        self._path = path
        self._lines = lines
        self._position = -1

    def more(self) -> list[LogLine]:
        """Return the next lines, none at the end of what was written."""
        try:
            with self._path.open("rb") as file:
                if self._position < 0:
                    self._position = _place(file.fileno(), self._lines)
                if self._position > os.fstat(file.fileno()).st_size:  # it was cut
                    self._position = 0
                file.seek(self._position)
                block = file.read(_BLOCK)
        except FileNotFoundError:
            return []
        self._position += len(block)
        lines = (self.rest + block).split(b"\n")
        self.rest = lines.pop()
        if block and not lines:
            return self.more()
        return [LogLine(self.stream, line) for line in lines]


def _place(fd: int, lines: int) -> int:
    """Return where the last ``lines`` lines begin, or the first whole line that is kept."""
    size = os.fstat(fd).st_size
    first = _first_kept(fd, size)
    if lines < 0:
        return first
    if lines == 0:
        return size
    missing = lines + 1  # the newline that ends the line before the first one wanted
    end = size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        missing -= 1
    for start, block in _blocks_backwards(fd, first, end):
        for at in _newlines_backwards(block):
            missing -= 1
            if missing == 0:
                return start + at + 1
    return first


def _first_kept(fd: int, size: int) -> int:
    try:
        start = os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:  # nothing but a hole, or no file system that knows holes
        return size if os.fstat(fd).st_blocks == 0 and size > _PAGE else 0
    if start == 0:
        return 0
    newline = os.pread(fd, _BLOCK, start).find(b"\n")
    return start + newline + 1


def _blocks_backwards(fd: int, first: int, end: int) -> Iterator[tuple[int, bytes]]:
    while end > first:
        start = max(first, end - _BLOCK)
        yield start, os.pread(fd, end - start, start)
        end = start


def _newlines_backwards(block: bytes) -> Iterator[int]:
    at = len(block)
    while (at := block.rfind(b"\n", 0, at)) >= 0:
        yield at


def _punch(fd: int, length: int) -> None:
    import ctypes  # noqa: PLC0415 - only a task that writes much needs it

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if length <= 0 or libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, 0, length) == 0:
        return
    code = ctypes.get_errno()
    if code != errno.EOPNOTSUPP:
        raise OSError(code, os.strerror(code))
    os.ftruncate(fd, 0)  # a file system without holes: all old output goes at once
