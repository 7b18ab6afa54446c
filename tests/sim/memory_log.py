"""A replicated log in memory: stores agree on one order of entries without any Raft.

Each store may be cut off: it then takes no proposals and applies nothing until it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from swarmops.errors import SwarmopsError
from swarmops.store import Store
from swarmops.store.transaction import Applied


class NoLeader(SwarmopsError):  # noqa: N818 - Docker's state, not an error's name
    """The swarm does not have a leader."""


class MemoryLog:
    """Entries in one order, applied to every attached store that is not cut off."""

    def __init__(self, delay_s: float = 0.002) -> None:
        self.delay_s = delay_s
        self.entries: list[bytes] = []
        self.cut: set[Store] = set()
        self.on_entry: Callable[[bytes], None] = lambda _data: None
        self._stores: list[Store] = []

    def attach(self, store: Store) -> None:
        """Let the store propose, and apply to it what it has missed."""

        async def propose(data: bytes) -> Applied:
            return await self._propose(store, data)

        store.propose = propose
        self._stores.append(store)
        self.catch_up(store)

    def catch_up(self, store: Store) -> None:
        """Apply what the store has missed."""
        for index in range(store.applied + 1, len(self.entries) + 1):
            store.apply(index, self.entries[index - 1])

    def heal(self, store: Store) -> None:
        """End the store's isolation."""
        self.cut.discard(store)
        self.catch_up(store)

    async def _propose(self, store: Store, data: bytes) -> Applied:
        await asyncio.sleep(self.delay_s)
        if store in self.cut:
            raise NoLeader("The swarm does not have a leader.")
        self.entries.append(data)
        self.on_entry(data)
        answer: Applied | None = None
        for each in self._stores:
            if each not in self.cut:
                result = each.apply(len(self.entries), data)
                answer = result if each is store else answer
        if answer is None:
            raise NoLeader("The swarm does not have a leader.")
        return answer
