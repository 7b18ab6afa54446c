"""One-off changes of nodes: promote, demote, drain, pause, activate, remove; done when really so.

Called by ``swarmops node …``. A demotion is asynchronous in the swarm, and a drain takes as long as
its tasks: these wait, bounded, and say what they waited for in vain.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from swarmops.client import UnreachableError
from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.access import Swarm
from swarmops.fleet.names import find_node, host_of
from swarmops.fleet.roles import role_lack
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.node import Availability, Node, NodeSpec, NodeState, Role
from swarmops.model.task import TaskState

ROLE_PATIENCE = Patience(bound_s=30)
DRAIN_PATIENCE = Patience(bound_s=120)
_NO_MANAGER = 503


def set_role(swarm: Swarm, name: str, role: Role, patience: Patience = ROLE_PATIENCE) -> bool:
    """Promote or demote a node and wait until it is one; return whether it wasn't already.

    Raises ApiError where the swarm refuses, SwarmopsError when it isn't done in time.
    """
    node = _find(swarm, name)
    if not role_lack(node, role):
        return False
    swarm.client.change_node(node.id, lambda spec: msgspec.structs.replace(spec, role=role))
    left = wait_until(lambda: _role_missing(swarm, node.id, role), patience)
    if left:
        doing = "promoted" if role is Role.MANAGER else "demoted"
        raise SwarmopsError(
            f"{host_of(node)} is still not {doing} after {patience.bound_s:g} s: {left}; "
            "the swarm goes on trying"
        )
    return True


def set_availability(
    swarm: Swarm, name: str, availability: Availability, patience: Patience = DRAIN_PATIENCE
) -> bool:
    """Set a node's availability; of a drain wait until its tasks have ended.

    Return whether it was another before. Raises as ``set_role``.
    """
    node = _find(swarm, name)

    def change(spec: NodeSpec) -> NodeSpec:
        return msgspec.structs.replace(spec, availability=availability)

    changed = swarm.client.change_node(node.id, change)
    if availability is Availability.DRAIN and node.status.state is not NodeState.DOWN:
        left = wait_until(lambda: _tasks_left(swarm, node.id), patience)
        if left:
            raise SwarmopsError(
                f"{host_of(node)} is not empty after {patience.bound_s:g} s: {left}; "
                "the swarm goes on draining it"
            )
    return changed


def remove(swarm: Swarm, name: str, *, force: bool) -> str:
    """Make the swarm forget a node; return its host's name. Raises ApiError where refused."""
    node = _find(swarm, name)
    swarm.client.remove_node(node.id, force=force)
    return host_of(node)


def _find(swarm: Swarm, name: str) -> Node:
    return find_node(swarm.client.nodes(), name, swarm.hosts)


def _role_missing(swarm: Swarm, node_id: str, role: Role) -> str:
    def look() -> str:
        return role_lack(swarm.client.node(node_id), role)

    return _through_changes(swarm, node_id, look)


def _tasks_left(swarm: Swarm, node_id: str) -> str:
    def look() -> str:
        tasks = swarm.client.tasks({"node": [node_id]})
        left = [t for t in tasks if not t.status.state.terminal and _counts(t.status.state)]
        return f"{len(left)} tasks have not ended" if left else ""

    return _through_changes(swarm, node_id, look)


def _counts(state: TaskState) -> bool:
    return state.rank >= TaskState.ASSIGNED.rank


def _through_changes(swarm: Swarm, node_id: str, look: Callable[[], str]) -> str:
    """Look; when the manager in use has stopped being one, which a demotion may do, find another.

    Behind this machine's own socket there is no other: a node that says of itself that it is a
    worker now has been demoted.
    """
    try:
        return look()
    except (ApiError, UnreachableError) as error:
        if isinstance(error, ApiError) and error.status != _NO_MANAGER:
            raise
        reason = str(error)
    if swarm.inventory is None:
        try:
            info = swarm.client.info().swarm
        except UnreachableError as error:
            return str(error)
        mine = info.node_id == node_id and info.local_node_state == "active"
        return "" if mine and not info.control_available else reason
    try:
        swarm.reconnect()
    except SwarmopsError as error:
        return str(error)
    return reason
