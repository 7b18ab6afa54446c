"""``/events``: the swarm's changes as they happen, and kept ones, one JSON object a line.

A node that is no manager has none to tell; its stream stays open, as the engine's does. Events of a
Docker Engine behind the node come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from aiohttp import web

from swarmops.api import errors, query
from swarmops.api.control import NodeControl
from swarmops.api.engine import ENGINE
from swarmops.api.route import Route, node_of
from swarmops.api.stream import merged, with_ticks, write_all
from swarmops.api.timestamps import timestamp_ns
from swarmops.model.events import EventMessage

OBJECTS = ("service", "node", "secret", "config", "network")
FOREIGN = ("container", "image", "volume", "plugin", "daemon")
FILTERS = frozenset((*OBJECTS, *FOREIGN, "type", "event", "scope", "label"))
LOOK_S = 0.25
"""How exactly a stream ends at ``until``, and how soon one finds that the node is a manager."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def events(request: web.Request) -> web.StreamResponse:
    """``GET /events``."""
    filters = query.filters_of(request, FILTERS)
    since_ns = timestamp_ns(request.query.get("since", ""), "since")
    until_ns = timestamp_ns(request.query.get("until", ""), "until")
    if until_ns and since_ns > until_ns:
        raise errors.bad_request(
            f"`since` time ({_text(since_ns)}) cannot be after `until` time ({_text(until_ns)})"
        )
    node = node_of(request)
    if until_ns:
        await _caught_up(node)
    response = web.StreamResponse()
    response.content_type = "application/json"
    lines = _lines(node, filters, since_ns, until_ns)
    engine = request.app[ENGINE]
    if engine.is_open_to(request):
        lines = merged(lines, engine.events(request))
    return await write_all(request, response, lines)


async def _caught_up(node: NodeControl) -> None:
    """Wait for what any manager has answered; a stream without an end is told of it anyway."""
    if node.is_manager():
        await node.read_barrier()
    if node.insight is not None:
        await node.insight.events.caught_up()


async def _lines(
    node: NodeControl, filters: query.Filters, since_ns: int, until_ns: int
) -> AsyncGenerator[bytes, None]:
    messages = _messages(node, since_ns, follow=not until_ns or until_ns > _now_ns(node))
    if until_ns:
        messages = _until(node, messages, until_ns)
    async with contextlib.aclosing(messages):
        async for message in messages:
            if message is None:
                yield b""
            elif wanted(message, filters):
                yield message.line


async def _until(
    node: NodeControl, messages: AsyncGenerator[EventMessage | None, None], until_ns: int
) -> AsyncGenerator[EventMessage | None, None]:
    """Leave out what is later, and end when it is."""
    async with contextlib.aclosing(with_ticks(messages, LOOK_S)) as ticking:
        async for message in ticking:
            if message is None and _now_ns(node) > until_ns:
                return
            if message is None or message.time_ns <= until_ns:
                yield message


async def _messages(
    node: NodeControl, since_ns: int, *, follow: bool
) -> AsyncGenerator[EventMessage | None, None]:
    """Iterate over what this node knows, with a None now and then where it knows nothing."""
    while node.insight is None and follow:
        await asyncio.sleep(LOOK_S)
        yield None
    if node.insight is not None:
        async for message in node.insight.events.read(since_ns, follow=follow):
            yield message


def wanted(message: EventMessage, filters: query.Filters) -> bool:
    """Whether all filters let the event pass; a name may be cut short, as may an ID."""
    if not filters:
        return True
    name = message.actor.attributes.get("name", "")
    return (
        query.equals(filters, "type", message.type)
        and query.equals(filters, "event", message.action)
        and query.equals(filters, "scope", message.scope)
        and query.labelled(filters, "label", message.actor.attributes)
        and not any(kind in filters for kind in FOREIGN)
        and all(
            message.type == kind
            and (query.begins(filters, kind, message.actor.id) or query.begins(filters, kind, name))
            for kind in OBJECTS
            if kind in filters
        )
    )


def _now_ns(node: NodeControl) -> int:
    return (node.now() - _EPOCH) // timedelta(microseconds=1) * 1000


def _text(time_ns: int) -> str:
    return f"{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000:09d}"


ROUTES = [Route("GET", "/events", events, deadline_s=None)]
