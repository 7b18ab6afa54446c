"""Tasks of the event loop that go on behind the daemon's back, ended together with it.

One that fails is logged and told, never lost: an asyncio task alone forgets its exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """A set of running tasks; ``failed`` hears a sentence when one of them breaks."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start one."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """End all of them but the caller."""
        caller = asyncio.current_task()
        for task in self._tasks - {caller}:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("a part of the daemon failed", exc_info=error)
            self._failed(f"a part of the daemon failed: {error}")
