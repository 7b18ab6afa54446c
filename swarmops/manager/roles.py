"""The role manager: makes nodes what their specs say, in the one order that is safe.

Runs on the leader. Promotion lets the node have a manager's certificate; its own runtime then joins
the group. Demotion removes the member first and changes the role only then, so that no node without
the role can vote. It also writes what the group knows of each manager into its node object.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.errors import SwarmopsError
from swarmops.manager.loop import LoopContext
from swarmops.manager.timing import until_beat_s
from swarmops.model.base import given
from swarmops.model.node import ManagerStatus, Node, NodeInternal, Reachability, Role
from swarmops.raft.seam import Member, Status
from swarmops.store import NotFound

_GONE = Reachability.UNREACHABLE

log = structlog.get_logger(__name__)


async def manage_roles(context: LoopContext) -> None:
    """Compare nodes and group until cancelled, soon after each change of a node."""
    store = context.store
    with store.watch("nodes") as watch:
        dirty = {node.id for node in store.nodes}
        while True:
            dirty = await _compare(context, dirty)
            now_s = asyncio.get_running_loop().time()
            pause_s = until_beat_s(_period_s(context, failed=bool(dirty)), now_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await watch.wait()
                    await asyncio.sleep(context.timing.debounce_s)
            events, resync = watch.take()
            changed = (event.new for event in events)
            dirty |= {node.id for node in (store.nodes if resync else changed) if node}


def _period_s(context: LoopContext, *, failed: bool) -> float:
    """Return how long to let the group be before it is looked at though no node changed."""
    if failed:
        return context.timing.demote_retry_s
    status = context.raft.status()
    joining = any(member.raft_id in status.reachable for member in status.learners)
    return context.timing.joining_s if joining else context.timing.sweep_s


async def _compare(context: LoopContext, node_ids: Iterable[str]) -> set[str]:
    """Do what is to do about these nodes and the group's; return those of which it failed."""
    failed = set()
    joined = {member.node_id for member in context.raft.status().members}
    for node_id in sorted(joined.union(node_ids)):
        node = context.store.nodes.get(node_id)
        if node is None:
            continue
        role = given(node.internal, NodeInternal()).role
        if node.spec.role is Role.MANAGER and role is Role.WORKER:
            await _set_role(context, node, Role.MANAGER)
        elif (
            node.spec.role is Role.WORKER
            and (role is Role.MANAGER or node.id in joined)
            and not await _demote(context, node)
        ):
            failed.add(node.id)
    failed |= await _remove_strangers(context)
    await _write_statuses(context)
    return failed


async def _demote(context: LoopContext, node: Node) -> bool:
    """Take the node out of the group, then take the role."""
    for member in _members(context, node.id):
        if node.id == context.node_id:
            if await _tried(
                context.raft.transfer_leadership(), "can't hand over the lead", node.id
            ):
                log.info("handed over the lead before its own demotion", node=node.id)
            return False
        removal = context.raft.remove_member(member.raft_id)
        if not await _tried(removal, "can't demote", node.id):
            return False
    await _set_role(context, node, Role.WORKER)
    return True


async def _remove_strangers(context: LoopContext) -> set[str]:
    """Remove members whose node object was deleted; return those that could not be."""
    store = context.store
    failed = set()
    for member in context.raft.status().members:
        if member.node_id in store.nodes or member.node_id == context.node_id:
            continue
        log.info("removing a member whose node is gone", node=member.node_id)
        removal = context.raft.remove_member(member.raft_id)
        if not await _tried(removal, "can't remove a member", member.node_id):
            failed.add(member.node_id)
    return failed


async def _tried(change: Awaitable[object], failure: str, node_id: str) -> bool:
    """Wait for a change of the group; log it if it is refused, and say so."""
    try:
        await change
    except SwarmopsError as error:
        log.warning(failure, node=node_id, error=str(error))
        return False
    return True


async def _set_role(context: LoopContext, node: Node, role: Role) -> None:
    """Write the observed role; a worker has no member and no standing in the group."""

    def change(stored: Node) -> Node:
        internal = replace(given(stored.internal, NodeInternal()), role=role)
        if stored.spec.role is not role:
            return stored
        if role is Role.MANAGER:
            return replace(stored, internal=internal)
        return replace(stored, internal=replace(internal, raft_id=""), manager_status=UNSET)

    await _modify(context, node.id, change)
    log.info("role changed", node=node.id, role=role.value)


async def _write_statuses(context: LoopContext) -> None:
    """Write leader, reachability and address of each manager where they changed."""
    status = context.raft.status()
    if not status.is_leader:
        return
    members = {member.node_id: member for member in status.members}
    for node in list(context.store.nodes.by_role(Role.MANAGER)):
        seen = _standing(status, members.get(node.id), node)
        if seen is not None and node.manager_status != seen:
            await _modify(context, node.id, partial(_with_standing, seen=seen))


def _standing(status: Status, member: Member | None, node: Node) -> ManagerStatus | None:
    """Return what to show of a manager; nothing of one that has not joined yet."""
    if member is None:
        shown = given(node.manager_status, None)
        return replace(shown, leader=UNSET, reachability=_GONE) if shown else None
    if member not in status.voters:
        reachability = Reachability.UNKNOWN
    elif member.raft_id in status.reachable:
        reachability = Reachability.REACHABLE
    else:
        reachability = _GONE
    leader = True if member.raft_id == status.leader else UNSET
    return ManagerStatus(leader=leader, reachability=reachability, addr=member.addr)


def _with_standing(node: Node, *, seen: ManagerStatus) -> Node:
    if given(node.internal, NodeInternal()).role is not Role.MANAGER:
        return node
    return replace(node, manager_status=seen)


async def _modify(context: LoopContext, node_id: str, change: Callable[[Node], Node]) -> None:
    try:
        await context.store.modify(context.store.nodes, node_id, change, fence=context.fence)
    except NotFound:
        return


def _members(context: LoopContext, node_id: str) -> list[Member]:
    return [each for each in context.raft.status().members if each.node_id == node_id]
