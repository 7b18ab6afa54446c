"""The application: every resource's routes, with and without a version, behind the same manners.

The runtime serves it on the node's socket. Here are versions, headers on every answer, errors as
JSON in Docker's words, deadlines; nothing of any resource.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

import msgspec
from aiohttp import web

from swarmops import __version__
from swarmops.api import (
    access,
    configs,
    distribution,
    errors,
    events,
    faults,
    logs,
    metrics,
    networks,
    nodes,
    openapi,
    secrets_for_backup,
    services,
    swarm,
    system,
    tasks,
)
from swarmops.api.body import BODY_BYTES_MAX
from swarmops.api.callers import OVER_NETWORK, admit
from swarmops.api.control import NodeControl
from swarmops.api.engine import ENGINE, EngineBehind
from swarmops.api.engine_share import pass_on
from swarmops.api.latency import Latencies
from swarmops.api.path import asked_version, version_numbers
from swarmops.api.route import LATENCIES, NODE, ROUTE_TABLE, Handler, Route
from swarmops.api.version import API_VERSION, API_VERSION_MIN
from swarmops.errors import ApiError, SwarmopsError
from swarmops.model.answers import Refusal

RESOURCES = (
    system,
    swarm,
    nodes,
    openapi,
    secrets_for_backup,
    services,
    tasks,
    logs,
    configs,
    networks,
    distribution,
    events,
    metrics,
    access,
)
SEND_S = 30.0
"""Within which a client must have taken an answer that is not a stream."""
STREAMS = frozenset(
    (route.method, route.path)
    for resource in RESOURCES
    for route in resource.ROUTES
    if route.deadline_s is None
)


def make_app(node: NodeControl) -> web.Application:
    """Return the Docker Engine API over this node, for callers whom its socket lets in.

    Serve it without an access log.
    """
    return _application(node, Latencies(), over_network=False)


def make_network_app(local: web.Application) -> web.Application:
    """Return the same API for people behind TLS; both are counted together."""
    return _application(local[NODE], local[LATENCIES], over_network=True)


def _application(node: NodeControl, latencies: Latencies, *, over_network: bool) -> web.Application:
    app = web.Application(
        middlewares=[_send_in_time, _note_latency, _answer_errors, admit, _check_version, pass_on],
        client_max_size=BODY_BYTES_MAX,
    )
    app[NODE] = node
    app[ENGINE] = EngineBehind(node.engine_socket)
    app.on_cleanup.append(_close_engine)
    app[OVER_NETWORK] = over_network
    app[LATENCIES] = latencies
    app[ROUTE_TABLE] = tuple(route for resource in RESOURCES for route in resource.ROUTES)
    app.on_response_prepare.append(_add_headers)
    for resource in RESOURCES:
        for route in resource.ROUTES:
            handler = _bounded(route)
            app.router.add_route(route.method, route.path, handler)
            app.router.add_route(
                route.method, r"/v{api_version:[0-9]+\.[0-9]+}" + route.path, handler
            )
    return app


def _bounded(route: Route) -> Handler:
    """Cut the handler off at its deadline."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(route.deadline_s):
                return await route.handler(request)
        except TimeoutError:
            raise errors.rpc("DeadlineExceeded", "context deadline exceeded") from None

    return handle


async def _close_engine(app: web.Application) -> None:
    await app[ENGINE].close()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers["Api-Version"] = API_VERSION
    response.headers["Docker-Experimental"] = "false"
    response.headers["Ostype"] = "linux"
    response.headers["Server"] = f"Docker/{__version__} (linux)"


@web.middleware
async def _send_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hang up on a client that doesn't take its answer; streams wait for theirs by themselves.

    One that has gone is no error: it would be logged with a traceback.
    """
    response: web.StreamResponse = web.Response()
    try:
        response = await handler(request)
        async with asyncio.timeout(SEND_S):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        if not _gone(request):
            raise
    return response


@web.middleware
async def _note_latency(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count the answer, an error's too, under its route; requests for nothing have none."""
    begun_s = perf_counter()
    response = await handler(request)
    took_s = perf_counter() - begun_s
    resource = request.match_info.route.resource
    if resource is not None:
        name = (request.method, resource.canonical.removeprefix("/v{api_version}"))
        timed = None if name in STREAMS else took_s
        request.app[LATENCIES].note(name, response.status, timed)
    return response


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put every error into Docker's form; one that nobody foresaw gets an id, no traceback."""
    try:
        return await handler(request)
    except SwarmopsError as error:
        refusal = errors.translate(error)
        return _error(refusal.status, refusal.message)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, "http: request body too large")
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return _error(404, errors.PAGE_NOT_FOUND)
    except web.HTTPException as error:
        return _error(error.status, error.reason)
    except Exception as error:
        if isinstance(error, ConnectionError) and _gone(request):
            raise
        error_id = faults.note(request)
        return _error(
            500, f"internal error {error_id}: the log of this node's swarmops daemon explains it"
        )


def _gone(request: web.Request) -> bool:
    """Whether the client went away while it was being answered."""
    return request.transport is None or request.transport.is_closing()


@web.middleware
async def _check_version(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse clients that speak a version which this server doesn't."""
    asked = asked_version(request.path)
    if asked is not None:
        if version_numbers(asked) > version_numbers(API_VERSION):
            raise ApiError(
                400,
                f"client version {asked} is too new. "
                f"Maximum supported API version is {API_VERSION}",
            )
        if version_numbers(asked) < version_numbers(API_VERSION_MIN):
            raise ApiError(
                400,
                f"client version {asked} is too old. "
                f"Minimum supported API version is {API_VERSION_MIN}, "
                "please upgrade your client to a newer version",
            )
    return await handler(request)


def _error(status: int, message: str) -> web.Response:
    # Bytes of a header that are no UTF-8 come as surrogates, which JSON can't hold.
    text = message.encode(errors="replace").decode()
    return web.Response(
        status=status,
        body=msgspec.json.encode(Refusal(message=text)),
        content_type="application/json",
    )
