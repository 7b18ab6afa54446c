"""What apply repairs: wiped hosts, stopped runtimes, removed services. And destroy at the end.

The tests share one swarm of five hosts, two of them with Docker Engine; the last one removes it.
"""

from collections.abc import Iterator

import pytest

from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.swarm import (
    UNIT,
    Process,
    Swarm,
    answers,
    daemon_pid,
    docker,
    drawn,
    leftovers,
    processes,
    web,
)
from tests.lab.task_image import BUSYBOX, import_busybox
from tests.lab.waiting import wait_for

ENGINES = [True, False, False, True, False]
BOXED = {
    "image": BUSYBOX,
    "command": ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"],
    "deploy": {"replicas": 2},
}
PLAYBOOK = {"swarm": {"managers": 3}, "services": {"web": web(5), "boxed": BOXED}}


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three managers, two workers; host1 and host4 have Docker Engine, the others none."""
    with lab.claim(5, engine=ENGINES) as hosts:
        import_busybox(host for host in hosts if host.engine)
        swarm = drawn(hosts, tmp_path_factory, "repair")
        swarm.write(PLAYBOOK)
        swarm.apply()
        yield swarm


def containers(host: Host) -> list[str]:
    """Return the names of the containers that a host's Docker Engine runs."""
    return run_in(host, "docker", "ps", "--format", "{{.Names}}").stdout.split()


def webs(swarm: Swarm) -> set[Process]:
    """Return the processes of `web`."""
    return {process for process in processes(swarm.hosts) if process.service == "web"}


def test_containers_run_where_an_engine_is_and_processes_anywhere(swarm: Swarm) -> None:
    """`boxed` is on the two hosts with Docker Engine, `web` on all five."""
    assert set(swarm.placed("boxed").values()) <= {"host1", "host4"}
    running = containers(swarm["host1"]) + containers(swarm["host4"])
    assert sorted(name.split(".")[0] for name in running) == ["boxed", "boxed"]
    assert all(map(answers, swarm.urls()))
    assert len(swarm.placed("web")) == 5


def test_containers_outlive_the_daemon(swarm: Swarm) -> None:
    """A restart of the runtime finds the same containers again."""
    host = swarm["host4"]
    ids = run_in(host, "docker", "ps", "--quiet", "--no-trunc").stdout
    assert ids
    with swarm.patient():
        run_in(host, "systemctl", "restart", UNIT)
        swarm.settle()
        wait_for(lambda: len(swarm.placed("boxed")) == 2, "both boxes told", within_s=15)
        assert run_in(host, "docker", "ps", "--quiet", "--no-trunc").stdout == ids


def test_a_stopped_runtime_is_started_by_apply(swarm: Swarm) -> None:
    """`plan` names it, apply starts it, its tasks were never touched."""
    stopped = swarm["host5"]
    tasks = processes([stopped])
    with swarm.patient():
        run_in(stopped, "systemctl", "stop", UNIT)
        assert daemon_pid(stopped) == 0
        assert "host5" in swarm.operator.run("plan", rc=2).out
        swarm.apply()
        assert daemon_pid(stopped) != 0
        swarm.settle()
        assert processes([stopped]) >= tasks


def test_a_stopped_and_disabled_unit_is_enabled_again(swarm: Swarm) -> None:
    """An operator's `systemctl disable --now` on a manager is undone, the unit's file as well."""
    host = swarm["host3"]
    run_in(host, "systemctl", "disable", "--now", UNIT)
    run_in(host, "rm", f"/etc/systemd/system/{UNIT}")
    swarm.apply()
    assert run_in(host, "systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    swarm.settle()
    assert "Nothing needs doing" in swarm.apply().out


def test_a_removed_service_is_made_again(swarm: Swarm) -> None:
    """`service rm` warns that the playbook wants it; the next apply brings it back."""
    (warning,) = swarm.operator.run("service", "rm", "web").warnings
    assert str(swarm.playbook) in warning
    wait_for(lambda: not webs(swarm), "all its processes gone", within_s=20)
    swarm.apply()
    assert len(swarm.placed()) == 5
    assert all(map(answers, swarm.urls()))


def test_a_service_changed_by_hand_is_set_back(swarm: Swarm) -> None:
    """Scaled to one by another client: the playbook says five."""
    docker(swarm["host1"], "service scale --detach web=1")
    assert "web" in swarm.operator.run("plan", rc=2).out
    swarm.apply()
    assert len(swarm.placed()) == 5


def test_wiped_hosts_join_again(swarm: Swarm, lab: Lab) -> None:
    """A worker and a manager reinstalled: their new host keys are refused until somebody agrees.

    Then apply joins each in its role, and the swarm forgets their old nodes.
    """
    old = swarm.nodes()
    wiped = [swarm["host5"], swarm["host2"]]
    lab.wipe(*wiped)
    refused = swarm.apply(rc=3)
    known = swarm.operator.known_hosts
    for host in wiped:
        told = f"{host.name}: its host key has changed"
        assert any(told in error for error in refused.errors), refused.said
        kept = [line for line in known.read_text().splitlines() if host.address not in line.split()]
        known.write_text("\n".join(kept) + "\n")
    swarm.apply()
    assert len(swarm.all_nodes()) == len(swarm.hosts)
    nodes = swarm.nodes()
    for host in wiped:
        assert nodes[host.name]["ID"] != old[host.name]["ID"]
        assert nodes[host.name]["Spec"]["Role"] == old[host.name]["Spec"]["Role"]
    swarm.settle()
    assert len(swarm.managers()) == 3
    assert "Nothing needs doing" in swarm.apply().out


def test_destroy_asks_before_it_does_anything(swarm: Swarm) -> None:
    """Without --yes, and with nobody there to answer, nothing is removed."""
    (error,) = swarm.operator.run("destroy", swarm.inventory, rc=1).errors
    assert "--yes" in error
    swarm.settle()


def test_destroy_leaves_nothing_behind(swarm: Swarm) -> None:
    """No unit, file, process, container, socket, user or group; a second time is fine too."""
    gone = swarm.operator.run("destroy", "--yes", swarm.inventory)
    assert "The swarm is gone from 5 hosts" in gone.out
    for host in swarm.hosts:
        assert leftovers(host) == "", host.name
        assert processes([host]) == set()
        assert run_in(host, "ss", "-Hltn", "sport", "=", ":2377").stdout == ""
    for host in swarm.hosts:
        if host.engine:
            assert run_in(host, "docker", "ps", "--all", "--quiet").stdout == ""
    swarm.operator.run("destroy", "--yes", swarm.inventory)
    swarm.operator.run("status", rc=1)
