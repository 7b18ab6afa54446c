"""``/openapi.json``: what is served, made from the route table and the models.

Each route of the table is described: its path's parameters and its version prefix from the path,
bodies and answers from the models' own schemas. What a route is for stands in ``OPERATIONS``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from swarmops import __version__
from swarmops.api.logs import MULTIPLEXED, RAW
from swarmops.api.registry_auth import HEADER as REGISTRY_AUTH
from swarmops.api.reply import reply
from swarmops.api.route import ROUTE_TABLE, Route
from swarmops.api.version import API_VERSION
from swarmops.model.access import AccessPortRequest, AccessReply, AccessRequest, AccessState
from swarmops.model.answers import (
    Created,
    NetworkCreated,
    NetworksDeleted,
    Refusal,
    UnlockKeyAnswer,
    Updated,
)
from swarmops.model.events import EventMessage
from swarmops.model.network import NetworkCreate, NetworkResource
from swarmops.model.node import Node, NodeUpdate
from swarmops.model.object import Object
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.swarm import Cluster, InitRequest, JoinRequest, SwarmSpec, UnlockRequest
from swarmops.model.system import DistributionInspect, SystemInfo, SystemVersion
from swarmops.model.task import Task

REF = "#/components/schemas/{name}"
Facts = dict[str, object]
"""This description itself."""
_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_LOGS = "stdout stderr follow timestamps details since until tail"
_OBJECTS = {
    "configs": ("config", ConfigSpec, Config),
    "secrets": ("secret", SecretSpec, Secret),
}


class Operation(NamedTuple):
    """What a route is for; ``query`` and ``headers`` are the names of its parameters."""

    summary: str
    query: str = ""
    body: Any = None
    answer: Any = None
    media: str = "application/json"
    """Several with blanks between."""
    status: int = 200
    headers: str = ""


def _of_objects(path: str) -> dict[tuple[str, str], Operation]:
    """Return the operations of configs or secrets, which are alike."""
    kind, spec, stored = _OBJECTS[path]
    return {
        ("GET", f"/{path}"): Operation(f"List {path}", "filters", answer=list[stored]),  # type: ignore[valid-type]
        ("POST", f"/{path}/create"): Operation(
            f"Create a {kind}", body=spec, answer=Created, status=201
        ),
        ("GET", f"/{path}/{{id}}"): Operation(f"Inspect a {kind}", answer=stored),
        ("POST", f"/{path}/{{id}}/update"): Operation(
            f"Update a {kind}'s labels", "version", body=spec
        ),
        ("DELETE", f"/{path}/{{id}}"): Operation(f"Remove a {kind}", status=204),
    }


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/_ping"): Operation("Say that the API answers", media="text/plain"),
    ("HEAD", "/_ping"): Operation("Say that the API answers", media="text/plain"),
    ("GET", "/version"): Operation("Say what serves the API", answer=SystemVersion),
    ("GET", "/info"): Operation("Describe the host and its part in the swarm", answer=SystemInfo),
    ("GET", "/metrics"): Operation("Numbers for Prometheus", media="text/plain"),
    ("GET", "/openapi.json"): Operation("This description", answer=Facts),
    ("GET", "/events"): Operation("Follow changes", "since until filters", answer=EventMessage),
    ("POST", "/swarm/init"): Operation("Make a swarm", body=InitRequest, answer=str),
    ("POST", "/swarm/join"): Operation("Join a swarm", body=JoinRequest),
    ("POST", "/swarm/leave"): Operation("Leave the swarm", "force"),
    ("GET", "/swarm"): Operation("Inspect the swarm", answer=Cluster),
    ("POST", "/swarm/update"): Operation(
        "Update the swarm",
        "version rotateWorkerToken rotateManagerToken rotateManagerUnlockKey",
        body=SwarmSpec,
    ),
    ("GET", "/swarm/unlockkey"): Operation("Get the unlock key", answer=UnlockKeyAnswer),
    ("GET", "/swarmops/secrets"): Operation(
        "List secrets with what they hold, to root on the node alone", answer=list[Secret]
    ),
    ("POST", "/swarm/unlock"): Operation("Unlock a locked manager", body=UnlockRequest),
    ("GET", "/nodes"): Operation("List nodes", "filters", answer=list[Node]),
    ("GET", "/nodes/{id}"): Operation("Inspect a node", answer=Node),
    ("POST", "/nodes/{id}/update"): Operation("Update a node", "version", body=NodeUpdate),
    ("DELETE", "/nodes/{id}"): Operation("Remove a node", "force"),
    ("GET", "/services"): Operation("List services", "filters status", answer=list[Service]),
    ("POST", "/services/create"): Operation(
        "Create a service",
        body=ServiceSpec,
        answer=Created,
        status=201,
        headers=REGISTRY_AUTH,
    ),
    ("GET", "/services/{id}"): Operation("Inspect a service", "insertDefaults", answer=Service),
    ("POST", "/services/{id}/update"): Operation(
        "Update a service",
        "version rollback registryAuthFrom rebalance",
        body=ServiceSpec,
        answer=Updated,
        headers=REGISTRY_AUTH,
    ),
    ("DELETE", "/services/{id}"): Operation("Remove a service"),
    ("GET", "/services/{id}/logs"): Operation(
        "Read what a service's tasks print", _LOGS, media=f"{MULTIPLEXED} {RAW}"
    ),
    ("GET", "/tasks"): Operation("List tasks", "filters", answer=list[Task]),
    ("GET", "/tasks/{id}"): Operation("Inspect a task", answer=Task),
    ("GET", "/tasks/{id}/logs"): Operation(
        "Read what a task prints", _LOGS, media=f"{MULTIPLEXED} {RAW}"
    ),
    ("GET", "/networks"): Operation("List networks", "filters", answer=list[NetworkResource]),
    ("POST", "/networks/create"): Operation(
        "Create a network", body=NetworkCreate, answer=NetworkCreated, status=201
    ),
    ("POST", "/networks/prune"): Operation(
        "Remove networks that nothing uses", "filters", answer=NetworksDeleted
    ),
    ("GET", "/networks/{id}"): Operation(
        "Inspect a network", "verbose scope", answer=NetworkResource
    ),
    ("DELETE", "/networks/{id}"): Operation("Remove a network", status=204),
    ("GET", "/distribution/{image}/json"): Operation(
        "Inspect an image in its registry", answer=DistributionInspect, headers=REGISTRY_AUTH
    ),
    ("GET", "/access"): Operation("Say who uses the API over the network", answer=AccessState),
    ("POST", "/access/update"): Operation(
        "Serve the API over the network, or no longer", body=AccessPortRequest
    ),
    ("POST", "/access/create"): Operation(
        "Let a person in", body=AccessRequest, answer=AccessReply, status=201
    ),
    ("DELETE", "/access/{name}"): Operation("Let a person in no longer", status=204),
    **_of_objects("configs"),
    **_of_objects("secrets"),
}


async def openapi(request: web.Request) -> web.StreamResponse:
    """``GET /openapi.json``."""
    return reply(described(request.app[ROUTE_TABLE]))


@cache
def described(routes: tuple[Route, ...]) -> dict[str, Any]:
    """Return the description of a route table."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = _Schemas()
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        operation = OPERATIONS.get((route.method, path), Operation(f"{route.method} {path}"))
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "swarmops: the swarm part of Docker's Engine API",
            "version": API_VERSION,
            "x-swarmops-version": __version__,
        },
        "servers": [{"url": "/"}, {"url": f"/v{API_VERSION}"}],
        "paths": paths,
        "components": {"schemas": schemas.found},
    }


