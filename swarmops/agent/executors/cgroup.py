"""Limits of process tasks: a control group for each task that has some, as Docker's cgroupfs does.

``plan`` and ``find_hierarchy`` are pure; ``make`` and ``remove`` write. Called by the process
executor. Groups are ``/swarmops/<task>`` at the root of the hierarchy, version 1 or 2. A node that
may not make them runs the task all the same, and says so.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from swarmops.model.defaults import NANOSECONDS

PARENT = "swarmops"
PERIOD_US = 100_000
REMOVE_TRIES = 20
REMOVE_PAUSE_S = 0.05
_CONTROLLERS = ("cpu", "memory", "pids")


class Limits(msgspec.Struct, frozen=True):
    """What a task may use at most; 0 is no limit."""

    nano_cpus: int = 0
    memory_bytes: int = 0
    pids: int = 0

    def __bool__(self) -> bool:
        return bool(self.nano_cpus or self.memory_bytes or self.pids)


class Hierarchy(msgspec.Struct, frozen=True):
    """Where the controllers are mounted: one place in version 2, one for each in version 1."""

    roots: dict[str, Path]
    unified: bool


class Plan(msgspec.Struct, frozen=True):
    """The groups of a task and what is to be written into them."""

    enable: list[tuple[Path, str]]
    folders: list[Path]
    files: list[tuple[Path, str]]

    @property
    def doors(self) -> list[Path]:
        """Return the files into which a process writes 0 to enter the groups."""
        return [folder / "cgroup.procs" for folder in self.folders]


def find_hierarchy(mountinfo: str) -> Hierarchy | None:
    """Read ``/proc/self/mountinfo``; None where no controller that limits is mounted."""
    roots: dict[str, Path] = {}
    unified: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4])
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            unified = place
        elif kind == "cgroup":
            for controller in _CONTROLLERS:
                if controller in options.split(","):
                    roots.setdefault(controller, place)
    if roots:
        return Hierarchy(roots, unified=False)
    if unified is None:
        return None
    return Hierarchy(dict.fromkeys(_CONTROLLERS, unified), unified=True)


def plan(hierarchy: Hierarchy, task_id: str, limits: Limits) -> Plan:
    """Say what has to be made. Raises ``KeyError`` with a controller that isn't mounted."""
    values = _values_v2(limits) if hierarchy.unified else _values_v1(limits)
    folders: dict[str, Path] = {
        controller: hierarchy.roots[controller] / PARENT / task_id for controller in values
    }
    enable: list[tuple[Path, str]] = []
    if hierarchy.unified:
        wanted = " ".join(f"+{controller}" for controller in values)
        root = next(iter(hierarchy.roots.values()))
        enable = [(each / "cgroup.subtree_control", wanted) for each in (root, root / PARENT)]
    files = [
        (folders[controller] / name, value)
        for controller, pairs in values.items()
        for name, value in pairs
    ]
    return Plan(enable=enable, folders=list(dict.fromkeys(folders.values())), files=files)


def _quota_us(nano_cpus: int) -> int:
    return max(nano_cpus * PERIOD_US // NANOSECONDS, 1000)  # the kernel takes no less


def _values_v1(limits: Limits) -> dict[str, list[tuple[str, str]]]:
    values = {}
    if limits.nano_cpus:
        values["cpu"] = [
            ("cpu.cfs_period_us", str(PERIOD_US)),
            ("cpu.cfs_quota_us", str(_quota_us(limits.nano_cpus))),
        ]
    if limits.memory_bytes:
        values["memory"] = [("memory.limit_in_bytes", str(limits.memory_bytes))]
    if limits.pids:
        values["pids"] = [("pids.max", str(limits.pids))]
    return values


def _values_v2(limits: Limits) -> dict[str, list[tuple[str, str]]]:
    values = {}
    if limits.nano_cpus:
        values["cpu"] = [("cpu.max", f"{_quota_us(limits.nano_cpus)} {PERIOD_US}")]
    if limits.memory_bytes:
        values["memory"] = [("memory.max", str(limits.memory_bytes))]
    if limits.pids:
        values["pids"] = [("pids.max", str(limits.pids))]
    return values


def make(planned: Plan) -> None:
    """Make the groups. Raises ``OSError`` where the node may not."""
    for path, text in planned.enable[:1]:
        path.write_text(text)
    for folder in planned.folders:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in planned.enable[1:]:
            path.write_text(text)
    for path, text in planned.files:
        path.write_text(text)


def remove(hierarchy: Hierarchy, task_id: str) -> None:
    """Remove the task's groups, which are empty but for what is just ending."""
    for root in set(hierarchy.roots.values()):
        folder = root / PARENT / task_id
        for _ in range(REMOVE_TRIES):
            try:
                os.rmdir(folder)  # noqa: PTH106 - the kernel's files in it are no hindrance
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(REMOVE_PAUSE_S)
            else:
                break


def out_of_memory(hierarchy: Hierarchy, task_id: str) -> bool:
    """Whether the kernel has killed something of the task because its memory was used up."""
    name = "memory.events" if hierarchy.unified else "memory.oom_control"
    root = hierarchy.roots.get("memory")
    if root is None:
        return False
    with contextlib.suppress(OSError):
        return _kills((root / PARENT / task_id / name).read_text().splitlines()) > 0
    return False


def _kills(lines: Iterable[str]) -> int:
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
