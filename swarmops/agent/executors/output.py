"""A process task's output: one file a stream, of bounded size, read back as lines.

The task writes straight into the file, so it never blocks on a daemon that is away, and no line is
copied. To bound a file its beginning is given back to the file system (a hole is punched) while
the task goes on appending: no line is lost, positions stay valid, ``ls`` shows the size it would
have had.

No line carries its time. Instead, marks beside the file say how long it was when: they are made
with each trim, every few seconds, and a line's time is that of the first mark behind it, else of
the last write. So a time is never early, and late by one period at most while the daemon runs.
"""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import Struct
from typing import Literal

from swarmops.agent.executors.base import LogLine, LogRequest

KEPT_BYTES = 10 * 1024 * 1024
"""What is kept of a stream; up to half as much again is held for a moment."""
FOLLOW_S = 0.2
LINE_BYTES_MAX = 1024 * 1024
"""Something longer without a newline is given in pieces."""
MARKS_MAX = 4096
"""Marks of one stream; of twice as many every second one is dropped."""
_MARK = Struct("<QQ")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLOCK = 64 * 1024
_PAGE = 4096
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")


def path_of(task_dir: Path, stream: str) -> Path:
    """Return the file of ``stdout`` or ``stderr``."""
    return task_dir / f"{stream}.log"


def trim(path: Path, kept_bytes: int = KEPT_BYTES) -> None:
    """Give back the oldest output beyond the bound, and mark the time of the newest."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        stat = os.fstat(fd)
        if stat.st_blocks * 512 > kept_bytes * 3 // 2:
            _punch(fd, (stat.st_size - kept_bytes) // _PAGE * _PAGE)
        _mark(_marks_of(path), stat)  # last: it may need the room that was just made
    finally:
        os.close(fd)


def _marks_of(path: Path) -> Path:
    return path.with_suffix(".times")


def _mark(marks: Path, stat: os.stat_result) -> None:
    """Write down that the file was this long at its last write, if it has grown."""
    count, last = _last_mark(marks)
    if stat.st_size == last:
        return
    mark = _MARK.pack(stat.st_size, stat.st_mtime_ns)
    if stat.st_size > last and count < 2 * MARKS_MAX:
        fd = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, mark, count * _MARK.size)  # over what a crash cut short
        finally:
            os.close(fd)
        return
    kept = b""  # of a file that was cut, nothing that was known is true any more
    if stat.st_size > last:
        kept = b"".join(_MARK.pack(*pair) for pair in _read_marks(marks)[1::2])
    fresh = marks.with_suffix(".new")
    fresh.write_bytes(kept + mark)
    fresh.replace(marks)


def _last_mark(marks: Path) -> tuple[int, int]:
    """Return how many marks there are, and the size that the last one says."""
    try:
        with marks.open("rb") as file:
            count = os.fstat(file.fileno()).st_size // _MARK.size
            if count == 0:
                return 0, 0
            last: int = _MARK.unpack(os.pread(file.fileno(), _MARK.size, (count - 1) * _MARK.size))[
                0
            ]
            return count, last
    except FileNotFoundError:
        return 0, 0


def _read_marks(marks: Path) -> list[tuple[int, int]]:
    """Return the marks, each a size in bytes and a Unix time in nanoseconds."""
    try:
        data = marks.read_bytes()
    except FileNotFoundError:
        return []
    whole = len(data) // _MARK.size * _MARK.size  # a crash may have cut the last one
    return [(size, time_ns) for size, time_ns in _MARK.iter_unpack(data[:whole])]


class _Times:
    """When which part of a stream was written."""

    def __init__(self, marks: Path) -> None:
        pairs = _read_marks(marks)
        self._sizes = [size for size, _ in pairs]
        self._times_ns = [time_ns for _, time_ns in pairs]

    def at(self, position: int, last_write_ns: int) -> datetime:
        """Return when what begins at the position was written, as far as is known."""
        place = bisect_right(self._sizes, position)
        time_ns = self._times_ns[place] if place < len(self._sizes) else last_write_ns
        return _EPOCH + timedelta(microseconds=time_ns // 1000)


async def read(task_dir: Path, request: LogRequest) -> AsyncIterator[LogLine]:
    """Iterate over the kept lines, one stream after the other, then over new ones if following."""
    wanted = {"stdout": request.stdout, "stderr": request.stderr}
    tails = [_Tail(path_of(task_dir, s), s, request.tail) for s in _STREAMS if wanted[s]]
    while True:
        for tail in tails:
            # A look costs a thread less than a read; most looks of most followers find nothing.
            while tail.grown() and (lines := await asyncio.to_thread(tail.more)):
                for line in lines:
                    yield line
        if not request.follow or not _is_there(task_dir):
            break
        await asyncio.sleep(FOLLOW_S)
    for tail in tails:
        if (rest := tail.last()) is not None:
            yield rest


def _is_there(task_dir: Path) -> bool:
    """Whether the task was not removed yet; a look at a local directory, too quick for a thread."""
    return task_dir.exists()


class _Tail:
    """A place in one stream's file."""

    def __init__(self, path: Path, stream: Literal["stdout", "stderr"], lines: int) -> None:
        self._stream = stream
        self._path = path
        self._lines = lines
        self._times = _Times(_marks_of(path))
        self._position = -1
        self._rest = b""
        self._last_write_ns = 0

    def grown(self) -> bool:
        """Whether there is something that ``more`` has not returned."""
        try:
            return self._path.stat().st_size != self._position
        except FileNotFoundError:
            return False

    def more(self) -> list[LogLine]:
        """Return the next lines, none at the end of what was written."""
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if self._position < 0:
                    self._position = _place(file.fileno(), self._lines)
                if self._position > stat.st_size:  # it was cut
                    self._position, self._rest = 0, b""
                file.seek(self._position)
                block = file.read(_BLOCK)
        except FileNotFoundError:
            return []
        self._last_write_ns = stat.st_mtime_ns
        at = self._position - len(self._rest)
        self._position += len(block)
        *whole, self._rest = (self._rest + block).split(b"\n")
        lines = []
        for data in whole:
            lines.append(self._line(data, at))
            at += len(data) + 1
        if len(self._rest) >= LINE_BYTES_MAX:
            lines.append(self._line(self._rest, at))
            self._rest = b""
        return self.more() if block and not lines else lines

    def last(self) -> LogLine | None:
        """Return what stands behind the last newline, None if nothing does."""
        return self._line(self._rest, self._position - len(self._rest)) if self._rest else None

    def _line(self, data: bytes, at: int) -> LogLine:
        return LogLine(self._stream, data, self._times.at(at, self._last_write_ns))


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
