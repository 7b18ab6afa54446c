"""A transaction: what shall change, under which versions; data only.

Built by the API's handlers and the control loops, sent by ``Store.commit``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from swarmops.model.object import Object
from swarmops.model.task import TaskState, TaskStatus
from swarmops.store import actions
from swarmops.store.actions import Delete, PatchTask
from swarmops.store.errors import Fenced, StoreError, TooLarge

ENTRY_BYTES_MAX = 1_572_864
"""1.5 MiB, as Docker's."""
BATCH_ACTIONS_MAX = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """An action of a partial transaction that changed nothing, by its place, and why."""

    action: int
    error: StoreError


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an entry: its index in the log, and which of its actions failed."""

    index: int
    failures: list[Failure]

    @property
    def fenced(self) -> bool:
        """Whether the whole entry came from a leader that had been followed by another."""
        return any(isinstance(failure.error, Fenced) for failure in self.failures)


@dataclass(frozen=True, slots=True)
class _Put:
    obj: Object
    expected: int


@dataclass(slots=True)
class Transaction:
    """A list of changes, applied together or, with ``partial``, each for itself."""

    partial: bool = False
    _changes: list[_Put | Delete | PatchTask] = field(default_factory=list)

    def put(self, obj: Object, *, expected: int | None = None) -> None:
        """Create the object (its version is 0) or update the stored one that has its version."""
        index = obj.version.index if expected is None else expected
        self._changes.append(_Put(obj, index))

    def delete(self, obj: Object, *, expected: int | None = None) -> None:
        """Remove the object if it still has this version."""
        index = obj.version.index if expected is None else expected
        self._changes.append(Delete(actions.TABLE_OF[type(obj)], obj.id, index))

    def patch_task(
        self,
        task_id: str,
        *,
        status: TaskStatus | None = None,
        desired_state: TaskState | None = None,
        node_id: str | None = None,
    ) -> None:
        """Move the task forward; parts that would go back are dropped when applied."""
        self._changes.append(PatchTask(task_id, status, desired_state, node_id))

    def extend(self, other: Transaction) -> None:
        """Append the other transaction's changes."""
        self._changes.extend(other._changes)

    def __len__(self) -> int:
        return len(self._changes)

    def batches(self, size: int = BATCH_ACTIONS_MAX) -> Iterator[Transaction]:
        """Split into transactions of at most ``size`` changes, in order."""
        for start in range(0, len(self._changes), size):
            yield Transaction(self.partial, self._changes[start : start + size])

    def halves(self) -> tuple[Transaction, Transaction]:
        """Split in the middle; for one that is too large for an entry."""
        middle = len(self._changes) // 2
        return (
            Transaction(self.partial, self._changes[:middle]),
            Transaction(self.partial, self._changes[middle:]),
        )

    def encode(self, at: datetime, *, fence: int = 0, seize: bool = False) -> bytes:
        """Return the log entry. Raises TooLarge over 1.5 MiB."""
        specs = actions.SpecList()
        listed = [
            actions.put_action(change.obj, change.expected, specs)
            if isinstance(change, _Put)
            else change
            for change in self._changes
        ]
        entry = actions.Entry(at, self.partial, listed, specs.specs, fence, seize, actions.RULES)
        data = actions.encode(entry)
        if len(data) > ENTRY_BYTES_MAX:
            raise TooLarge
        return data
