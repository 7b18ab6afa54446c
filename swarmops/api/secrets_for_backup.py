"""``/swarmops/secrets``: the secrets with what they hold, for backups; Docker has no such thing.

For root (or the daemon's own user) on the node itself alone, who could read the same from the
node's disk and its key. Never served over a network, whatever the certificate.
"""

from __future__ import annotations

import os

from aiohttp import web

from swarmops.api.engine_access import local_user
from swarmops.api.gate import manager_store
from swarmops.api.reply import reply_list
from swarmops.api.route import Route, node_of
from swarmops.errors import ApiError


async def revealed(request: web.Request) -> web.StreamResponse:
    """``GET /swarmops/secrets``."""
    user = local_user(request)
    if user is None or user.uid not in {0, os.geteuid()}:
        raise ApiError(403, "only root on the node itself may read what secrets hold")
    store = await manager_store(node_of(request))
    return await reply_list(request, list(store.secrets), lambda _: True, lambda secret: secret)


ROUTES = [Route("GET", "/swarmops/secrets", revealed)]
