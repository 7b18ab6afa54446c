"""Where an apply lock is kept: in the swarm's own spec, or on a host while there is no swarm.

Used by ``lease`` and ``swarmops unlock-apply``. Both kinds swap: what is written replaces only what
was read, so of two writers one fails. Who may write what is the lease's to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from swarmops.backends import hostside
from swarmops.backends.base import Place, Shell
from swarmops.client import OUT_OF_SEQUENCE
from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.lock import FREED_LABEL, LOCK_LABEL, Freed, Lock, decode, decode_freed, encode
from swarmops.fleet.managers import Managers
from swarmops.model.base import given
from swarmops.model.swarm import SwarmSpec

T = TypeVar("T")
_TRIES_MAX = 8


class MovedError(SwarmopsError):
    """Somebody wrote between the read and the write."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the lock, who freed it last, the keeper's clock, and what a swap needs."""

    lock: Lock | None
    freed: Freed | None = None
    now_s: float
    token: Any


def unmoved(change: Callable[[], T]) -> T:
    """Read and swap, again as long as somebody came between, bounded."""
    for tries_left in reversed(range(_TRIES_MAX)):
        try:
            return change()
        except MovedError:
            if not tries_left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


class Keeper(Protocol):
    """A place that keeps one lock. Both methods raise SwarmopsError where it can't be reached."""

    def read(self) -> Kept:
        """Return what is there."""

    def swap(self, kept: Kept, lock: Lock | None, freed: Freed | None = None) -> None:
        """Write instead of what was read. Raises MovedError if that is no longer there."""


class SwarmKeeper:
    """The swarm's spec, through whichever manager answers; guarded by ``Version.Index``."""

    def __init__(self, managers: Managers) -> None:
        self._managers = managers

    def read(self) -> Kept:
        """See ``Keeper.read``."""
        cluster = self._managers.ask(lambda manager: manager.swarm())
        now = self._managers.ask(lambda manager: manager.info()).system_time
        return kept_in(cluster.spec, cluster.version.index, now.timestamp())

    def swap(self, kept: Kept, lock: Lock | None, freed: Freed | None = None) -> None:
        """See ``Keeper.swap``; the rest of the spec stays as it was read."""
        version, spec = kept.token
        labels = {**(given(spec.labels, {}) or {}), LOCK_LABEL: encode(lock)}
        if freed is not None:
            labels[FREED_LABEL] = msgspec.json.encode(freed).decode()
        changed = msgspec.structs.replace(spec, labels=labels)
        try:
            self._managers.ask(lambda manager: manager.update_swarm(version, changed))
        except ApiError as error:
            if OUT_OF_SEQUENCE not in error.message:
                raise
            raise MovedError("the swarm's settings were changed meanwhile") from error


def kept_in(spec: SwarmSpec, version: int, now_s: float) -> Kept:
    """Return what a swarm's spec, read with this version, keeps. Pure."""
    labels = given(spec.labels, {}) or {}
    return Kept(
        lock=decode(labels.get(LOCK_LABEL, "")),
        freed=decode_freed(labels),
        now_s=now_s,
        token=(version, spec),
    )


class HostKeeper:
    """A file beside the node's data directory; it is gone when nobody has the lock."""

    def __init__(self, shell: Callable[[], Shell], place: Place) -> None:
        self._shell = shell
        self._path = place.lock_file

    def read(self) -> Kept:
        """See ``Keeper.read``."""
        answer = self._call(swap=False)
        return Kept(lock=decode(answer["text"]), now_s=answer["now_s"], token=answer["text"])

    def swap(self, kept: Kept, lock: Lock | None, freed: Freed | None = None) -> None:
        """See ``Keeper.swap``; who freed it is not kept here."""
        del freed
        answer = self._call(swap=True, expected=kept.token, text=encode(lock))
        if not answer["swapped"]:
            raise MovedError("the lock file was changed meanwhile")

    def _call(self, **args: object) -> dict[str, Any]:
        return hostside.call(self._shell(), "lock", {"path": self._path, **args}, timeout_s=15)
