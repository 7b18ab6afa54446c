"""The statuses that the swarm has not confirmed yet: the latest of each task.

The worker fills it, the session empties it: one batch at a time, until the manager acknowledges it.
"""

from __future__ import annotations

import asyncio
from itertools import islice

from swarmops.model.session import StatusOf
from swarmops.model.task import TaskStatus


class Outbox:
    """Unconfirmed statuses by task ID; a newer one takes the older one's place."""

    def __init__(self) -> None:
        self._statuses: dict[str, TaskStatus] = {}
        self._filled = asyncio.Event()

    def put(self, task_id: str, status: TaskStatus) -> None:
        """Have the status reported."""
        self._statuses[task_id] = status
        self._filled.set()

    def forget(self, task_id: str) -> None:
        """Report nothing more of the task."""
        self._statuses.pop(task_id, None)

    def holds(self, task_id: str) -> bool:
        """Whether the task's latest status is unconfirmed."""
        return task_id in self._statuses

    async def batch(self, limit: int) -> list[StatusOf]:
        """Wait for statuses, then return the longest waiting ones; they stay until confirmed."""
        while not self._statuses:
            self._filled.clear()
            await self._filled.wait()
        return [
            StatusOf(task_id, status) for task_id, status in islice(self._statuses.items(), limit)
        ]

    def confirm(self, batch: list[StatusOf]) -> None:
        """Drop what the swarm has; a status that changed since then stays."""
        for sent in batch:
            if self._statuses.get(sent.task_id) == sent.status:
                del self._statuses[sent.task_id]
