"""From hosts with SSH and Python only to a swarm that runs a service, and applying again."""

from collections.abc import Callable, Iterator

import pytest

from tests.lab.hosts import run_in
from tests.lab.lab import Lab
from tests.lab.swarm import Swarm, answers, daemon_pid, drawn, processes, web
from tests.lab.waiting import wait_for

PLAYBOOK = {
    "swarm": {"name": "forming", "managers": 3},
    "nodes": {"host5": {"labels": {"disk": "ssd"}}},
    "services": {"web": web(5)},
}


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Five bare hosts; the first tests make them a swarm."""
    with lab.claim(5, engine=False) as hosts:
        swarm = drawn(hosts, tmp_path_factory, "forming")
        swarm.write(PLAYBOOK)
        yield swarm


def test_plan_of_bare_hosts_says_what_apply_would_do_and_does_nothing(swarm: Swarm) -> None:
    """`plan` exits 2, names every host and the service, and leaves the hosts bare."""
    planned = swarm.operator.run("plan", swarm.inventory, rc=2)
    for name in ("host1", "host2", "host3", "host4", "host5", "web"):
        assert name in planned.out
    for host in swarm.hosts:
        assert run_in(host, "ls", "/opt").stdout == ""


def test_apply_makes_bare_hosts_three_managers_two_workers_and_a_service(
    swarm: Swarm, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """One command; when it returns, the nodes are ready and the service answers HTTP."""
    done = swarm.apply()
    record_testsuite_property("form_s", round(done.took_s, 1))
    nodes = swarm.nodes()
    assert {name: node["Spec"]["Role"] for name, node in nodes.items()} == {
        "host1": "manager",
        "host2": "manager",
        "host3": "manager",
        "host4": "worker",
        "host5": "worker",
    }
    assert {node["Status"]["State"] for node in nodes.values()} == {"ready"}
    assert swarm.managers() == dict.fromkeys(("host1", "host2", "host3"), "reachable")
    assert nodes["host5"]["Spec"]["Labels"]["disk"] == "ssd"
    urls = swarm.urls()
    assert len(urls) == 5
    assert all(map(answers, urls))
    assert "5/5" in done.out


def test_tasks_are_spread_over_all_nodes(swarm: Swarm) -> None:
    """Five tasks on five ready nodes: one each."""
    command = ("host", "sh", "-c", "exec sleep 1000")
    swarm.operator.run("service", "create", "--name", "spread", "--replicas", "5", *command)
    placed = sorted(swarm.placed("spread").values())
    assert placed == ["host1", "host2", "host3", "host4", "host5"]
    swarm.operator.run("service", "rm", "spread")
    wait_for(
        lambda: {process.service for process in processes(swarm.hosts)} == {"web"},
        "its processes gone",
        within_s=20,
    )


def test_second_apply_changes_nothing_and_says_so(swarm: Swarm) -> None:
    """No daemon and no task is touched."""
    daemons = [daemon_pid(host) for host in swarm.hosts]
    tasks = processes(swarm.hosts)
    again = swarm.apply()
    assert "Nothing needs doing" in again.out
    assert [daemon_pid(host) for host in swarm.hosts] == daemons
    assert processes(swarm.hosts) == tasks
    report = swarm.operator.json("apply", swarm.inventory)
    assert (report["changed"], report["steps"]) == (False, [])


def test_plan_exits_0_when_nothing_needs_doing(swarm: Swarm) -> None:
    """The exit code is what scripts read."""
    swarm.operator.run("plan", swarm.inventory, rc=0)


def test_status_and_lists_need_no_argument_after_an_apply(swarm: Swarm) -> None:
    """From another directory: the inventory applied last is the current one."""
    status = swarm.operator.run("status")
    assert "host5" in status.out
    assert "web" in status.out
    rows = swarm.operator.json("node", "ls")
    assert [row["host"] for row in rows] == [host.name for host in swarm.hosts]
    tasks = swarm.operator.json("service", "ps", "web")
    assert len(tasks) == 5


def test_plan_exits_2_when_the_playbook_has_changed_and_apply_follows(swarm: Swarm) -> None:
    """A new number of replicas: planned, done, and nothing else."""
    swarm.play({**PLAYBOOK, "services": {"web": web(7)}})
    planned = swarm.operator.run("plan", swarm.inventory, rc=2)
    assert "web" in planned.out
    assert "host" not in planned.out.replace("Mode.Replicated", "")
    before = processes(swarm.hosts)
    swarm.apply()
    after = processes(swarm.hosts)
    assert len(after) == 7
    assert before < after
    assert all(map(answers, swarm.urls()))


def test_a_task_is_told_its_service_node_and_address(swarm: Swarm) -> None:
    """Service, slot, node and address are in a task's environment."""
    nodes = swarm.nodes()
    for process in processes(swarm.hosts):
        environ = run_in(swarm[process.host], "cat", f"/proc/{process.pid}/environ").stdout
        told = dict(line.partition("=")[::2] for line in environ.split("\0") if line)
        assert told["SWARMOPS_SERVICE_NAME"] == "web"
        assert told["SWARMOPS_NODE_ADDR"] == swarm[process.host].address
        assert told["SWARMOPS_NODE_ID"] == nodes[process.host]["ID"]
