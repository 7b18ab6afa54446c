"""What a swarm of real hosts bears: killed daemons, machines without power, reboots.

The tests share one swarm of five hosts and each leaves it whole.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.lab import faults
from tests.lab.hosts import run_in
from tests.lab.lab import Lab
from tests.lab.swarm import (
    UNIT,
    NoManagerError,
    Swarm,
    answers,
    ask,
    daemon_pid,
    formed,
    kill_daemon,
    processes,
    web,
)
from tests.lab.waiting import wait_for

REPLICAS = 10
WRITE_WITHIN_S = 5.0
MOVED_WITHIN_S = 15.0
SLOTS = 4
ROLLING: dict[str, Any] = {
    "Name": "rolling",
    "TaskTemplate": {"ContainerSpec": {"Image": "host", "Command": ["sleep", "1000"]}},
    "Mode": {"Replicated": {"Replicas": SLOTS}},
    "UpdateConfig": {"Parallelism": 1, "Delay": 3 * 10**9, "Monitor": 10**9},
}
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three managers, two workers, ten tasks."""
    playbook = {"swarm": {"managers": 3}, "services": {"web": web(REPLICAS)}}
    with formed(lab, tmp_path_factory, "faults", playbook, count=5) as swarm:
        yield swarm


@pytest.fixture(autouse=True)
def whole(swarm: Swarm) -> None:
    """Each test begins with five ready nodes and ten tasks, and these are what really runs."""
    swarm.settle()
    wait_for(lambda: len(placed(swarm)) == REPLICAS, "all tasks running", within_s=30)
    wait_for(
        lambda: {process.task for process in processes(swarm.hosts)} == set(placed(swarm)),
        "the swarm to tell what runs",
        within_s=30,
    )


def placed(swarm: Swarm) -> dict[str, str]:
    """Return where the tasks are that run on nodes that are up."""
    try:
        up = {n for n, node in swarm.nodes().items() if node["Status"]["State"] == "ready"}
        return {task: host for task, host in swarm.placed().items() if host in up}
    except NoManagerError:
        return {}


def test_a_write_is_accepted_soon_after_the_leader_was_killed(
    swarm: Swarm, record_testsuite_property: Record
) -> None:
    """Kill -9 of the leader's daemon: another manager takes a write; systemd brings it back.

    No task is restarted, neither the leader host's nor any other's.
    """
    with swarm.patient():
        tasks = processes(swarm.hosts)
        leader = swarm.leader()
        other = next(swarm[name] for name in swarm.managers() if name != leader.name)
        (killed,) = kill_daemon(leader)
        began = time.monotonic()
        wait_for(
            lambda: swarm.write_label(other, f"after {killed}"), "a write", within_s=WRITE_WITHIN_S
        )
        record_testsuite_property("leader_killed_s", round(time.monotonic() - began, 2))
        again = wait_for(lambda: daemon_pid(leader), "systemd to start it again", within_s=15)
        assert again != killed
        swarm.settle()
        assert swarm.nodes()[other.name]["Spec"]["Labels"]["probe"] == f"after {killed}"
        assert processes(swarm.hosts) == tasks


def test_an_update_goes_on_under_another_leader(swarm: Swarm) -> None:
    """Kill -9 of the leader amid it: every slot gets its new task once, the delay in between."""
    leader = swarm.leader()
    at = next(swarm[name] for name in swarm.managers() if name != leader.name)
    made: dict[str, dict[str, Any]] = {}
    """The new tasks by their IDs."""

    def state() -> str | None:
        (listed, tasks), (found, service) = (
            swarm.ask(at, "GET", path) for path in ("/tasks", "/services/rolling")
        )
        if listed != found or listed != 200:
            return None
        made.update({t["ID"]: t for t in tasks if t["Spec"].get("ForceUpdate") == 1})
        return str((service.get("UpdateStatus") or {}).get("State"))

    with swarm.patient():
        assert swarm.ask(at, "POST", "/services/create", ROLLING)[0] == 201
        try:
            wait_for(lambda: len(swarm.placed("rolling")) == SLOTS, "its tasks", within_s=30)
            _, service = swarm.ask(at, "GET", "/services/rolling")
            path = f"/services/rolling/update?version={service['Version']['Index']}"
            template = {**ROLLING["TaskTemplate"], "ForceUpdate": 1}
            assert swarm.ask(at, "POST", path, {**ROLLING, "TaskTemplate": template})[0] == 200
            wait_for(lambda: state() == "updating" and made, "the first new task", within_s=30)
            assert len(made) < SLOTS
            kill_daemon(leader)
            wait_for(lambda: state() == "completed", "the update's end", within_s=60)
        finally:
            swarm.ask(at, "DELETE", "/services/rolling")
        swarm.settle()
    assert sorted(task["Slot"] for task in made.values()) == list(range(1, SLOTS + 1))
    when = sorted(_when(task) for task in made.values())
    assert all((after - before).total_seconds() > 3 for before, after in pairwise(when))


def _when(task: dict[str, Any]) -> datetime:
    """Return when a task was made, to the microsecond."""
    return datetime.fromisoformat(task["CreatedAt"][:26].rstrip("Z"))


def test_a_workers_killed_daemon_finds_its_tasks_again_and_reports_their_end(
    swarm: Swarm,
) -> None:
    """Kill -9 of a worker's daemon: same processes after; a task that then dies is replaced."""
    worker = swarm["host5"]
    tasks = processes([worker])
    assert tasks
    with swarm.patient():
        (killed,) = kill_daemon(worker)
        assert processes([worker]) == tasks
        wait_for(lambda: daemon_pid(worker) not in {0, killed}, "a new daemon", within_s=15)
        swarm.settle()
        assert processes(swarm.hosts) >= tasks
    victim = min(tasks)
    run_in(worker, "kill", "-9", str(victim.pid))
    wait_for(lambda: _failed(swarm, victim.task) == 137, "its exit code", within_s=15)
    wait_for(lambda: len(placed(swarm)) == REPLICAS, "its replacement", within_s=20)


