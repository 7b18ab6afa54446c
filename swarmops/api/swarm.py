"""``/swarm``: make one, join one, leave it, look at it, change its settings and tokens.

Making, joining and leaving is the node's work (``NodeControl``); the rest is a change to the one
cluster object in the store.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from msgspec.structs import replace

from swarmops.api import body, ca, errors, render, swarmspec
from swarmops.api.callers import only_reads
from swarmops.api.control import NodeControl
from swarmops.api.gate import manager_store
from swarmops.api.query import flag, truthy, version_of
from swarmops.api.reply import nothing, reply
from swarmops.api.route import Route, node_of
from swarmops.errors import ApiError, InputError
from swarmops.model.answers import UnlockKeyAnswer
from swarmops.model.base import given
from swarmops.model.node import ManagerStatus, Reachability
from swarmops.model.swarm import (
    CAConfig,
    Cluster,
    ClusterInternal,
    InitRequest,
    JoinRequest,
    JoinTokens,
    SwarmSpec,
    UnlockRequest,
)
from swarmops.pki.tokens import new_token
from swarmops.pki.unlock_key import new_unlock_key, parse_unlock_key
from swarmops.store import OutOfSequence, Store, Transaction

JOIN_WAIT_S = 20.0
"""After this long the client is told to look at ``/info``; joining goes on."""
INIT_DEADLINE_S = 60.0

_joining: set[asyncio.Task[None]] = set()
"""Joins that go on after their client was answered."""


async def init(request: web.Request) -> web.StreamResponse:
    """``POST /swarm/init``: answer with the node's ID."""
    node = node_of(request)
    wanted = await body.read(request, InitRequest)
    refuse_member(node, forced=given(wanted.force_new_cluster, False))
    return reply(await node.init(swarmspec.filled(wanted)))


async def join(request: web.Request) -> web.StreamResponse:
    """``POST /swarm/join``: wait until this node is a member, but not for ever."""
    node = node_of(request)
    wanted = await body.read(request, JoinRequest)
    refuse_member(node, forced=False)
    if not given(wanted.remote_addrs, []):
        raise errors.bad_request("at least 1 RemoteAddr is required to join")
    availability = swarmspec.availability(given(wanted.availability, ""))
    joining = asyncio.ensure_future(node.join(replace(wanted, availability=availability)))
    done, _ = await asyncio.wait({joining}, timeout=JOIN_WAIT_S)
    if not done:
        _joining.add(joining)
        joining.add_done_callback(_joined_late)
        raise ApiError(503, errors.JOIN_TIMEOUT)
    joining.result()
    return nothing()


def _joined_late(joining: asyncio.Task[None]) -> None:
    _joining.discard(joining)
    if not joining.cancelled():
        # The node shows why in /info; here nobody waits for it any more.
        joining.exception()


async def leave(request: web.Request) -> web.StreamResponse:
    """``POST /swarm/leave``."""
    node = node_of(request)
    force = truthy(request, "force")
    state = node.state()
    if state == "inactive":
        raise ApiError(503, errors.NOT_IN_SWARM)
    if state == "locked" and not force:
        raise ApiError(503, errors.LOCKED_LEAVE)
    if node.is_manager() and not force:
        raise ApiError(503, _why_stay(node))
    await node.leave(force=force)
    return nothing()


async def inspect(request: web.Request) -> web.StreamResponse:
    """``GET /swarm``; who may only read is not shown what lets a machine in."""
    cluster = _cluster(await manager_store(node_of(request)))
    shown = render.swarm_without_tokens if only_reads(request) else render.swarm
    return reply(shown(cluster))


