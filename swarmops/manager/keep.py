"""Keeps a long-running part alive: what raises is logged with its traceback and started again.

Used for the leader's control loops and for the dispatcher's parts. Nothing fails in silence, and
nothing that fails takes its neighbours with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from swarmops.errors import SwarmopsError
from swarmops.manager.timing import ManagerTiming
from swarmops.store import Fenced

log = structlog.get_logger(__name__)


async def keep_running(
    name: str, run: Callable[[], Awaitable[None]], timing: ManagerTiming
) -> None:
    """Run until cancelled, again after a growing pause whenever it fails.

    Returns only when a write was fenced off: another manager leads.
    """
    pause_s = timing.restart_min_s
    clock = asyncio.get_running_loop()
    while True:
        started_s = clock.time()
        try:
            await run()
            log.error("ended by itself", part=name)
        except Fenced:
            log.info("another manager leads", part=name)
            return
        except SwarmopsError as error:
            log.warning("failed", part=name, error=str(error))
        except Exception:
            log.exception("crashed", part=name)
        if clock.time() - started_s > timing.restart_max_s:
            pause_s = timing.restart_min_s
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, timing.restart_max_s)


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel the tasks and wait until they have really ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
