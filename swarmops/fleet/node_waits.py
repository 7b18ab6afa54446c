"""Wait, bounded, until a change of a node has really come true: its role, its drain.

Called by apply's steps and by ``destroy --limit``. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmops.errors import HostError
from swarmops.fleet.managers import Managers
from swarmops.fleet.roles import role_lack
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.node import NodeState, Role
from swarmops.model.task import Task, TaskState

ROLE_PATIENCE = Patience(bound_s=120)
DOWN_S = 10.0
"""A node that shall be a manager may be down for so long: it may be slow, or start again."""
DRAIN_PATIENCE = Patience(bound_s=120, period_s=0.3)


def tasks_left(tasks: Iterable[Task]) -> str:
    """Say how many of a node's tasks are still at work there, empty if none."""
    busy = [
        task
        for task in tasks
        if not task.status.state.terminal and task.status.state.rank >= TaskState.ASSIGNED.rank
    ]
    if not busy:
        return ""
    return f"{len(busy)} of its tasks still {'runs' if len(busy) == 1 else 'run'}"


def wait_for_role(
    managers: Managers, host: str, node_id: str, role: Role, patience: Patience | None = None
) -> None:
    """Return once a node is what it shall be.

    Raises HostError when time is up, sooner where a node that shall be a manager is down: its
    machine was lost meanwhile. Who is demoted needn't be there.
    """
    patience = patience or ROLE_PATIENCE
    seen_up_s = patience.clock()

    def lack() -> str:
        nonlocal seen_up_s
        node = managers.ask(lambda manager: manager.node(node_id))
        if node.status.state is not NodeState.DOWN or role is not Role.MANAGER:
            seen_up_s = patience.clock()
        elif patience.clock() - seen_up_s >= DOWN_S:
            raise HostError(
                host,
                "its node went down before it was a manager: bring it back, and it is made one",
            )
        return role_lack(node, role)

    if reason := wait_until(lack, patience):
        raise HostError(host, f"{reason}, after {patience.bound_s:g} s")


def wait_for_drain(
    managers: Managers, host: str, node_id: str, patience: Patience | None = None
) -> None:
    """Return once nothing is at work on a node, or it is down: then nobody knows.

    Raises HostError when time is up.
    """
    patience = patience or DRAIN_PATIENCE

    def left() -> str:
        if managers.ask(lambda manager: manager.node(node_id)).status.state is NodeState.DOWN:
            return ""
        return tasks_left(managers.ask(lambda manager: manager.tasks({"node": [node_id]})))

    if reason := wait_until(left, patience):
        raise HostError(
            host, f"after {patience.bound_s:g} s {reason}: see 'swarmops node ps {host}'"
        )