async def update(request: web.Request) -> web.StreamResponse:
    """``POST /swarm/update``: settings, and new join tokens where asked."""
    node = node_of(request)
    wanted = await body.read(request, SwarmSpec)
    version = version_of(request, "swarm")
    rotate_worker = flag(request, "rotateWorkerToken", explain=False)
    rotate_manager = flag(request, "rotateManagerToken", explain=False)
    rotate_unlock_key = flag(request, "rotateManagerUnlockKey", explain=False)
    store = await manager_store(node)
    cluster = _cluster(store)
    internal = given(cluster.internal, ClusterInternal())
    tokens = JoinTokens(
        worker=_new_token(node, internal) if rotate_worker else internal.join_tokens.worker,
        manager=_new_token(node, internal) if rotate_manager else internal.join_tokens.manager,
    )
    wanted_ca = given(wanted.ca_config, CAConfig())
    rotates = ca.asks_for_root(given(cluster.spec.ca_config, CAConfig()), wanted_ca)
    spec = ca.without_secrets(swarmspec.checked(cluster.spec, wanted), wanted_ca, rotates=rotates)
    key = internal.unlock_key if swarmspec.locks(spec) else ""
    if swarmspec.locks(spec) and (rotate_unlock_key or not key):
        key = new_unlock_key(node.rng)
    changed = replace(
        cluster, spec=spec, internal=replace(internal, join_tokens=tokens, unlock_key=key)
    )
    if version != cluster.version.index:
        raise OutOfSequence
    if rotates:
        changed = ca.rotating(changed, wanted_ca, node.now())
    tx = Transaction()
    tx.put(changed)
    await store.commit(tx)
    return nothing()


async def unlock_key(request: web.Request) -> web.StreamResponse:
    """``GET /swarm/unlockkey``: empty while managers don't lock themselves."""
    cluster = _cluster(await manager_store(node_of(request)))
    key = given(cluster.internal, ClusterInternal()).unlock_key
    return reply(UnlockKeyAnswer(unlock_key=key))


async def unlock(request: web.Request) -> web.StreamResponse:
    """``POST /swarm/unlock``."""
    node = node_of(request)
    wanted = await body.read(request, UnlockRequest)
    state = node.state()
    if state == "inactive":
        raise ApiError(503, errors.NO_SWARM)
    if state != "locked":
        raise ApiError(409, errors.NOT_LOCKED)
    try:
        key = parse_unlock_key(given(wanted.unlock_key, ""))
    except InputError as error:
        raise errors.bad_request(str(error)) from None
    await node.unlock(key)
    return nothing()


def refuse_member(node: NodeControl, *, forced: bool) -> None:
    """Raise ApiError 503 if the node is in a swarm already and doesn't begin again by force."""
    state = node.state()
    if state == "inactive" or (forced and state != "locked" and node.is_manager()):
        return
    raise ApiError(503, errors.IN_SWARM)


def _cluster(store: Store) -> Cluster:
    cluster = store.cluster
    if cluster is None:
        raise ApiError(503, errors.NO_SWARM)
    return cluster


def _new_token(node: NodeControl, internal: ClusterInternal) -> str:
    return new_token(internal.ca_cert, node.rng)


def _why_stay(node: NodeControl) -> str:
    """Say what a manager's leaving would do, in Docker's sentences."""
    consequence = ""
    store = node.store
    if store is not None and node.leader_known():
        others = [
            given(one.manager_status, ManagerStatus()).reachability
            for one in store.nodes
            if one.id != node.node_id and given(one.manager_status, None) is not None
        ]
        reachable = 1 + sum(1 for one in others if one is Reachability.REACHABLE)
        unreachable = 1 + len(others) - reachable
        if (reachable, unreachable) == (1, 0):
            return errors.LEAVE_MANAGER + errors.LEAVE_LAST
        if reachable - 2 <= unreachable:
            consequence = errors.LEAVE_QUORUM.format(
                left=reachable - 1, all=reachable + unreachable
            )
    return errors.LEAVE_MANAGER + consequence + errors.LEAVE_ONLY_WAY


ROUTES = [
    Route("POST", "/swarm/init", init, INIT_DEADLINE_S),
    Route("POST", "/swarm/join", join, 2 * JOIN_WAIT_S),
    Route("POST", "/swarm/leave", leave, INIT_DEADLINE_S),
    Route("GET", "/swarm", inspect),
    Route("POST", "/swarm/update", update),
    Route("GET", "/swarm/unlockkey", unlock_key),
    Route("POST", "/swarm/unlock", unlock),
]
