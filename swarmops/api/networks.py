"""``/networks``: those of swarm scope: create, list, look at, remove, prune; and the engine's.

Any node answers to who looks, for clients ask here before they know what the node is; only a
manager has anything to show or changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from swarmops.api import body, errors, networkspec, networkview, query, resolve
from swarmops.api.control import NodeControl
from swarmops.api.engine import ENGINE
from swarmops.api.gate import manager_store, refuse_non_manager
from swarmops.api.prunefilters import until_of
from swarmops.api.reply import nothing, reply, reply_list
from swarmops.api.route import Route, node_of
from swarmops.errors import ApiError, SwarmopsError
from swarmops.model.answers import NetworkCreated, NetworksDeleted
from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.network import (
    NETWORK_ID_LABEL,
    OVERLAY,
    Network,
    NetworkCreate,
    driver_of,
    is_ingress,
    is_predefined,
    name_of,
)
from swarmops.model.swarm import Cluster
from swarmops.store import (
    IngressPresent,
    NetworkInUse,
    NotFound,
    Store,
    SubnetConflict,
    Transaction,
)
from swarmops.store.networking import ingress_of, task_in
from swarmops.store.new_networks import placed
from swarmops.store.references import check_unused

FILTERS = frozenset(("name", "id", "driver", "scope", "type", "label", "dangling"))
PRUNE_FILTERS = frozenset(("label", "label!", "until"))
LOCAL_NAMES = frozenset(("bridge", "host", "none"))
CREATE_ATTEMPTS = 20
WORKER = (
    "Cannot create a multi-host network from a worker node. "
    "Please create the network from a manager node."
)


async def create(request: web.Request) -> web.StreamResponse:
    """``POST /networks/create``: its subnet is there when this answers."""
    node = node_of(request)
    wanted = await body.read(request, NetworkCreate)
    _refuse_driver(given(wanted.driver, ""))
    store = await _store_for_create(node)
    name = given(wanted.name, "")
    if name in LOCAL_NAMES:
        raise ApiError(409, f"network with name {name} already exists")
    spec = networkspec.spec_of(wanted)
    for _ in range(CREATE_ATTEMPTS):
        present = ingress_of(store.networks)
        if given(spec.ingress, False) and present is not None:
            raise IngressPresent(present.id)
        network = placed(
            new_id(node.rng), spec, list(store.networks), store.cluster or Cluster(id="")
        )
        tx = Transaction()
        tx.put(network)
        try:
            await store.commit(tx)
        except SubnetConflict:
            continue  # another manager has given it away meanwhile
        return reply(NetworkCreated(id=network.id), status=201)
    raise errors.rpc("Unknown", "too many networks are being created at once: try again")


def _refuse_driver(driver: str) -> None:
    """Refuse what only a container engine has."""
    if driver != OVERLAY:
        raise ApiError(
            404,
            f'plugin "{driver or "bridge"}" not found: networks of the swarm have the driver '
            f"{OVERLAY}, others are made by a container engine",
        )


async def _store_for_create(node: NodeControl) -> Store:
    """Return the store. Raises ApiError with the statuses that Docker has for networks alone."""
    try:
        refuse_non_manager(node)
    except ApiError as error:
        if error.message == errors.NO_MANAGER:
            raise ApiError(403, WORKER) from None
        raise ApiError(500, error.message) from None
    return await manager_store(node)


async def list_networks(request: web.Request) -> web.StreamResponse:
    """``GET /networks``."""
    keep = _wanted(query.filters_of(request, FILTERS))
    local = await request.app[ENGINE].facts(request, f"/networks?{_raw_query(request)}")
    store = await _store_to_list(node_of(request), alone=local is None)
    networks = [one for one in store.networks if not is_predefined(one)] if store else []
    return await reply_list(
        request,
        [*networks, *(one for one in local or () if not _is_ours(one))],
        lambda one: not isinstance(one, Network) or keep(one),
        lambda one: networkview.network(one) if isinstance(one, Network) else one,
    )


async def _store_to_list(node: NodeControl, *, alone: bool) -> Store | None:
    """Return the replica, fit to be read; None on what is no active manager.

    Without a leader an engine's own networks are still to be had, as in Docker; alone, we say so.
    """
    if node.store is None or not node.is_manager():
        return None
    try:
        await node.read_barrier()
    except SwarmopsError:
        if alone:
            raise
        return None
    return node.store


def _raw_query(request: web.Request) -> str:
    """Return the query as the client wrote it: decoded, a blank or a # would end it too early."""
    return request.rel_url.raw_query_string


