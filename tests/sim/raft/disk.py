"""A member's disk in memory that fails as disks do: torn writes, lost names, no room, bad syncs.

Plays ``swarmops.raft.disk.Disk``. What was written but not synced may vanish, wholly or in parts,
when the power goes; so may creations, renames and deletions that no ``sync_names`` followed. A
crash of the process alone loses nothing that was written. All chances come from one generator.
"""

# ruff: noqa: D102 - the protocols that these classes play say what each method does

from __future__ import annotations

import errno
import random
from collections import Counter

_SECTOR_BYTES = 512


class Cut(BaseException):
    """The process ended in the middle of a disk operation."""


class Content:
    """What a file holds, whatever its name: all bytes, how many are safe, which never will be."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.safe = 0
        self.spoilt: list[tuple[int, int]] = []


class SimFile:
    """An open file."""

    def __init__(self, disk: SimDisk, content: Content) -> None:
        self._disk, self._content = disk, content
        self._is_open = True

    def write(self, data: bytes) -> None:
        assert self._is_open, "writes to a file that it has closed"
        taken = self._disk.room_for(len(data))
        self._content.data += data[:taken]
        if taken < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self) -> None:
        content = self._content
        assert self._is_open, "syncs a file that it has closed"
        if self._disk.sync_fails():
            # As Linux does: the pages count as clean from here on, though they were never written.
            content.spoilt.append((content.safe, len(content.data)))
            content.safe = len(content.data)
            raise OSError(errno.EIO, "Input/output error")
        content.safe = len(content.data)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._content.data[offset : offset + size])

    def close(self) -> None:
        self._is_open = False


class SimDisk:
    """One directory. ``cut_after`` operations from now the process ends in the middle of one."""

    def __init__(self, label: str, rng: random.Random, counts: Counter[str]) -> None:
        self.label = label
        self.rng = rng
        self.counts = counts
        self.cut_after: int | None = None
        self.is_full = False
        self.bad_syncs = 0
        self.operations = 0
        self._files: dict[str, Content] = {}
        self._safe_names: dict[str, Content] = {}
        self._unsynced: list[tuple[str, str, Content]] = []

    # What fails.

    def _operate(self) -> None:
        self.operations += 1
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after <= 0:
                self.cut_after = None
                raise Cut

    def room_for(self, size: int) -> int:
        """Count a write; say how much of it is taken."""
        self._operate()
        if self.is_full:
            self.counts["write refused, no room"] += 1
            return self.rng.randrange(size + 1) if self.rng.random() < 0.5 else 0
        return size

    def sync_fails(self) -> bool:
        """Count a sync; say whether it fails."""
        self._operate()
        if self.bad_syncs > 0:
            self.bad_syncs -= 1
            self.counts["sync failed"] += 1
            return True
        return False

    def lose_power(self) -> None:
        """Keep what is safe; of everything else, what chance leaves."""
        names = dict(self._safe_names)
        changes = self._unsynced
        if self.rng.random() < 0.5:
            changes = changes[: self.rng.randrange(len(changes) + 1)]
        else:
            changes = [change for change in changes if self.rng.random() < 0.5]
        if len(changes) < len(self._unsynced):
            self.counts["names lost with the power"] += 1
        for old, new, content in changes:
            names.pop(old, None)
            if new:
                names[new] = content
        for content in {id(c): c for c in names.values()}.values():
            self._tear(content)
        self._files, self._safe_names, self._unsynced = names, dict(names), []

    def _tear(self, content: Content) -> None:
        data, rng = content.data, self.rng
        for start, end in content.spoilt:
            if rng.random() < 0.7:
                data[start:end] = bytes(max(0, min(end, len(data)) - start))
                self.counts["spoilt pages lost with the power"] += 1
        tail = bytes(data[content.safe :])
        if tail:
            how = rng.choice(("nothing", "a part", "sectors", "all"))
            self.counts[f"unsynced tail, left: {how}"] += 1
            if how == "nothing":
                tail = b""
            elif how == "a part":
                tail = tail[: rng.randrange(len(tail))]
            elif how == "sectors":
                tail = self._with_holes(tail, content.safe)
            data[content.safe :] = tail
        content.safe, content.spoilt = len(data), []

    def _with_holes(self, tail: bytes, start: int) -> bytes:
        """Lose some sectors of it; they read as zeros."""
        torn = bytearray(tail)
        for place in range(len(torn)):
            at = (start + place) // _SECTOR_BYTES
            if place == 0 or (start + place) % _SECTOR_BYTES == 0:
                lost = self.rng.random() < 0.5
                end = (at + 1) * _SECTOR_BYTES - start
                if lost:
                    stop = min(end, len(torn))
                    torn[place:stop] = bytes(stop - place)
        return bytes(torn)

    # The protocol.

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        return bytes(self._files[name].data)

    def create(self, name: str) -> SimFile:
        self._operate()
        if self.is_full and self.rng.random() < 0.5:
            raise OSError(errno.ENOSPC, "No space left on device")
        content = self._files[name] = Content()
        self._unsynced.append(("", name, content))
        return SimFile(self, content)

    def open(self, name: str) -> SimFile:
        return SimFile(self, self._files[name])

    def truncate(self, name: str, size: int) -> None:
        self._operate()
        content = self._files[name]
        del content.data[size:]
        content.safe = len(content.data)
        content.spoilt = [(a, min(b, size)) for a, b in content.spoilt if a < size]

    def rewrite(self, name: str) -> None:
        self._operate()
        content = self._files[name]
        content.safe, content.spoilt = len(content.data), []

    def replace(self, source: str, target: str) -> None:
        self._operate()
        content = self._files[target] = self._files.pop(source)
        self._unsynced.append((source, target, content))
        self.sync_names()

    def remove(self, name: str) -> None:
        self._operate()
        content = self._files.pop(name, None)
        if content is not None:
            self._unsynced.append((name, "", content))

    def sync_names(self) -> None:
        self._operate()
        self._safe_names, self._unsynced = dict(self._files), []