def test_a_task_that_ends_while_the_daemon_is_down_is_reported_later(swarm: Swarm) -> None:
    """Its exit code waits on disk for the daemon."""
    worker = swarm["host4"]
    victim = min(processes([worker]))
    run_in(worker, "systemctl", "stop", UNIT)
    run_in(worker, "kill", "-9", str(victim.pid))
    wait_for(lambda: victim not in processes([worker]), "the task's end", within_s=5)
    run_in(worker, "systemctl", "start", UNIT)
    wait_for(lambda: _failed(swarm, victim.task) == 137, "its exit code", within_s=15)


def _failed(swarm: Swarm, task: str) -> int | None:
    """Return the exit code of a task that has failed."""
    for host in swarm.hosts:
        code, answer = ask(host, "GET", f"/tasks/{task}")
        if code == 200 and answer["Status"]["State"] == "failed":
            return int(answer["Status"]["ContainerStatus"]["ExitCode"])
    return None


def test_a_lost_workers_tasks_run_elsewhere_and_it_rejoins_without_help(
    swarm: Swarm, record_testsuite_property: Record
) -> None:
    """Power off: DOWN, and its tasks move. Power on: READY again, nobody did anything."""
    lost = swarm["host5"]
    others = [host for host in swarm.hosts if host != lost]
    began = time.monotonic()
    faults.power_off(lost)
    try:
        wait_for(lambda: _state(swarm, lost.name) == "down", "it to be down", within_s=10)
        record_testsuite_property("down_s", round(time.monotonic() - began, 2))
        wait_for(
            lambda: len(processes(others)) == REPLICAS,
            "its tasks elsewhere",
            within_s=MOVED_WITHIN_S - (time.monotonic() - began),
        )
        record_testsuite_property("moved_s", round(time.monotonic() - began, 2))
        wait_for(lambda: len(placed(swarm)) == REPLICAS, "the swarm to know", within_s=5)
        urls = [url for url in swarm.urls() if lost.address not in url]
        assert len(urls) == REPLICAS
        wait_for(lambda: all(map(answers, urls)), "all to answer HTTP", within_s=10)
    finally:
        faults.power_on(lost)
    wait_for(lambda: _state(swarm, lost.name) == "ready", "it to be ready", within_s=20)


def _state(swarm: Swarm, name: str) -> str:
    return str(swarm.nodes()[name]["Status"]["State"])


def test_a_manager_without_power_is_unreachable_and_comes_back(swarm: Swarm) -> None:
    """The leader's machine: the others choose a new leader and take writes."""
    lost = swarm.leader()
    other = next(swarm[name] for name in swarm.managers() if name != lost.name)
    faults.power_off(lost)
    try:
        wait_for(lambda: swarm.write_label(other, "off"), "a write", within_s=WRITE_WITHIN_S)
        wait_for(
            lambda: swarm.managers().get(lost.name) == "unreachable",
            "it to be unreachable",
            within_s=10,
        )
        assert swarm.leader() != lost
    finally:
        faults.power_on(lost)
    swarm.settle()


def test_tasks_outlive_all_managers_and_are_found_again(swarm: Swarm) -> None:
    """All managers stopped at once: every task runs on; all are found again, same processes."""
    tasks = processes(swarm.hosts)
    managers = [swarm[name] for name in swarm.managers()]
    urls = swarm.urls()
    try:
        for host in managers:
            run_in(host, "systemctl", "stop", "--no-block", UNIT)
        wait_for(lambda: not any(map(daemon_pid, managers)), "all managers stopped", within_s=40)
        assert processes(swarm.hosts) == tasks
        assert all(map(answers, urls))
    finally:
        for host in managers:
            run_in(host, "systemctl", "start", "--no-block", UNIT)
    swarm.settle()
    _same_tasks(swarm, {process.task for process in tasks})
    assert processes(swarm.hosts) == tasks


def test_tasks_outlive_the_death_of_every_daemon(swarm: Swarm) -> None:
    """Kill -9 of all five: systemd brings them back, and no task was restarted."""
    tasks = processes(swarm.hosts)
    kill_daemon(*swarm.hosts)
    swarm.settle()
    _same_tasks(swarm, {process.task for process in tasks})
    assert processes(swarm.hosts) == tasks


def _same_tasks(swarm: Swarm, tasks: set[str]) -> None:
    """Wait until the swarm says that exactly these run; they may be told as lost for a moment."""
    wait_for(lambda: set(placed(swarm)) == tasks, "the same tasks", within_s=15)


@pytest.mark.parametrize("role", ["manager", "worker"])
def test_a_rebooted_host_comes_back(swarm: Swarm, role: str) -> None:
    """An orderly reboot: the unit is enabled, so the node is ready again and takes tasks."""
    name = swarm.leader().name if role == "manager" else "host4"
    faults.reboot(swarm[name])
    swarm.settle()
    assert swarm.nodes()[name]["Spec"]["Role"] == role
    wait_for(lambda: len(placed(swarm)) == REPLICAS, "all tasks running", within_s=30)


def test_apply_after_all_that_finds_nothing_to_do(swarm: Swarm) -> None:
    """Faults that the swarm heals leave nothing for the operator."""
    assert "Nothing needs doing" in swarm.apply().out