def _is_ours(local: Any) -> bool:
    """Whether a network of the engine is what this node has for one of the swarm."""
    return isinstance(local, dict) and NETWORK_ID_LABEL in (local.get("Labels") or {})


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /networks/{id}``; ``verbose`` adds the services in it."""
    reference = request.match_info["id"]
    verbose = query.truthy(request, "verbose")
    scope = request.query.get("scope", "")
    if node_of(request).store is None or scope not in ("", "swarm"):
        raise errors.not_found("network", reference)
    store = await manager_store(node_of(request))
    network = resolve.network(store, reference)
    if is_predefined(network) and not scope:
        raise errors.not_found("network", reference)  # the host's own is meant
    shown = networkview.network(network)
    if verbose and (found := networkview.services_in(network, store)):
        shown = replace(shown, services=found)
    return reply(shown)


async def remove(request: web.Request) -> web.StreamResponse:
    """``DELETE /networks/{id}``."""
    reference = request.match_info["id"]
    if reference in LOCAL_NAMES:
        raise ApiError(403, f"{reference} is a pre-defined network and cannot be removed")
    if node_of(request).store is None:
        raise errors.not_found("network", reference)
    store = await manager_store(node_of(request))
    network = resolve.network(store, reference)
    _check_removable(network, store)
    try:
        await _delete(store, network)
    except NotFound:
        raise errors.not_found("network", reference) from None
    return nothing(status=204)


async def prune(request: web.Request) -> web.StreamResponse:
    """``POST /networks/prune``: remove all that nothing uses, but the ingress network."""
    filters = query.filters_of(request, PRUNE_FILTERS)
    until = until_of(filters, node_of(request).now())
    path = f"/networks/prune?{_raw_query(request)}"
    local = await request.app[ENGINE].facts(request, path, method="POST")
    deleted = list((local or {}).get("NetworksDeleted") or ())
    if node_of(request).store is None:
        return reply(NetworksDeleted(networks_deleted=deleted or None))
    store = await manager_store(node_of(request))
    for network in sorted(store.networks, key=name_of):
        if not _prunable(network, filters, until):
            continue
        try:
            _check_removable(network, store)
            await _delete(store, network)
        except (NetworkInUse, NotFound):
            continue  # also one that somebody else removed meanwhile
        deleted.append(name_of(network))
    return reply(NetworksDeleted(networks_deleted=deleted or None))


def _prunable(network: Network, filters: query.Filters, until: datetime | None) -> bool:
    labels = given(network.spec.labels, {})
    unwanted = filters.get("label!", ())
    return (
        not is_ingress(network)
        and (until is None or network.created_at <= until)
        and query.labelled(filters, "label", labels)
        and not (unwanted and query.labelled(filters, "label!", labels))
    )


async def _delete(store: Store, network: Network) -> None:
    tx = Transaction()
    tx.delete(network)
    await store.commit(tx)


def _check_removable(network: Network, store: Store) -> None:
    """Raise NetworkInUse with Docker's sentence on who needs the network."""
    if is_predefined(network):
        raise NetworkInUse(f"{name_of(network)} is a pre-defined network and cannot be removed")
    check_unused(network, store.services)
    if not is_ingress(network) and (task := task_in(network, store.services, store.tasks)):
        raise NetworkInUse(f"network {network.id} is in use by task {task}")


def _wanted(filters: query.Filters) -> Callable[[Network], bool]:
    for text in filters.get("type", ()):
        if text not in ("builtin", "custom"):
            raise ApiError(500, f"invalid filter: 'type'='{text}'")
    dangling = _dangling(filters)

    def keep(network: Network) -> bool:
        return (
            any(text in name_of(network) for text in filters.get("name", ("",)))
            and any(text in network.id for text in filters.get("id", ("",)))
            and query.equals(filters, "driver", driver_of(network))
            and query.equals(filters, "scope", "swarm")
            and query.equals(filters, "type", "custom")
            and query.labelled(filters, "label", given(network.spec.labels, {}))
            and dangling is not False
        )

    return keep


def _dangling(filters: query.Filters) -> bool | None:
    """Read the filter, which knows containers of this node alone: no network has one here."""
    values = filters.get("dangling")
    if values is None:
        return None
    if len(values) != 1 or values[0] not in ("true", "1", "false", "0"):
        raise errors.bad_request(
            'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
        )
    return values[0] in ("true", "1")


ROUTES = [
    Route("GET", "/networks", list_networks),
    Route("POST", "/networks/create", create),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
]
