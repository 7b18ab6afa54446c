"""What lists show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from swarmops.errors import InputError
from swarmops.fleet.converge import missing_nodes, missing_tasks
from swarmops.fleet.rows import ago, natural, node_rows, port_text, service_rows, task_rows
from swarmops.fleet.scale import scaled
from swarmops.model.node import ManagerStatus, Node, NodeState, NodeStatus, Reachability, Role
from swarmops.model.service import (
    GlobalMode,
    PortConfig,
    ReplicatedJobMode,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    ServiceStatus,
)
from swarmops.model.task import Task, TaskState, TaskStatus

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_natural() -> None:
    """Names sort as people count."""
    names = ["host10", "host9", "a1b2", "host", "a1b10", "10", "9"]
    assert sorted(names, key=natural) == ["9", "10", "a1b2", "a1b10", "host", "host9", "host10"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (61, "1 minute ago"),
        (7200, "2 hours ago"),
        (86400 * 3, "3 days ago"),
        (86400 * 400, "1 year ago"),
        (-5, "just now"),
    ],
)
def test_ago(seconds: float, text: str) -> None:
    """Ages are in their largest unit, and a clock that is ahead is no reason to be odd."""
    assert ago(NOW, NOW - timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("port", "text"),
    [
        (PortConfig(target_port=80, published_port=8080), "*:8080->80/tcp"),
        (PortConfig(target_port=53, protocol="udp"), "53/udp"),
    ],
)
def test_port(port: PortConfig, text: str) -> None:
    """Ports are written as Docker writes them."""
    assert port_text(port) == text


def test_node_rows(fake: FakeSwarm) -> None:
    """Nodes are listed by host, with what they are among the managers."""
    fake.add("h10")
    fake.add("h2", manager=True)
    leader = fake.add("h1", manager=True)
    status = ManagerStatus(leader=True, reachability=Reachability.REACHABLE)
    fake.nodes[leader.id] = msgspec.structs.replace(leader, manager_status=status)
    rows = node_rows(fake.nodes.values())
    assert [(row.host, row.manager_status, row.role) for row in rows] == [
        ("h1", "Leader", "manager"),
        ("h2", "Reachable", "manager"),
        ("h10", "", "worker"),
    ]


def task(
    slot: int,
    state: TaskState,
    desired: TaskState = TaskState.RUNNING,
    *,
    err: str = "",
    age_s: int = 60,
    task_id: str = "",
) -> Task:
    """Make a task of service s1."""
    when = NOW - timedelta(seconds=age_s)
    return Task(
        id=task_id or f"t{slot}",
        created_at=when,
        service_id="s1",
        slot=slot,
        node_id="id-h1",
        status=TaskStatus(timestamp=when, state=state, err=err),
        desired_state=desired,
    )


def service(replicas: int = 2, mode: ServiceMode | None = None) -> Service:
    """Make service s1, called web."""
    replicated = ServiceMode(replicated=ReplicatedMode(replicas=replicas))
    return Service(id="s1", spec=ServiceSpec(name="web", mode=mode or replicated))


def test_task_rows() -> None:
    """Of each slot the newest task comes first, former ones are set below it."""
    tasks = [
        task(2, TaskState.RUNNING),
        task(1, TaskState.FAILED, TaskState.SHUTDOWN, err="exit 1", age_s=120, task_id="old"),
        task(1, TaskState.RUNNING, task_id="new"),
    ]
    rows = task_rows(tasks, {"s1": "web"}, {"id-h1": "h1"}, NOW)
    assert [(row.id, row.name, row.node, row.error) for row in rows] == [
        ("new", "web.1", "h1", ""),
        ("old", r" \_ web.1", "h1", "exit 1"),
        ("t2", "web.2", "h1", ""),
    ]
    assert rows[1].current_state == "Failed 2 minutes ago"


def test_service_rows() -> None:
    """Counts come from the service's status, and from its tasks where it has none."""
    counted = msgspec.structs.replace(
        service(), service_status=ServiceStatus(running_tasks=1, desired_tasks=4)
    )
    tasks = [task(1, TaskState.RUNNING), task(2, TaskState.STARTING)]
    assert service_rows([counted], [], [])[0].replicas == "1/4"
    assert service_rows([service()], tasks, [])[0].replicas == "1/2"


