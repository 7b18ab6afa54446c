"""Whether a node really is what it shall be: a promotion and a demotion take a moment.

Called by apply and by the one-off commands. Pure.
"""

from __future__ import annotations

from swarmops.model.base import given
from swarmops.model.node import Node, Reachability, Role


def role_lack(node: Node, role: Role) -> str:
    """Say what keeps a node from being a manager or a worker; empty if it is one."""
    status = given(node.manager_status, None)
    if role is Role.WORKER:
        if node.spec.role is role and status is None:
            return ""
        return "it is still a member of the managers' group"
    if node.spec.role is not role or status is None:
        return "it is no manager yet"
    if status.reachability is not Reachability.REACHABLE:
        return "it is not reachable as a manager yet"
    return ""
