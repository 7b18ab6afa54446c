"""The limits of process tasks on this node: set where it may, and named where it may not.

Called by the process executor; what has to be written is planned by ``cgroup``.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from swarmops.agent.executors import cgroup
from swarmops.agent.work import Work, limits

WITHOUT = "without its limits: this node may not make control groups"
log = structlog.get_logger(__name__)


class TaskLimits:
    """Sets and lifts limits; ``mountinfo`` is where the kernel says what is mounted."""

    def __init__(self, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
        self._hierarchy = cgroup.find_hierarchy(mountinfo.read_text())

    def set(self, work: Work) -> list[Path]:
        """Make the task's groups and return how they are entered; none if the node may not."""
        plan = self._plan(work)
        if plan is None:
            return []
        try:
            cgroup.make(plan)
        except OSError as error:
            log.warning("a task runs without its limits", task=work.id, reason=str(error))
            self.lift(work.id)
            return []
        return plan.doors

    def missing(self, work: Work) -> str:
        """Say that the task has no limits though it wants some; empty if it has."""
        if not cgroup.Limits(*limits(work.task.spec)):
            return ""
        plan = self._plan(work)
        set_ = plan is not None and all(folder.is_dir() for folder in plan.folders)
        return "" if set_ else WITHOUT

    def broken(self, work: Work) -> str:
        """Say that the task was killed because it used up its memory; empty if it wasn't."""
        hierarchy = self._hierarchy
        killed = hierarchy is not None and cgroup.out_of_memory(hierarchy, work.id)
        return "out of memory" if killed else ""

    def lift(self, task_id: str) -> None:
        """Remove the task's groups."""
        if self._hierarchy is not None:
            cgroup.remove(self._hierarchy, task_id)

    def _plan(self, work: Work) -> cgroup.Plan | None:
        wanted = cgroup.Limits(*limits(work.task.spec))
        if not wanted or self._hierarchy is None:
            return None
        try:
            return cgroup.plan(self._hierarchy, work.id, wanted)
        except KeyError:
            return None
