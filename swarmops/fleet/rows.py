"""What lists show of nodes, services and tasks: one row of plain text per object, as Docker's.

Called by the CLI, which only lays them out; ``--format json`` prints the same rows. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET

from swarmops.fleet.names import host_of
from swarmops.model import defaults
from swarmops.model.base import ZERO_TIME, given
from swarmops.model.node import Node
from swarmops.model.service import PortConfig, Service
from swarmops.model.task import Task, TaskState


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One node."""

    id: str
    host: str
    hostname: str
    status: str
    availability: str
    role: str
    manager_status: str
    addr: str
    version: str


class ServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One service; ``replicas`` is running/wanted."""

    id: str
    name: str
    mode: str
    replicas: str
    image: str
    ports: str


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task; ``current_state`` says for how long."""

    id: str
    name: str
    image: str
    node: str
    desired_state: str
    current_state: str
    error: str
    ports: str


def node_rows(nodes: Iterable[Node]) -> list[NodeRow]:
    """Return a row per node, by the hosts' names."""
    return sorted((_node_row(node) for node in nodes), key=lambda row: natural(row.host))


def _node_row(node: Node) -> NodeRow:
    manager = given(node.manager_status, None)
    if manager is None:
        standing = ""
    elif manager.leader is True:
        standing = "Leader"
    else:
        standing = manager.reachability.value.capitalize()
    engine = given(node.description.engine, None)
    return NodeRow(
        id=node.id,
        host=host_of(node),
        hostname=given(node.description.hostname, ""),
        status=node.status.state.value.capitalize(),
        availability=node.spec.availability.value.capitalize(),
        role=node.spec.role.value,
        manager_status=standing,
        addr=given(node.status.addr, ""),
        version=given(engine.engine_version, "") if engine else "",
    )


def service_rows(
    services: Iterable[Service], tasks: Sequence[Task], nodes: Sequence[Node]
) -> list[ServiceRow]:
    """Return a row per service, by name; counts come from the service's status, else the tasks."""
    return sorted(
        (_service_row(service, tasks, nodes) for service in services),
        key=lambda row: natural(row.name),
    )


def _service_row(service: Service, tasks: Sequence[Task], nodes: Sequence[Node]) -> ServiceRow:
    spec = service.spec
    status = given(service.service_status, None)
    if status is not None:
        running, wanted = status.running_tasks, status.desired_tasks
    else:
        running = len(running_tasks(service, tasks))
        wanted = defaults.replicas(spec) if defaults.mode_name(spec) == "replicated" else len(nodes)
    return ServiceRow(
        id=service.id,
        name=given(spec.name, ""),
        mode=defaults.mode_name(spec),
        replicas=f"{running}/{wanted}{_completed(service)}",
        image=defaults.image(defaults.task_spec(spec)),
        ports=", ".join(port_text(port) for port in defaults.ports(spec)),
    )


def _completed(service: Service) -> str:
    """Return how far a job is, as Docker writes it behind its replicas; empty for what is none."""
    mode = defaults.mode_name(service.spec)
    status = given(service.service_status, None)
    if status is None or mode not in {"replicated-job", "global-job"}:
        return ""
    done = status.completed_tasks
    replicated = mode == "replicated-job"
    total = defaults.total_completions(service.spec) if replicated else status.desired_tasks + done
    return f" ({done}/{total} completed)"


def running_tasks(service: Service, tasks: Iterable[Task]) -> list[Task]:
    """Return a service's tasks that run and shall run."""
    return [
        task
        for task in tasks
        if task.service_id == service.id
        and task.desired_state is TaskState.RUNNING
        and task.status.state is TaskState.RUNNING
    ]


def task_rows(
    tasks: Iterable[Task],
    services: Mapping[str, str],
    nodes: Mapping[str, str],
    now: datetime,
) -> list[TaskRow]:
    """Return a row per task, newest of each slot first; the maps go from IDs to names."""
    ordered = sorted(tasks, key=lambda task: task.created_at, reverse=True)
    ordered.sort(key=lambda task: natural(task_label(task, services, nodes)))
    rows = []
    previous = None
    for task in ordered:
        label = task_label(task, services, nodes)
        image = given(defaults.container_spec(task.spec).image, "")
        rows.append(
            TaskRow(
                id=task.id,
                name=f" \\_ {label}" if label == previous else label,
                image=image,
                node=nodes.get(given(task.node_id, ""), given(task.node_id, "")),
                desired_state=task.desired_state.value.capitalize(),
                current_state=_state_text(task, now),
                error=given(task.status.err, ""),
                ports=", ".join(
                    port_text(port) for port in given(task.status.port_status.ports, [])
                ),
            )
        )
        previous = label
    return rows


def task_label(task: Task, services: Mapping[str, str], nodes: Mapping[str, str]) -> str:
    """Return ``service.slot``, or ``service.host`` for a task of a global service."""
    service = services.get(task.service_id, task.service_id)
    node_id = given(task.node_id, "")
    place = given(task.slot, 0) or nodes.get(node_id, node_id)
    return f"{service}.{place}"


def _state_text(task: Task, now: datetime) -> str:
    state = task.status.state.value.capitalize()
    since = task.status.timestamp
    return state if since == ZERO_TIME else f"{state} {ago(now, since)}"


def port_text(port: PortConfig) -> str:
    """Return a published port as Docker writes it: ``*:8080->80/tcp``."""
    protocol = given(port.protocol, "tcp")
    target = given(port.target_port, 0)
    if port.published_port is UNSET or not port.published_port:
        return f"{target}/{protocol}"
    return f"*:{port.published_port}->{target}/{protocol}"


_UNITS = ((86400 * 365, "year"), (86400 * 30, "month"), (86400 * 7, "week"), (86400, "day"))
_SHORT_UNITS = ((3600, "hour"), (60, "minute"), (1, "second"))


def ago(now: datetime, then: datetime) -> str:
    """Return how long ago something was, in its largest unit: ``3 minutes ago``."""
    elapsed_s = int((now - then).total_seconds())
    for unit_s, unit in _UNITS + _SHORT_UNITS:
        count = elapsed_s // unit_s
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def natural(name: str) -> list[str | int]:
    """Return a sort key that puts ``host10`` after ``host9``: texts and numbers in turn."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]
