"""A service's output with names: which task said a line, and on which host.

Called by the CLI; reads on as long as the swarm sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from swarmops.client import Client
from swarmops.errors import ApiError
from swarmops.fleet.lists import find_service
from swarmops.fleet.names import host_of
from swarmops.model.base import given

_NOT_FOUND = 404


class ShownLine(NamedTuple):
    """A line as it is shown; ``origin`` is ``web.1@host``, empty for a terminal's output."""

    origin: str
    time: str
    data: bytes
    stderr: bool


def service_lines(
    client: Client, name: str, *, follow: bool, tail: int | None, since: str, timestamps: bool
) -> Iterator[ShownLine]:
    """Iterate over a service's lines.

    Raises InputError for an unknown name, IncompleteLogsError at the end if something is missing.
    """
    service = find_service(client.services(), name)
    shown = given(service.spec.name, service.id)
    slots = {
        task.id: str(given(task.slot, "") or task.id[:12])
        for task in client.tasks({"service": [service.id]})
    }
    hosts = {node.id: host_of(node) for node in client.nodes()}
    for entry in client.service_logs(
        service.id, follow=follow, tail=tail, since=since, timestamps=timestamps
    ):
        if entry.task_id and entry.task_id not in slots:
            slots[entry.task_id] = _slot(client, entry.task_id)
        host = hosts.get(entry.node_id, entry.node_id[:12])
        origin = f"{shown}.{slots[entry.task_id]}@{host}" if entry.task_id else ""
        yield ShownLine(origin, entry.time, entry.data, stderr=entry.stream == 2)  # noqa: PLR2004 - Docker's number


def _slot(client: Client, task_id: str) -> str:
    try:
        return str(given(client.task(task_id).slot, "") or task_id[:12])
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return task_id[:12]
