"""What a node's log says of its tasks: each change of state, with the IDs to search by.

Called by the runner for every record that it keeps. Coming to run and every end is told; the steps
between only where the log's level is debug.
"""

from __future__ import annotations

import structlog

from swarmops.agent.records import Record
from swarmops.model.base import given
from swarmops.model.task import TaskState, TaskStatus

log = structlog.get_logger(__name__)


def tell(former: TaskStatus, record: Record, node_id: str) -> None:
    """Log the task's new state, if it has one."""
    status = record.status
    if status.state is former.state:
        return
    matters = status.state is TaskState.RUNNING or status.state.terminal
    (log.info if matters else log.debug)(
        f"task {status.state.value}",
        task=record.id,
        service=record.task.service_id,
        node=node_id,
        **({"error": given(status.err, "")} if given(status.err, "") else {}),
    )
