"""The executors of this installation, found through the entry points ``swarmops.executors``.

The runtime calls ``load_executors`` once; a third party adds an executor by installing a package
whose entry point is a class that takes an ``ExecutorContext``.
"""

from __future__ import annotations

import importlib
import pkgutil

import structlog

from swarmops.agent.executors.base import ENTRY_POINTS, TABLE, Executor, ExecutorContext

OWN = "swarmops."
log = structlog.get_logger(__name__)

__all__ = ["Executor", "ExecutorContext", "load_executors"]


def load_executors(context: ExecutorContext) -> dict[str, Executor]:
    """Make every installed executor, by name: ours for plain processes first, then by name.

    One whose package is broken is logged and left out: the node runs what it can.
    """
    executors: dict[str, Executor] = {}
    for name, where in sorted(_points().items(), key=lambda each: (each[0] != "process", each)):
        try:
            kind = pkgutil.resolve_name(where.partition("[")[0].replace(" ", ""))
            executors[name] = kind(context)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the others are of use
            log.error("executor left out", executor=name, reason=str(exc) or type(exc).__name__)  # noqa: TRY400 - one sentence is all
    return executors


def _points() -> dict[str, str]:
    """Return where each executor is, ``package.module:Class``.

    A release has a table of them: to look for what is installed takes a megabyte of every daemon.
    """
    try:
        table = importlib.import_module(TABLE)
    except ModuleNotFoundError:
        from importlib.metadata import entry_points  # noqa: PLC0415 - see above

        entries = entry_points(group=ENTRY_POINTS)
        # As in a release: of two with one name ours counts.
        return {e.name: e.value for e in sorted(entries, key=lambda e: e.value.startswith(OWN))}
    return dict(table.POINTS)
