"""Indexes of a table's rows, which answer in constant time.

Held by the tables of ``table``, which keep them in step with their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from swarmops.model.object import Object

T = TypeVar("T", bound=Object)
K = TypeVar("K", bound=Hashable)


class _Group(Collection[T]):
    """A live view of some rows of a table."""

    __slots__ = ("_ids", "_rows")

    def __init__(self, ids: dict[str, None], rows: dict[str, T]) -> None:
        self._ids = ids
        self._rows = rows

    def __iter__(self) -> Iterator[T]:
        return map(self._rows.__getitem__, self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, obj: object) -> bool:
        return any(obj == each for each in self)


class Index(Generic[K, T]):
    """IDs of a table's rows by a key that is computed of each; those with key None are left out.

    It holds no rows: most changes leave the keys as they are, and so cost it nothing.
    """

    def __init__(self, key: Callable[[T], K | None]) -> None:
        self._key = key
        self._groups: dict[K, dict[str, None]] = {}
        self._rows: dict[str, T] = {}

    def bind(self, rows: dict[str, T]) -> None:
        """Take note of the rows that the IDs are of."""
        self._rows = rows

    def get(self, key: K) -> Collection[T]:
        """Return a live view of the objects with this key, the longest indexed first."""
        group = self._groups.get(key)
        return _Group(group, self._rows) if group else ()

    def count(self, key: K) -> int:
        """Return how many objects have this key."""
        return len(self._groups.get(key, ()))

    def keys(self) -> Collection[K]:
        """Return a live view of the keys that some object has."""
        return self._groups.keys()

    def adopt(self, other: Index[K, T]) -> None:
        """Take over the groups of another index with the same key, and its rows."""
        self._groups, self._rows = other._groups, other._rows

    def move(self, old: T | None, new: T | None) -> None:
        """Take ``old`` out and ``new`` in; one of them may be None."""
        old_key = None if old is None else self._key(old)
        new_key = None if new is None else self._key(new)
        if old_key == new_key:
            return
        if old is not None and old_key is not None:
            self._leave(old_key, old.id)
        if new is not None and new_key is not None:
            self._join(new_key, new.id)

    def _leave(self, key: K, object_id: str) -> None:
        group = self._groups[key]
        del group[object_id]
        if not group:
            del self._groups[key]

    def _join(self, key: K, object_id: str) -> None:
        self._groups.setdefault(key, {})[object_id] = None


class ManyKeys(Index[K, T]):
    """The same of rows that have any number of keys each."""

    def __init__(self, keys: Callable[[T], AbstractSet[K]]) -> None:
        super().__init__(lambda _: None)
        self._keys = keys

    def move(self, old: T | None, new: T | None) -> None:
        """Take ``old`` out and ``new`` in; one of them may be None."""
        before = frozenset() if old is None else self._keys(old)
        after = frozenset() if new is None else self._keys(new)
        if old is not None:
            for key in before - after:
                self._leave(key, old.id)
        if new is not None:
            for key in after - before:
                self._join(key, new.id)
