"""The lists that need several reads of the API: services with counts, tasks with names.

Called by the CLI; each returns rows, ready to be laid out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from swarmops.client import Client
from swarmops.errors import InputError
from swarmops.fleet.access import Swarm
from swarmops.fleet.names import find_node, host_of
from swarmops.fleet.nearest import did_you_mean
from swarmops.fleet.rows import ServiceRow, TaskRow, service_rows, task_rows
from swarmops.model.base import given
from swarmops.model.service import Service
from swarmops.model.task import Task


def all_services(client: Client) -> list[ServiceRow]:
    """Return a row per service."""
    return service_rows(client.services(status=True), [], [])


def tasks_of_nodes(swarm: Swarm, names: Iterable[str], now: datetime) -> list[TaskRow]:
    """Return the tasks on the named nodes. Raises InputError for an unknown name."""
    nodes = swarm.client.nodes()
    ids = [find_node(nodes, name, swarm.hosts).id for name in names]
    return _task_rows(swarm.client, swarm.client.tasks({"node": ids}), now)


def tasks_of_services(client: Client, names: Sequence[str], now: datetime) -> list[TaskRow]:
    """Return the tasks of the named services. Raises InputError for an unknown name."""
    services = client.services()
    ids = [find_service(services, name).id for name in names]
    return _task_rows(client, client.tasks({"service": ids}), now)


def find_service(services: Sequence[Service], name: str) -> Service:
    """Return the one service that a name, an ID or its prefix means; else raise InputError."""
    for found in (
        [service for service in services if name in {service.spec.name, service.id}],
        [service for service in services if name and service.id.startswith(name)],
    ):
        if len(found) == 1:
            return found[0]
    known = {given(service.spec.name, service.id) for service in services}
    raise InputError(f"no service is called '{name}': {did_you_mean(name, known)}")


def _task_rows(client: Client, tasks: Iterable[Task], now: datetime) -> list[TaskRow]:
    services = {one.id: given(one.spec.name, one.id) for one in client.services()}
    nodes = {node.id: host_of(node) for node in client.nodes()}
    return task_rows(tasks, services, nodes, now)