class _Schemas:
    """The models that operations speak of, each once."""

    def __init__(self) -> None:
        types = [kind for one in OPERATIONS.values() for kind in (one.body, one.answer) if kind]
        unique = list(dict.fromkeys([*types, Refusal]))
        schemas, self.found = msgspec.json.schema_components(
            unique, ref_template=REF, schema_hook=_anything
        )
        self._of = dict(zip(unique, schemas, strict=True))
        for model in _stored(Object):
            self.found.get(model.__name__, {}).get("properties", {}).pop("Internal", None)

    def of(self, kind: Any) -> dict[str, Any]:
        """Return a type's schema; without a type anything goes."""
        return self._of[kind] if kind else {}


def _anything(kind: type) -> dict[str, Any]:
    """Describe what is passed on as it came."""
    if kind is object:
        return {"description": "Passed on as it came"}
    raise NotImplementedError(kind)


def _stored(model: type) -> list[type]:
    """Return a class's subclasses, theirs included."""
    subclasses: list[type] = model.__subclasses__()
    return [each for one in subclasses for each in (one, *_stored(one))]


def _operation(path: str, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.media != "application/json" or operation.answer:
        schema = schemas.of(operation.answer)
        answer["content"] = {media: {"schema": schema} for media in operation.media.split()}
    refusal = {"application/json": {"schema": schemas.of(Refusal)}}
    found: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            *(_parameter(name, "path") for name in _PARAMETER.findall(path)),
            *(_parameter(name, "query") for name in operation.query.split()),
            *(_parameter(name, "header") for name in operation.headers.split()),
        ],
        "responses": {
            str(operation.status): answer,
            "default": {"description": "A refusal", "content": refusal},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas.of(operation.body)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameter(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string"}}


def undescribed(routes: Sequence[Route]) -> list[str]:
    """Return the routes for which ``OPERATIONS`` has nothing."""
    names = ((route.method, _PARAMETER.sub(r"{\1}", route.path)) for route in routes)
    return [f"{method} {path}" for method, path in names if (method, path) not in OPERATIONS]


ROUTES = [Route("GET", "/openapi.json", openapi)]
