"""Hold a swarm's apply lock for the length of a run: take it, renew it, notice its loss, free it.

Used by apply, destroy and every other command that changes a whole swarm. A run that is killed
leaves a lock that ends by itself; one that lost its lock does no further step.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from swarmops.errors import SwarmopsError
from swarmops.fleet import owner
from swarmops.fleet.keepers import Keeper, Kept, unmoved
from swarmops.fleet.lock import TTL_S, Freed, Lock, LockedError, blocks, locked_error
from swarmops.model.resolved import resolve_types

RENEWALS_PER_TTL = 3
_JOIN_S = 5.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts a laptop's sleep too, in which others' time runs: Linux's usual one stands still then."""


def _clock_s() -> float:
    return time.clock_gettime(_CLOCK)


class Lease:
    """One run's lock, in one keeper or, while a swarm is being made, in two.

    A context manager: entering starts the renewals, leaving frees the lock. ``acquire`` may come
    before or after. Safe to use from several threads.
    """

    def __init__(
        self,
        reason: str,
        *,
        ttl_s: float = TTL_S,
        who: str | None = None,
        process: str | None = None,
        is_gone: Callable[[str], bool] = owner.is_gone,
        clock: Callable[[], float] = _clock_s,
    ) -> None:
        self.id = secrets.token_hex(8)
        self._lock = Lock(
            id=self.id,
            owner=owner.owner() if who is None else who,
            reason=reason,
            since_s=0,
            renewed_s=0,
            ttl_s=ttl_s,
            process=owner.fingerprint() if process is None else process,
        )
        self._is_gone = is_gone
        self._clock = clock
        self._guard = threading.RLock()
        self._keepers: list[Keeper] = []
        self._renewed_at = clock()
        self._lost: LockedError | None = None
        self._ended = threading.Event()
        self._renewals: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """It was acquired somewhere."""
        return bool(self._keepers)

    def lock(self, now_s: float) -> Lock:
        """Return the lock as it is written at a keeper's time."""
        return msgspec.structs.replace(
            self._lock, since_s=self._lock.since_s or now_s, renewed_s=now_s
        )

    def acquire(self, keeper: Keeper, kept: Kept | None = None) -> None:
        """Take the lock of a keeper, whose content may be known already.

        Raises LockedError if somebody has it, MovedError if ``kept`` is not there any more,
        SwarmopsError if the keeper can't be reached.
        """
        seen = keeper.read() if kept is None else kept
        if seen.lock is not None and blocks(seen.lock, self.id, seen.now_s, self._is_gone):
            raise locked_error(seen.lock, seen.now_s)
        written = self.lock(seen.now_s)
        keeper.swap(seen, written)
        with self._guard:
            self._lock = written
            self._keepers.append(keeper)
            self._renewed_at = self._clock()
        if kept is not None:
            # Its time is that of the look, which a person's answer or a silent host may have made
            # long ago: the lock would end before its time.
            self.renew()
            self.check()

    def extend(self, keeper: Keeper) -> None:
        """Take the lock of another keeper too, reading it as often as others write there."""
        unmoved(lambda: self.acquire(keeper))

    def inherit(self, keeper: Keeper) -> None:
        """Take the lock of a keeper that nobody needs any more; it is freed with the others."""
        if keeper.read().lock is not None:
            self.extend(keeper)

    def check(self) -> None:
        """Raise LockedError if the lock was lost, or may be: it couldn't be renewed for so long."""
        if self._lost is not None:
            raise self._lost
        with self._guard:
            if self.held and self._clock() - self._renewed_at >= self._lock.ttl_s:
                self.renew()
        if self._lost is not None:
            raise self._lost

    def renew(self) -> None:
        """Write a sign of life everywhere. Raises SwarmopsError if a keeper can't be reached."""
        with self._guard:
            for keeper in self._keepers:
                unmoved(lambda keeper=keeper: self._renew_in(keeper))  # type: ignore[misc]
            self._renewed_at = self._clock()

    def _renew_in(self, keeper: Keeper) -> None:
        kept = keeper.read()
        if kept.lock is None or kept.lock.id != self.id:
            self._lost = _loss(kept, self.id)
        else:
            keeper.swap(kept, self.lock(kept.now_s))

    def release(self) -> None:
        """Free the lock where it is still ours; what can't be reached ends by itself."""
        with self._guard:
            keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            with contextlib.suppress(SwarmopsError):
                free(keeper, self.id)

    def __enter__(self) -> Self:
        resolve_types()
        self._renewals = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._renewals.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._renewals is not None:
            self._renewals.join(_JOIN_S)
        self.release()

    def _renew_on(self) -> None:
        while not self._ended.wait(self._lock.ttl_s / RENEWALS_PER_TTL):
            # A manager that can't be asked now is asked again next time; check() bounds that.
            with contextlib.suppress(SwarmopsError):
                self.renew()


def free(keeper: Keeper, lock_id: str | None, freed: Freed | None = None) -> Lock | None:
    """Empty a keeper if this lock (None: any) is there; return the lock that was.

    ``freed`` says by whom; its time and lock are filled in.
    """

    def empty() -> Lock | None:
        kept = keeper.read()
        lock = kept.lock
        if lock is None or (lock_id is not None and lock.id != lock_id):
            return None
        note = freed and msgspec.structs.replace(freed, at_s=kept.now_s, lock_id=lock.id)
        keeper.swap(kept, None, note)
        return lock

    return unmoved(empty)


def sweep(keeper: Keeper, is_gone: Callable[[str], bool] = owner.is_gone) -> None:
    """Free a keeper of the lock of a run that has ended, or showed no life for its time."""
    kept = keeper.read()
    if kept.lock is not None and not blocks(kept.lock, "", kept.now_s, is_gone):
        free(keeper, kept.lock.id)


def _loss(kept: Kept, own_id: str) -> LockedError:
    if kept.lock is not None:
        return LockedError(
            f"the swarm's lock was taken over by {kept.lock.owner} ({kept.lock.reason}): apply"
            " again when that is done"
        )
    if kept.freed is not None and kept.freed.lock_id == own_id:
        return LockedError(
            f"{kept.freed.owner} freed the swarm's lock ({kept.freed.reason}): apply again if that"
            " was a mistake"
        )
    return LockedError("the swarm's lock is gone: apply again")
