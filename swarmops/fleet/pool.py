"""The same work on many hosts at once, bounded, each host's result or error kept apart.

Used by observation and by every phase of an apply. A host's error stops no other host; Ctrl-C
starts nothing new and lets what runs come to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

import msgspec

from swarmops.errors import HostError, Interrupted, SwarmopsError
from swarmops.model.resolved import resolve_types

T = TypeVar("T")
R = TypeVar("R")

FORKS = 30


class Outcome(msgspec.Struct, Generic[R], frozen=True):
    """What became of each item, by name, in the order in which they were given."""

    results: dict[str, R]
    errors: dict[str, SwarmopsError]


def run_on(
    items: Iterable[T],
    work: Callable[[T], R],
    *,
    name: Callable[[T], str] = lambda item: str(getattr(item, "name", item)),
    forks: int = FORKS,
    on_done: Callable[[str, R | SwarmopsError], None] | None = None,
) -> Outcome[R]:
    """Run ``work`` on every item, at most ``forks`` at once; names must differ.

    ``on_done`` is called in the caller's thread as each ends. Raises Interrupted, which says what
    was done, after Ctrl-C; an error that is no SwarmopsError is a defect and is raised as it is.
    """
    todo = {name(item): item for item in items}
    done: dict[str, R | SwarmopsError] = {}
    if not todo:
        return Outcome({}, {})
    stop = threading.Event()

    def one(item_name: str) -> R | SwarmopsError:
        if stop.is_set():
            return HostError(item_name, "not begun: interrupted before")
        try:
            return work(todo[item_name])
        except SwarmopsError as error:
            return error

    resolve_types()
    pool = ThreadPoolExecutor(min(forks, len(todo)), thread_name_prefix="host")
    futures: dict[Future[R | SwarmopsError], str] = {}
    try:
        for item_name in todo:  # Ctrl-C may come before all of them are there
            futures[pool.submit(one, item_name)] = item_name
        _collect(futures, done, on_done)
    except KeyboardInterrupt:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        finished = [item_name for future, item_name in futures.items() if _succeeded(future)]
        text = ", ".join(finished) if finished else "none"
        raise Interrupted(f"interrupted; done on these hosts: {text}") from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    ordered = {item_name: done[item_name] for item_name in todo}
    return Outcome(
        {n: r for n, r in ordered.items() if not isinstance(r, SwarmopsError)},
        {n: r for n, r in ordered.items() if isinstance(r, SwarmopsError)},
    )


def _collect(
    futures: dict[Future[R | SwarmopsError], str],
    done: dict[str, R | SwarmopsError],
    on_done: Callable[[str, R | SwarmopsError], None] | None,
) -> None:
    pending = set(futures)
    while pending:
        ended, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in ended:
            result = done[futures[future]] = future.result()
            if on_done is not None:
                on_done(futures[future], result)


def _succeeded(future: Future[R | SwarmopsError]) -> bool:
    if future.cancelled() or future.exception() is not None:
        return False
    return not isinstance(future.result(), SwarmopsError)
