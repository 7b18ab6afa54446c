"""The store: one replica's tables, the log's way in, and the only way to change anything.

The Raft member calls ``apply``, ``snapshot`` and ``restore``; everyone else reads the tables,
watches, and writes through ``commit``. All calls come from the one event loop; nothing blocks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from swarmops.model.object import Object
from swarmops.model.swarm import Cluster
from swarmops.store import actions, snapshot
from swarmops.store.apply import apply_entry
from swarmops.store.errors import NotFound, OutOfSequence, WrittenByNewer
from swarmops.store.table import Table
from swarmops.store.tables import Tables
from swarmops.store.transaction import Applied, Failure, Transaction
from swarmops.store.watch import QUEUE_EVENTS_MAX, Hub, Watch

T = TypeVar("T", bound=Object)
MODIFY_ATTEMPTS = 20

Propose = Callable[[bytes], Awaitable[object]]


async def _no_propose(data: bytes) -> object:
    del data
    raise RuntimeError("the store was not given a way to propose")


class Store:
    """One manager's replica. ``propose`` must resolve once the entry was applied here."""

    def __init__(
        self,
        propose: Propose | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.propose: Propose = propose or _no_propose
        self.applied = 0
        """Index of the last entry that was applied."""
        self._now = now
        self._hub = Hub()
        tables = self._tables = Tables()
        self.clusters = tables.clusters
        self.nodes = tables.nodes
        self.services = tables.services
        self.tasks = tables.tasks
        self.networks = tables.networks
        self.secrets = tables.secrets
        self.configs = tables.configs

    @property
    def cluster(self) -> Cluster | None:
        """The swarm's own object, None before the swarm exists."""
        return next(iter(self.clusters), None)

    # The log's side ---------------------------------------------------------------------------

    def apply(self, index: int, data: bytes) -> Applied:
        """Apply one committed entry; return what ``propose`` must resolve with.

        Raises what an entry raises that can't be read or says what none of ours does: it counts as
        applied, having changed nothing, as it does on every other replica. Raises WrittenByNewer
        for one that a newer release reads: then it does not count.
        """
        try:
            applied, events = apply_entry(self._tables, index, actions.decode_entry(data))
        except WrittenByNewer:
            raise
        except BaseException:
            self.applied = index
            raise
        self.applied = index
        if events:
            self._hub.publish(events)
        return applied

    def snapshot(self) -> Iterator[bytes]:
        """Freeze the present state; the returned iterator encodes it slice by slice."""
        return snapshot.dump(self._tables, self.applied)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by a snapshot. Raises ValueError, changing nothing, if it is cut."""
        self.load(chunks)()

    def load(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Read a snapshot aside, on any thread; calling what it returns swaps it in.

        Raises ValueError for a snapshot that is cut short.
        """
        tables = Tables()
        applied = snapshot.load(tables, chunks)

        def commit() -> None:
            self.applied = applied
            self._tables.adopt(tables)
            self._hub.resync()

        return commit

    # Everyone else's side ---------------------------------------------------------------------

    def watch(self, *tables: str, size: int = QUEUE_EVENTS_MAX) -> Watch:
        """Collect the changes of these tables (none named: all) from now on, at most ``size``."""
        return self._hub.watch(frozenset(tables), size)

    async def commit(self, tx: Transaction, *, fence: int = 0) -> list[Failure]:
        """Replicate and apply; when it returns, this replica has the change.

        Returns what failed of a partial transaction, else nothing. Raises the StoreError that
        refused a whole one, Fenced if ``fence`` is not the present leader's, TooLarge over
        1.5 MiB, and whatever ``propose`` raises where there is no leader.
        """
        if not len(tx):
            return []
        applied = await self._send(tx.encode(self._now(), fence=fence))
        if applied.failures and (applied.fenced or not tx.partial):
            raise applied.failures[0].error
        return applied.failures

    async def seize(self) -> int:
        """Become the only writer with a fence; return it.

        A new leader's first entry. When it returns, everything that earlier leaders wrote is
        applied here, and nothing that their loops still send ever will be.
        """
        applied = await self._send(Transaction().encode(self._now(), seize=True))
        return applied.index

    async def modify(
        self, table: Table[T], object_id: str, change: Callable[[T], T], *, fence: int = 0
    ) -> T:
        """Change an object as it is now, again on a fresh view if someone else was faster.

        Returns the object as stored. Raises NotFound, and what ``commit`` raises.
        """
        for attempt in range(MODIFY_ATTEMPTS):
            stored = table.get(object_id)
            if stored is None:
                raise NotFound(table.kind, object_id)
            changed = change(stored)
            if changed is stored:
                return changed
            tx = Transaction()
            tx.put(changed)
            try:
                await self.commit(tx, fence=fence)
            except OutOfSequence:
                if attempt == MODIFY_ATTEMPTS - 1:
                    raise
                continue
            return table.get(object_id) or changed
        raise OutOfSequence

    async def _send(self, data: bytes) -> Applied:
        result = await self.propose(data)
        if not isinstance(result, Applied):
            raise TypeError(f"propose must resolve with what apply returned, not {result!r}")
        return result
