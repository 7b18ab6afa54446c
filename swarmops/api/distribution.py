"""Digests of images: asked by the CLI before it creates a service.

Any error makes the CLI warn and go on without a digest, which is Docker's own way without a
registry. The process executor's image is no image, so it has nothing to pin and no warning.
"""

from __future__ import annotations

from aiohttp import web

from swarmops.api.images import is_process_image
from swarmops.api.reply import reply
from swarmops.api.route import Route
from swarmops.errors import ApiError
from swarmops.model.system import Descriptor, DistributionInspect


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /distribution/{image}/json``."""
    image = request.match_info["image"]
    if is_process_image(image):
        return reply(DistributionInspect(descriptor=Descriptor()))
    raise ApiError(404, f"no digest of {image} is known: this node asks no registry")


ROUTES = [Route("GET", "/distribution/{image:.+}/json", inspect)]
