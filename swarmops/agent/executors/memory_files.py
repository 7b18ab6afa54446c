"""A task's secrets and configs as files in memory, in a folder that only the task's owner enters.

Called by the executors when they prepare and remove a task. The folder is on a tmpfs that the
machine has anyway (``/run``, ``/dev/shm``): nothing is mounted, nothing is ever on a disk, and the
files outlive the daemon as its tasks do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from swarmops.agent.executors.base import ExecutorContext, TaskError
from swarmops.agent.task_files import TaskFile

_IN_MEMORY = {"tmpfs", "ramfs"}
_NAME = "swarmops-tasks"


class MemoryFiles:
    """The files of this node's tasks, one folder for each task."""

    def __init__(self, context: ExecutorContext) -> None:
        self._bases = [context.memory_base] if context.memory_base else _bases()
        self._node_id = context.node_id

    def write(
        self, task_id: str, files: Sequence[TaskFile], names: Iterable[str], owner: tuple[int, int]
    ) -> list[Path]:
        """Write the files under these names. Raises ``TaskError`` if no memory can hold them.

        ``owner`` is the UID and GID of whoever may look into the folder.
        """
        folder = self._root() / task_id
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            paths = [
                _write(folder, folder / name, file) for file, name in zip(files, names, strict=True)
            ]
            _own(folder, *owner)
        except OSError as error:
            raise TaskError(
                f"the task's secrets and configs cannot be put into {folder.parent}: "
                f"{error.strerror}"
            ) from None
        return paths

    def folder(self, task_id: str) -> Path:
        """Return where the task's files are."""
        return self._root() / task_id

    def remove(self, task_id: str) -> None:
        """Remove the task's files, if it has any."""
        for base in self._bases:
            shutil.rmtree(_place(base, self._node_id) / task_id, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are left, or it never was
                _place(base, self._node_id).rmdir()

    def keep_only(self, task_ids: Collection[str]) -> None:
        """Remove the files of all other tasks."""
        for base in self._bases:
            place = _place(base, self._node_id)
            for folder in list(place.iterdir()) if place.is_dir() else []:
                if folder.name not in task_ids:
                    self.remove(folder.name)

    def _root(self) -> Path:
        """Return this node's own folder in memory, made if missing."""
        mountinfo = Path("/proc/self/mountinfo").read_text()
        for base in self._bases:
            if file_system(base, mountinfo) in _IN_MEMORY and os.access(base, os.W_OK | os.X_OK):
                place = _place(base, self._node_id)
                # Others may look for their own folders in it, never at its names.
                place.mkdir(mode=0o711, exist_ok=True)
                found = place.lstat()
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                    place.chmod(0o711)
                    return place
        raise TaskError(
            "the task uses secrets or configs, but this node has no file system in memory for "
            "them: mount a tmpfs on /run or /dev/shm."
        )


def file_system(path: Path, mountinfo: str) -> str:
    """Return the type of the file system that the path is on, empty if nothing says so."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4]
        if path.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, after.split()[0]
    return kind


def _bases() -> list[Path]:
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = ["/run"] if os.geteuid() == 0 else [own] if own else []
    return [Path(base) for base in (*bases, "/dev/shm")]  # noqa: S108 - checked in `_root`


def _place(base: Path, node_id: str) -> Path:
    return base / f"{_NAME}-{node_id}"


def _write(folder: Path, path: Path, file: TaskFile) -> Path:
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        (folder / parent).mkdir(mode=0o755, exist_ok=True)
        (folder / parent).chmod(0o755)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(file.data)
        _own(out.fileno(), file.uid, file.gid)
        os.fchmod(out.fileno(), file.mode)
    new.replace(path)
    return path


def _own(file: Path | int, uid: int, gid: int) -> None:
    if os.geteuid() == 0:
        os.chown(file, uid, gid)
