"""Removing what others write to meanwhile: the client named no version, so it is tried again.

Used by the handlers of ``DELETE`` for objects that orchestrators, agents or clients change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from swarmops.model.object import Object
from swarmops.store import OutOfSequence, Store, Transaction

ATTEMPTS = 20
T = TypeVar("T", bound=Object)


async def remove(
    store: Store,
    stored: T,
    *,
    find: Callable[[Store, str], T],
    transaction: Callable[[T], Transaction],
) -> None:
    """Commit ``transaction`` of the object, found again by its ID when it was written to.

    What refuses a removal is raised by ``transaction``, which therefore sees each version. Raises
    OutOfSequence when the object was written to ``ATTEMPTS`` times in a row.
    """
    for _ in range(ATTEMPTS):
        try:
            await store.commit(transaction(stored))
        except OutOfSequence:
            stored = find(store, stored.id)
        else:
            return
    raise OutOfSequence


def deletion(stored: Object) -> Transaction:
    """Return what removes an object and nothing else."""
    tx = Transaction()
    tx.delete(stored)
    return tx
