"""``/networks``: those of swarm scope that the store holds, and those of the engine behind.

Any node answers, for clients ask here before they know what the node is; only a manager has
anything to show.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from swarmops.api import errors, query, render, resolve
from swarmops.api.engine import ENGINE
from swarmops.api.gate import manager_store
from swarmops.api.reply import reply, reply_list
from swarmops.api.route import Route, node_of
from swarmops.model.base import given
from swarmops.model.network import Network

FILTERS = frozenset(("name", "id", "driver", "scope", "type", "label", "dangling"))


async def list_networks(request: web.Request) -> web.StreamResponse:
    """``GET /networks``."""
    filters = query.filters_of(request, FILTERS)
    store = node_of(request).store
    local = await request.app[ENGINE].facts(request, f"/networks?{request.query_string}")
    keep = _wanted(filters)
    return await reply_list(
        request,
        [*(store.networks if store else ()), *(local or ())],
        lambda one: not isinstance(one, Network) or keep(one),
        lambda one: render.network(one) if isinstance(one, Network) else one,
    )


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /networks/{id}``."""
    reference = request.match_info["id"]
    if node_of(request).store is None:
        raise errors.not_found("network", reference)
    store = await manager_store(node_of(request))
    return reply(render.network(resolve.network(store, reference)))


def _wanted(filters: query.Filters) -> Callable[[Network], bool]:
    def keep(network: Network) -> bool:
        return (
            any(text in given(network.spec.name, "") for text in filters.get("name", ("",)))
            and any(text in network.id for text in filters.get("id", ("",)))
            and query.equals(filters, "driver", given(network.spec.driver, "") or "overlay")
            and query.equals(filters, "scope", "swarm")
            and query.equals(filters, "type", "custom")
            and query.labelled(filters, "label", given(network.spec.labels, {}))
        )

    return keep


ROUTES = [
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/{id}", inspect),
]
