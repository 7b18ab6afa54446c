"""The executors of this installation, found through the entry points ``swarmops.executors``.

The runtime calls ``load_executors`` once; a third party adds an executor by installing a package
whose entry point is a class that takes an ``ExecutorContext``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import structlog

from swarmops.agent.executors.base import ENTRY_POINTS, Executor, ExecutorContext

log = structlog.get_logger(__name__)

__all__ = ["Executor", "ExecutorContext", "load_executors"]


def load_executors(context: ExecutorContext) -> dict[str, Executor]:
    """Make every installed executor, by name: ours for plain processes first, then by name.

    One whose package is broken is logged and left out: the node runs what it can.
    """
    executors: dict[str, Executor] = {}
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda e: (e.name != "process", e.name))
    for entry in found:
        try:
            kind = entry.load()
        except (ImportError, AttributeError) as exc:
            log.error("executor left out", executor=entry.name, reason=str(exc))  # noqa: TRY400 - one sentence is all
            continue
        executors[entry.name] = kind(context)
    return executors
