"""``/access``: on which port the API is served over the network, and to whom.

Ours, not Docker's; for admins only. A person's key never comes here: a signing request does, and
the certificate goes back. What is revoked is no longer listed, and only what is listed is let in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from aiohttp import web
from msgspec.structs import replace

from swarmops.api import body, errors
from swarmops.api.gate import manager_store
from swarmops.api.reply import nothing, reply
from swarmops.api.route import Route, node_of
from swarmops.errors import ApiError
from swarmops.model.access import (
    AccessPortRequest,
    AccessReply,
    AccessRequest,
    AccessState,
    Person,
)
from swarmops.model.base import given
from swarmops.model.swarm import Cluster, ClusterInternal
from swarmops.pki.subject import CertificateError
from swarmops.store import Store

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]{1,62}")
"""Docker's rule for the names of contexts."""
_HOST = re.compile(r"[a-zA-Z0-9:]([a-zA-Z0-9.:-]{0,251}[a-zA-Z0-9])?")
_PORT_MAX = 65535
_PEOPLE_MAX = 1000
_NAMES_MAX = 50
_LIFETIME_S_MIN = 60
_LIFETIME_S_MAX = 20 * 365 * 24 * 3600


async def state(request: web.Request) -> web.StreamResponse:
    """``GET /access``."""
    internal = _internal(await manager_store(node_of(request)))
    return reply(
        AccessState(port=internal.api_port, names=internal.api_names, people=internal.people)
    )


async def update(request: web.Request) -> web.StreamResponse:
    """``POST /access/update``: serve over the network, or no longer."""
    wanted = await body.read(request, AccessPortRequest)
    if not 0 <= wanted.port <= _PORT_MAX:
        raise errors.bad_request(f"port {wanted.port} is not between 1 and {_PORT_MAX}")
    if len(wanted.names) > _NAMES_MAX or not all(_HOST.fullmatch(name) for name in wanted.names):
        raise errors.bad_request("names must be hosts' names or addresses, 50 at most")
    store = await manager_store(node_of(request))
    await _change(
        store, lambda now: replace(now, api_port=wanted.port, api_names=list(wanted.names))
    )
    return nothing()


async def create(request: web.Request) -> web.StreamResponse:
    """``POST /access/create``: sign and list a person's certificate."""
    # The library for certificates is for managers: a worker serves this application too.
    from swarmops.pki.access import issue_person  # noqa: PLC0415
    from swarmops.pki.root import RootCA  # noqa: PLC0415

    wanted = await body.read(request, AccessRequest)
    _check(wanted)
    node = node_of(request)
    store = await manager_store(node)
    cluster, internal = store.cluster, _internal(store)
    if not internal.api_port or cluster is None:
        raise ApiError(
            409, "the API is not served over the network: run 'swarmops access enable' first"
        )
    now = node.now()
    try:
        cert, serial = issue_person(
            RootCA(cert_pem=internal.ca_cert, key_pem=internal.ca_key),
            wanted.csr,
            name=wanted.name,
            cluster_id=cluster.id,
            now=now,
            lifetime_s=wanted.lifetime_s,
        )
    except CertificateError as error:
        raise errors.bad_request(str(error)) from error
    person = Person(
        name=wanted.name,
        role=wanted.role,
        serial=serial,
        created_at=now,
        expires_at=now + timedelta(seconds=wanted.lifetime_s),
    )

    def listed(before: ClusterInternal) -> ClusterInternal:
        current = [one for one in before.people if one.expires_at > now]
        if any(one.name == person.name for one in current):
            raise ApiError(
                409, f"{person.name} has access already: choose another name, or revoke it first"
            )
        if len(current) >= _PEOPLE_MAX:
            raise ApiError(409, f"{_PEOPLE_MAX} people have access already: revoke some")
        return replace(before, people=[*current, person])

    await _change(store, listed)
    hosts = [node.node_addr, *(peer.addr.rpartition(":")[0] for peer in node.remote_managers())]
    addresses = [_address(host, internal.api_port) for host in dict.fromkeys(hosts) if host]
    return reply(AccessReply(cert=cert, ca=internal.ca_cert, addresses=addresses), status=201)


async def revoke(request: web.Request) -> web.StreamResponse:
    """``DELETE /access/{name}``."""
    name = request.match_info["name"]

    def without(before: ClusterInternal) -> ClusterInternal:
        left = [one for one in before.people if one.name != name]
        if len(left) == len(before.people):
            raise errors.not_found("access", name)
        return replace(before, people=left)

    await _change(await manager_store(node_of(request)), without)
    return nothing(204)


def _check(wanted: AccessRequest) -> None:
    if not _NAME.fullmatch(wanted.name):
        raise errors.bad_request(
            f"'{wanted.name}' is no name for access: use letters, digits and _.+- "
            "(2 to 63, a letter or digit first)"
        )
    if not _LIFETIME_S_MIN <= wanted.lifetime_s <= _LIFETIME_S_MAX:
        raise errors.bad_request("access lasts from a minute to 20 years")


def _internal(store: Store) -> ClusterInternal:
    if store.cluster is None:
        raise ApiError(503, errors.NO_SWARM)
    return given(store.cluster.internal, ClusterInternal())


async def _change(store: Store, change: Callable[[ClusterInternal], ClusterInternal]) -> None:
    """Change what managers know, again if somebody else changed it meanwhile."""

    def changed(cluster: Cluster) -> Cluster:
        return replace(cluster, internal=change(given(cluster.internal, ClusterInternal())))

    cluster = store.cluster
    if cluster is None:
        raise ApiError(503, errors.NO_SWARM)
    await store.modify(store.clusters, cluster.id, changed)


def _address(host: str, port: int) -> str:
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


ROUTES = [
    Route("GET", "/access", state),
    Route("POST", "/access/update", update),
    Route("POST", "/access/create", create),
    Route("DELETE", "/access/{name}", revoke),
]
