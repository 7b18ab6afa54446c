"""Where a service failed lately: such nodes are the scheduler's last choice.

A memo of the scheduler, kept from the store's events and rebuilt from the kept tasks.
"""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime, timedelta

from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.task import Task, TaskInternal, TaskState

WINDOW = timedelta(minutes=5)
FAILURES_MAX = 5
"""So many failures within the window count against a node; fewer don't."""

Key = tuple[str, str, int]


class Faults:
    """Recent failures by node, service and version of the service's spec."""

    def __init__(self) -> None:
        self._ends: defaultdict[Key, deque[datetime]] = defaultdict(deque)
        self._often: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        """Nodes on which there were so many that they mattered."""

    def note(self, task: Task) -> None:
        """Remember a task if it ended in failure; each task once."""
        if task.status.state not in (TaskState.FAILED, TaskState.REJECTED):
            return
        internal = given(task.internal, TaskInternal())
        if task.node_id is not UNSET and internal.ended_at is not UNSET:
            ends = self._ends[task.node_id, task.service_id, internal.spec_version]
            ends.append(internal.ended_at)
            if len(ends) > 10 * FAILURES_MAX:
                ends.popleft()
            if len(ends) >= FAILURES_MAX:
                self._often[task.service_id, internal.spec_version].add(task.node_id)

    def matter(self, service_id: str, spec_version: int, now: datetime) -> bool:
        """Whether failures count against any node at all."""
        group = service_id, spec_version
        for node_id in list(self._often.get(group, ())):
            if not self.count(node_id, service_id, spec_version, now):
                self._often[group].discard(node_id)
        if not self._often.get(group):
            self._often.pop(group, None)
        return group in self._often

    def count(self, node_id: str, service_id: str, spec_version: int, now: datetime) -> int:
        """Return the failures within the window, 0 where they are too few to matter."""
        key = (node_id, service_id, spec_version)
        ends = self._ends.get(key)
        if ends is None:
            return 0
        while ends and ends[0] <= now - WINDOW:
            ends.popleft()
        if not ends:
            del self._ends[key]
        return len(ends) if len(ends) >= FAILURES_MAX else 0
