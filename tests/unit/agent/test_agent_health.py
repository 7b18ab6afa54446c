"""An agent and its tasks' health: they run once they are healthy, and leave before they stop."""

# ruff: noqa: F811 - arguments are the fixtures of the same names

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from swarmops.agent import leaving
from swarmops.model.service import PortConfig
from swarmops.model.task import TaskState
from tests.unit.agent.agent_bench import (
    Bench,
    bench,  # noqa: F401 - a fixture
)
from tests.unit.agent.conftest import make_task

S = TaskState


async def test_a_task_runs_once_it_is_healthy(bench: Bench):
    """STARTING lasts until the executor says so; where it listens is known by then."""
    bench.executor.health.clear()
    bench.executor.warning = "without its limits"
    task = make_task(ports=[PortConfig(target_port=80, published_port=4711)])
    await bench.start(task)
    await bench.manager.until(lambda: ("healthy", task.id) in bench.executor.calls)
    await bench.manager.reported(task, S.STARTING)
    await bench.manager.until(lambda: bench.manager.last(task).port_status.ports)
    assert bench.manager.last(task).state is S.STARTING
    bench.executor.health.set()
    status = await bench.manager.reported(task, S.RUNNING)
    assert status.message == "started, without its limits"
    assert status.port_status.ports == [PortConfig(target_port=80, published_port=4711)]


async def test_a_task_that_starts_unhealthy_fails(bench: Bench):
    """It never was RUNNING, and the error has Docker's words."""
    bench.executor.ill = "dockerexec: unhealthy container"
    task = make_task()
    await bench.start(task)
    status = await bench.manager.reported(task, S.FAILED)
    assert status.err == "task: non-zero exit (143): dockerexec: unhealthy container"
    assert ("stop SIGTERM 10", task.id) in bench.executor.calls
    assert S.RUNNING not in bench.manager.states(task)


async def test_an_unhealthy_task_gets_no_new_connections_while_it_is_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """The swarm hears that it has no ports any more, and then has time to tell every node."""
    monkeypatch.setattr(leaving, "LEAVE_S_MAX", 0.5)
    task = make_task(ports=[PortConfig(target_port=80, published_port=4711)])
    await bench.start(task)
    assert (await bench.manager.reported(task, S.RUNNING)).port_status.ports
    bench.executor.sicken(task, "unhealthy task")
    await bench.manager.until(lambda: not bench.manager.last(task).port_status.ports)
    assert bench.manager.last(task).state is S.RUNNING
    assert bench.executor.calls[-1] == ("healthy", task.id)
    status = await bench.manager.reported(task, S.FAILED)
    assert status.err == "task: non-zero exit (143): unhealthy task"
    assert bench.executor.calls[-1] == ("stop SIGTERM 10", task.id)


async def test_an_unhealthy_task_that_no_table_has_is_stopped_at_once(bench: Bench):
    """Its port in host mode is its own, and is shown until it has ended."""
    port = PortConfig(target_port=80, published_port=4711, publish_mode="host")
    task = make_task(ports=[port])
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.executor.sicken(task, "unhealthy task")
    status = await bench.manager.reported(task, S.FAILED, within_s=leaving.LEAVE_S_MAX / 2)
    assert status.port_status.ports == [port]


async def test_a_daemon_that_dies_before_it_stops_an_unhealthy_task_tests_it_anew(bench: Bench):
    """Whatever comes of that: it is known where the task listens."""
    task = make_task(ports=[PortConfig(target_port=80, published_port=4711)])
    await bench.start(task)
    await bench.manager.reported(task, S.RUNNING)
    bench.executor.sicken(task, "unhealthy task")
    await bench.manager.until(lambda: not bench.manager.last(task).port_status.ports)
    await bench.stop()
    bench.executor.running[task.id] = asyncio.get_running_loop().create_future()
    await bench.start(task)
    await bench.manager.until(lambda: bench.manager.last(task).port_status.ports)
    assert bench.manager.last(task).state is S.RUNNING


@pytest.mark.parametrize(
    ("mode", "period_s", "wait_s"),
    [
        ("ingress", 1.0, 0.25),
        ("ingress", 5.0, 1.25),
        ("ingress", 30.0, 2.0),
        ("host", 5.0, 0.0),
    ],
)
def test_the_more_nodes_have_a_table_the_longer_a_task_is_left_running(
    mode: str, period_s: float, wait_s: float
):
    """The heartbeats' period says how many there are; nobody's table has a port in host mode."""
    task = make_task(ports=[PortConfig(target_port=80, publish_mode=mode)])
    assert leaving.leave_s(task, period_s) == wait_s


async def test_a_task_that_is_not_yet_healthy_can_be_stopped(bench: Bench):
    """A shutdown does not wait for health."""
    bench.executor.health.clear()
    task = make_task()
    await bench.start(task)
    await bench.manager.until(lambda: ("healthy", task.id) in bench.executor.calls)
    bench.manager.assign(replace(task, desired_state=S.SHUTDOWN))
    await bench.manager.reported(task, S.SHUTDOWN)
