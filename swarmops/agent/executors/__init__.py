"""The executors of this installation, found through the entry points ``swarmops.executors``.

The runtime calls ``load_executors`` once; a third party adds an executor by installing a package
whose entry point is a class that takes an ``ExecutorContext``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from swarmops.agent.executors.base import ENTRY_POINTS, Executor, ExecutorContext

__all__ = ["Executor", "ExecutorContext", "load_executors"]


def load_executors(context: ExecutorContext) -> dict[str, Executor]:
    """Make every installed executor, by name: ours for plain processes first, then by name."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda e: (e.name != "process", e.name))
    return {entry.name: entry.load()(context) for entry in found}
