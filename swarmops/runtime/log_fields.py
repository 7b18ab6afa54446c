"""Which node a line of the daemon's log is from: for logs of many nodes that are read together.

A processor of structlog's, configured by ``node`` before there is a daemon to ask.
"""

from __future__ import annotations

from collections.abc import Callable

from structlog.typing import EventDict, WrappedLogger


class OfNode:
    """Adds ``node``, this node's ID once it has one, to lines that don't speak of a node anyway."""

    def __init__(self) -> None:
        self.node_id: Callable[[], str] = str

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Return the line with its node."""
        del logger, method
        if node_id := self.node_id():
            event.setdefault("node", node_id)
        return event
