"""One-off changes of nodes: promote, demote, pause, activate, remove; done when really so.

Called by ``swarmops node …``. A demotion is asynchronous in the swarm: this waits, bounded,
and says what it waited for in vain. ``drain`` has the one that takes as long as its tasks.
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
from swarmops.model.node import Availability, Node, NodeSpec, Role

ROLE_PATIENCE = Patience(bound_s=30)
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


def set_availability(swarm: Swarm, name: str, availability: Availability) -> bool:
    """Set a node's availability; return whether it was another before. Raises as ``set_role``."""

    def change(spec: NodeSpec) -> NodeSpec:
        return msgspec.structs.replace(spec, availability=availability)

    return swarm.client.change_node(_find(swarm, name).id, change)


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

    return through_changes(swarm, node_id, look)


def through_changes(swarm: Swarm, node_id: str, look: Callable[[], str]) -> str:
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
