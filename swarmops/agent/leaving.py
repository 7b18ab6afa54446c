"""How long a task with published ports goes on before it is stopped, so that no client notices.

Every node passes connections on to the task until its table is without it. Pure; asked by
``runner``. A table that is later still finds the task refusing, and tries another one.
"""

from __future__ import annotations

from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.task import PortStatus, Task, TaskInternal, TaskStatus

LEAVE_S = 0.25
LEAVE_S_MAX = 2.0
"""As long as Docker waits."""
LEAVE_PERIODS = 0.25


def leave_s(task: Task, heartbeat_period_s: float) -> float:
    """Return how long a task runs on that shall stop, after its node has heard of it.

    Managers send the new tables ahead of that news, to a few nodes at a time. The more nodes there
    are the longer this takes, and the longer is the period of their heartbeats.
    """
    if not _is_passed_on_to(task):
        return 0.0
    return min(max(LEAVE_S, LEAVE_PERIODS * heartbeat_period_s), LEAVE_S_MAX)


def unhealthy_leave_s(task: Task) -> float:
    """Return how long an unhealthy task runs on: the swarm has yet to hear of it."""
    return LEAVE_S_MAX if _is_passed_on_to(task) else 0.0


def out_of_tables(status: TaskStatus) -> TaskStatus:
    """Return the status of a task that runs, but to which nobody passes on any more."""
    return replace(status, port_status=PortStatus())


def _is_passed_on_to(task: Task) -> bool:
    ports = given(task.internal, TaskInternal()).ports
    return any((given(port.publish_mode, "") or "ingress") == "ingress" for port in ports)
