"""``/nodes``: list, look at, change role and availability, remove.

Writes a node's ``spec`` alone, and removes nodes; the role manager makes a wanted role real.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from swarmops.api import body, errors, query, removing, render, resolve
from swarmops.api.control import NodeControl
from swarmops.api.gate import manager_store
from swarmops.api.reply import nothing, reply, reply_list
from swarmops.api.route import Route, node_of
from swarmops.errors import ApiError, SwarmopsError
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.node import (
    Availability,
    EngineDescription,
    Node,
    NodeInternal,
    NodeState,
    NodeUpdate,
    Role,
)
from swarmops.model.swarm import CAConfig, Cluster, ClusterInternal, RemovedNode
from swarmops.model.task import TaskState, TaskStatus
from swarmops.store import OutOfSequence, Store, Transaction

FILTERS = frozenset(("id", "name", "label", "node.label", "role", "membership"))
MEMBERSHIPS = ("accepted", "pending")
REMOVED_GRACE = timedelta(days=7)
"""A removed node's certificate is remembered this much longer than it can be valid."""


async def list_nodes(request: web.Request) -> web.StreamResponse:
    """``GET /nodes``."""
    filters = query.filters_of(request, FILTERS)
    store = await manager_store(node_of(request))
    return await reply_list(request, list(store.nodes), _wanted(filters), render.node)


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /nodes/{id}``."""
    store = await manager_store(node_of(request))
    return reply(render.node(resolve.node(store, request.match_info["id"])))


async def update(request: web.Request) -> web.StreamResponse:
    """``POST /nodes/{id}/update``."""
    wanted = await body.read(request, NodeUpdate)
    version = query.version_of(request, "node")
    role = _one_of(Role, "Role", wanted.role)
    availability = _one_of(Availability, "Availability", wanted.availability)
    node = node_of(request)
    store = await manager_store(node)
    stored = resolve.node(store, request.match_info["id"])
    spec = replace(
        stored.spec,
        name=given(wanted.name, "") or stored.spec.name,
        labels=wanted.labels or {},
        role=role,
        availability=availability,
    )
    if version != stored.version.index:
        raise OutOfSequence
    if stored.spec.role is Role.MANAGER and role is Role.WORKER:
        await _refuse_demotion(node, store, stored)
    tx = Transaction()
    tx.put(replace(stored, spec=spec), expected=version)
    await store.commit(tx)
    return nothing()


async def remove(request: web.Request) -> web.StreamResponse:
    """``DELETE /nodes/{id}``: a manager never, a live worker only by force."""
    force = query.truthy(request, "force")
    node = node_of(request)
    store = await manager_store(node)

    def allowed(stored: Node) -> Transaction:
        refuse_removal(stored, force=force)
        return removal(store, stored, node.now())

    stored = resolve.node(store, request.match_info["id"])
    await removing.remove(store, stored, find=resolve.node, transaction=allowed)
    return nothing()


def _wanted(filters: query.Filters) -> Callable[[Node], bool]:
    roles = query.known(filters, "role", (one.value for one in Role), "role")
    memberships = query.known(filters, "membership", MEMBERSHIPS, "membership")

    def keep(node: Node) -> bool:
        engine = given(node.description.engine, EngineDescription())
        return (
            query.begins(filters, "id", node.id)
            and query.begins(filters, "name", given(node.description.hostname, ""))
            and query.labelled(filters, "label", given(engine.labels, {}))
            and query.labelled(filters, "node.label", given(node.spec.labels, {}))
            and (roles is None or node.spec.role.value in roles)
            # Every node that is stored was accepted.
            and (memberships is None or "accepted" in memberships)
        )

    return keep


def _one_of(kind: Any, field: str, text: str) -> Any:
    try:
        return kind(text.lower())
    except ValueError:
        raise errors.bad_request(f'invalid {field}: "{text}"') from None


async def _refuse_demotion(node: NodeControl, store: Store, stored: Node) -> None:
    managers = [one for one in store.nodes if one.spec.role is Role.MANAGER]
    if len(managers) <= 1:
        raise errors.rpc("FailedPrecondition", errors.DEMOTE_LAST)
    try:
        await node.check_demote(stored.id)
    except ApiError:
        raise
    except SwarmopsError as error:
        raise errors.rpc("FailedPrecondition", str(error)) from None


def refuse_removal(stored: Node, *, force: bool) -> None:
    """Raise ApiError for a node that may not be removed."""
    internal = given(stored.internal, NodeInternal())
    if Role.MANAGER in (stored.spec.role, internal.role) or internal.raft_id:
        raise errors.rpc("FailedPrecondition", errors.REMOVE_MANAGER.format(id=stored.id))
    if stored.status.state is NodeState.READY and not force:
        raise errors.rpc("FailedPrecondition", errors.REMOVE_LIVE.format(id=stored.id))


def removal(store: Store, stored: Node, now: datetime) -> Transaction:
    """Remove the node, remember its certificate, and let go of its tasks, all at once."""
    tx = Transaction()
    tx.delete(stored)
    cluster = store.cluster
    if cluster is not None:
        internal = given(cluster.internal, ClusterInternal())
        removed = [one for one in internal.removed_nodes if one.until > now]
        removed.append(RemovedNode(id=stored.id, until=now + _certificate_life(cluster)))
        tx.put(replace(cluster, internal=replace(internal, removed_nodes=removed)))
    for task in store.tasks.by_node(stored.id):
        if not task.status.state.terminal:
            tx.patch_task(
                task.id,
                status=TaskStatus(
                    timestamp=now,
                    state=TaskState.ORPHANED,
                    message="Task belonged to a node that has been deleted",
                ),
            )
    return tx


def _certificate_life(cluster: Cluster) -> timedelta:
    configured_ns = given(given(cluster.spec.ca_config, CAConfig()).node_cert_expiry, 0)
    longest_s = max(configured_ns / defaults.NANOSECONDS, float(defaults.NODE_CERT_EXPIRY_S))
    return timedelta(seconds=longest_s) + REMOVED_GRACE


ROUTES = [
    Route("GET", "/nodes", list_nodes),
    Route("GET", "/nodes/{id}", inspect),
    Route("POST", "/nodes/{id}/update", update),
    Route("DELETE", "/nodes/{id}", remove),
]
