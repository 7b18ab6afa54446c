"""What a resource's file declares: its routes, each with its handler and its deadline.

``swarmops.api.app`` registers them; handlers find the node with ``node_of``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from swarmops.api.control import NodeControl
from swarmops.api.latency import Latencies

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NODE = web.AppKey("node", NodeControl)
LATENCIES = web.AppKey("latencies", Latencies)
DEADLINE_S = 30.0


class Route(NamedTuple):
    """A method and path (without the version), who answers, and within how many seconds."""

    method: str
    path: str
    handler: Handler
    deadline_s: float | None = DEADLINE_S
    """None: a stream that lasts as long as its reader wants."""


def node_of(request: web.Request) -> NodeControl:
    """Return the node that this request came to."""
    return request.app[NODE]


ROUTE_TABLE = web.AppKey("route_table", tuple[Route, ...])