@pytest.mark.parametrize(
    ("mode", "desired", "shown"),
    [
        (
            ServiceMode(replicated_job=ReplicatedJobMode(max_concurrent=2, total_completions=5)),
            2,
            "1/2 (3/5 completed)",
        ),
        (ServiceMode(global_job=GlobalMode()), 1, "1/1 (3/4 completed)"),
    ],
)
def test_a_job_shows_how_far_it_is(mode: ServiceMode, desired: int, shown: str) -> None:
    """What may run at once, and behind it what is completed of what shall be, as Docker's CLI."""
    status = ServiceStatus(running_tasks=1, desired_tasks=desired, completed_tasks=3)
    job = msgspec.structs.replace(service(1, mode), service_status=status)
    assert service_rows([job], [], [])[0].replicas == shown


RUN = TaskState.RUNNING
JOB = ServiceMode(replicated_job=ReplicatedJobMode(total_completions=1))


@pytest.mark.parametrize(
    ("one", "tasks", "missing"),
    [
        (service(1), [task(1, RUN)], ""),
        (service(0), [], ""),
        (service(1), [], "web: 0 of 1 tasks run"),
        (service(1), [task(1, RUN), task(2, RUN)], "web: 2 of 1 tasks run"),
        (
            service(2),
            [task(1, RUN), task(2, TaskState.PENDING, err="no suitable node")],
            "web: 1 of 2 tasks run; web.2 is pending: no suitable node",
        ),
        (
            service(1),
            [task(1, TaskState.FAILED, TaskState.SHUTDOWN, err="exit 3"), task(1, TaskState.READY)],
            "web: 0 of 1 tasks run; web.1 is failed: exit 3",
        ),
        (service(1), [task(1, RUN, TaskState.SHUTDOWN)], "web: 0 of 1 tasks run"),
        (service(1, JOB), [task(1, TaskState.COMPLETE, TaskState.COMPLETE)], ""),
        (
            service(1, JOB),
            [task(1, RUN, TaskState.COMPLETE)],
            "web: 0 of 1 tasks are complete; web.1 is running",
        ),
    ],
)
def test_missing_tasks(one: Service, tasks: list[Task], missing: str) -> None:
    """What a service lacks is counted, and the first cause named."""
    wanted = 1 if one.spec.mode is JOB else _replicas(one)
    assert missing_tasks(one, tasks, wanted) == missing


def _replicas(one: Service) -> int:
    mode: Any = one.spec.mode
    return int(mode.replicated.replicas)


def test_missing_nodes(fake: FakeSwarm) -> None:
    """Each host whose node is not ready in its role is named with what it lacks."""
    fake.add("ok", manager=True)
    fake.add("down", state=NodeState.DOWN)
    fake.add("odd", state=NodeState.UNKNOWN)
    waiting: Node = fake.add("waiting")
    spec = msgspec.structs.replace(waiting.spec, role=Role.MANAGER)
    fake.nodes[waiting.id] = msgspec.structs.replace(
        waiting, spec=spec, status=NodeStatus(state=NodeState.READY)
    )
    hosts = ["ok", "down", "odd", "waiting", "none"]
    assert missing_nodes(fake.nodes.values(), hosts) == [
        "down is no node that answers",
        "odd is unknown",
        "waiting is not promoted yet",
        "none is no node that answers",
    ]


def test_scale() -> None:
    """Replicated services and jobs are scaled; what has one task on each node can't be."""
    assert _replicas(msgspec.structs.replace(service(), spec=scaled(5)(service().spec))) == 5
    job: Any = scaled(3)(service(1, JOB).spec).mode
    assert job.replicated_job.total_completions == 3
    with pytest.raises(InputError, match="web is a global service"):
        scaled(2)(service(1, ServiceMode(global_=GlobalMode())).spec)
