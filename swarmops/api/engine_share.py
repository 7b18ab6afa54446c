"""Which requests are the swarm's and which the engine's, where the path alone doesn't say it.

The application's innermost layer. A network or an image's digest that the swarm doesn't know may be
known to the engine behind; a network that no other machine shall see is the engine's to make.
"""

from __future__ import annotations

from aiohttp import web

from swarmops.api import body, errors, upload
from swarmops.api.engine import ENGINE
from swarmops.api.path import plain_path
from swarmops.api.route import Handler
from swarmops.errors import ApiError
from swarmops.model.base import given
from swarmops.model.network import NetworkCreate

_SHARED = ("/networks/", "/distribution/")
_CREATE = "/networks/create"
_UNKNOWN = (404, 503)
"""503: this node can't look into the swarm; what it has itself is still to be had."""


@web.middleware
async def pass_on(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give what is not swarm mode's to the Docker Engine behind this node."""
    engine = request.app[ENGINE]
    path = plain_path(request.path)
    if path == _CREATE and request.method == "POST" and engine.is_open_to(request):
        body.refuse_other_types(request)
        raw = await upload.whole(request)
        if _is_local(body.decode(raw, NetworkCreate)):
            return await engine.pass_on(request, raw)
    elif request.match_info.http_exception is not None:
        return await engine.pass_on(request)
    if not path.startswith(_SHARED):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException:
        raise ApiError(404, errors.PAGE_NOT_FOUND) from None
    except ApiError as refusal:
        if refusal.status not in _UNKNOWN or not engine.is_open_to(request):
            raise
    return await engine.pass_on(request, await upload.whole(request))


def _is_local(wanted: NetworkCreate) -> bool:
    """Whether the network is one machine's; the engine's default driver is ``bridge``."""
    return given(wanted.driver, "") != "overlay" and given(wanted.scope, "") != "swarm"
