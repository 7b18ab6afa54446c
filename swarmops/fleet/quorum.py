"""Raft's arithmetic: how many managers must answer, and whether one may come, go or restart.

Called by the planner, and by apply just before each step that has a gate; pure. The rules are
SwarmKit's (``CanRemoveMember``), and stricter where they let a healthy swarm become fragile.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from swarmops.fleet.steps import Gate
from swarmops.model.base import given
from swarmops.model.node import Node, NodeState, Reachability, Role


def quorum(managers: int) -> int:
    """Return how many of so many managers must answer."""
    return managers // 2 + 1


def tolerance(managers: int) -> int:
    """Return how many of so many managers may be lost."""
    return managers - quorum(managers)


def is_manager(node: Node) -> bool:
    """Say whether a node is a member of the managers' group, or is on its way in or out."""
    return node.spec.role is Role.MANAGER or given(node.manager_status, None) is not None


def is_reachable(node: Node) -> bool:
    """Say whether a manager answers."""
    status = given(node.manager_status, None)
    return status is not None and status.reachability is Reachability.REACHABLE


def is_heard(node: Node) -> bool:
    """Say whether the swarm still hears a node, or has not yet found that it doesn't."""
    return node.status.state is not NodeState.DOWN or is_reachable(node)


def is_leader(node: Node) -> bool:
    """Say whether a node leads."""
    status = given(node.manager_status, None)
    return status is not None and given(status.leader, False)


class Members(msgspec.Struct, frozen=True):
    """How many managers there are, and how many of them answer."""

    count: int
    reachable: int

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Members:
        """Count the managers among nodes."""
        managers = [node for node in nodes if is_manager(node)]
        return cls(len(managers), sum(map(is_reachable, managers)))

    @property
    def healthy(self) -> bool:
        """All of them answer."""
        return self.reachable == self.count

    def may_add(self) -> bool:
        """Say whether one more may come: those there must be a quorum of the larger group.

        So a newcomer that never answers costs nothing. One manager alone can't meet that; it must
        become two to ever become three.
        """
        return self.count <= 1 or self.reachable >= quorum(self.count + 1)

    def may_remove_dead(self) -> bool:
        """Say whether one that doesn't answer may go: the others must be a quorum without it."""
        return self.count > 1 and self.reachable >= quorum(self.count - 1)

    def may_remove_live(self) -> bool:
        """Say whether one that answers may go: all others must answer too."""
        return self.count > 1 and self.healthy

    def plus(self) -> Members:
        """Return the group with one more that answers."""
        return Members(self.count + 1, self.reachable + 1)

    def minus(self, *, live: bool) -> Members:
        """Return the group with one less."""
        return Members(self.count - 1, self.reachable - live)


def _may_restart(node: Node, members: Members) -> bool:
    """Say whether a manager may be away for a moment: all others must answer.

    So the rest is a quorum, of five and more also if another dies just then. Of one or two managers
    it can't be helped; and one that the others don't hear costs nothing: its restart may cure it.
    """
    return members.count <= 2 or members.healthy or not is_reachable(node)  # noqa: PLR2004 - two


def gate_refusal(gate: Gate, nodes: Iterable[Node], node_id: str = "") -> str | None:
    """Return why a step with this gate may not be done now, None if it may.

    ``nodes`` are all nodes as the swarm tells them now, ``node_id`` the one that the step is about.
    """
    nodes = list(nodes)
    members = Members.of(nodes)
    said = f"{members.reachable} of {members.count} managers answer"
    if gate is Gate.ADD_MANAGER and not members.may_add():
        return f"a new manager could cost the quorum ({said}): bring the others back first"
    node = next((node for node in nodes if node.id == node_id), None)
    if node is None or not is_manager(node):
        return None
    if gate is Gate.RESTART_MANAGER and not _may_restart(node, members):
        return f"its restart could cost the quorum ({said}): bring the others back first"
    if gate is Gate.REMOVE_MANAGER:
        if members.count == 1:
            return "it is the last manager: make another one first"
        live = is_reachable(node)
        if not (members.may_remove_live() if live else members.may_remove_dead()):
            return f"its demotion could cost the quorum ({said}): bring the others back first"
    return None
