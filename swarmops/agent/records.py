"""What a worker remembers of its tasks, and the interface of what keeps it.

The worker reads all of it once, before any manager is reached, and writes each change. ``database``
keeps it on disk; a simulation keeps it in memory.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec

from swarmops.model.task import Task, TaskStatus


class Attempts(msgspec.Struct, frozen=True):
    """The restarts of a task that no manager has heard of.

    ``restarted`` is when each was begun; ``due`` is when the next is, None where none is;
    ``delay_s`` how long the last one, or the next, waits.
    """

    restarted: list[datetime] = []
    due: datetime | None = None
    delay_s: float = 0.0


class Record(msgspec.Struct, frozen=True):
    """A task as this node knows it.

    ``task`` is as the manager gave it, with the latest desired state; ``status`` is what was
    observed here. ``executor`` is the name of the one that runs it, empty before one was chosen:
    executors find what they made by the task's ID, so there is no other handle to lose.
    ``assigned`` is false once the manager has dropped the task and only its removal is left.
    """

    task: Task
    status: TaskStatus
    executor: str = ""
    assigned: bool = True
    attempts: Attempts = Attempts()

    @property
    def id(self) -> str:
        """The task's ID."""
        return self.task.id


class Database(Protocol):
    """Where records are kept."""

    async def load(self) -> list[Record]:
        """Return all records. Raises ``SwarmopsError`` if they cannot be trusted."""
        ...

    def put(self, record: Record) -> None:
        """Keep the record, replacing an older one; it is written soon."""

    def forget(self, task_id: str) -> None:
        """Drop the task's record."""

    async def load_sealed(self) -> dict[str, bytes]:
        """Return the sealed secrets and configs by ID; after ``load``."""
        ...

    def put_sealed(self, object_id: str, data: bytes) -> None:
        """Keep a sealed secret or config."""

    def forget_sealed(self, object_id: str) -> None:
        """Drop it."""

    async def flush(self) -> None:
        """Return once a dead daemon would find all that was put."""

    async def close(self) -> None:
        """Write what is left."""


class MemoryDatabase:
    """Records for a simulation: no thread, no file, and a restart finds them in the object."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._sealed: dict[str, bytes] = {}

    async def load(self) -> list[Record]:
        """Return all records."""
        return list(self._records.values())

    def put(self, record: Record) -> None:
        """Keep the record."""
        self._records[record.id] = record

    def forget(self, task_id: str) -> None:
        """Drop the task's record."""
        self._records.pop(task_id, None)

    async def load_sealed(self) -> dict[str, bytes]:
        """Return what was sealed."""
        return dict(self._sealed)

    def put_sealed(self, object_id: str, data: bytes) -> None:
        """Keep it."""
        self._sealed[object_id] = data

    def forget_sealed(self, object_id: str) -> None:
        """Drop it."""
        self._sealed.pop(object_id, None)

    async def flush(self) -> None:
        """Nothing is ever left to write."""

    async def close(self) -> None:
        """Nothing is ever left to write."""
