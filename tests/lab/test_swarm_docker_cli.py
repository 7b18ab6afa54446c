"""The real docker CLI on a swarm of real hosts: the hosts' own, and this machine's through SSH.

The tests share one swarm: one manager, two workers.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.ssh import ssh_argv
from tests.lab.swarm import SOCKET, Swarm, docker, formed, processes
from tests.lab.waiting import wait_for

PLAYBOOK = {"swarm": {"managers": 1}, "nodes": {"host3": {"labels": {"disk": "ssd"}}}}
SLEEPER_WORDS = ("host", "sh", "-c", "exec sleep 1000")
SLEEPER = shlex.join(SLEEPER_WORDS)


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """One manager, two workers, no service."""
    with formed(lab, tmp_path_factory, "cli", PLAYBOOK, count=3, managers=1) as swarm:
        yield swarm


@pytest.fixture
def forwarded(swarm: Swarm, tmp_path: Path) -> Iterator[Path]:
    """The manager's socket on this machine, forwarded by OpenSSH."""
    path = tmp_path / "swarm.sock"
    argv = ssh_argv(swarm.hosts[0])
    argv[1:1] = ["-nNT", "-o", "ExitOnForwardFailure=yes", "-L", f"{path}:{SOCKET}"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as tunnel:
        try:
            wait_for(path.exists, "the forwarded socket", within_s=10)
            yield path
        finally:
            tunnel.terminate()


def local(socket: Path, *words: str) -> str:
    """Run this machine's docker CLI on a socket and return what it printed."""
    done = subprocess.run(
        ["docker", "-H", f"unix://{socket}", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "node ls",
        "service ls",
        "service create --name x busybox:1",
        "swarm join-token worker",
        "node promote host3",
        "node inspect self",
    ],
)
def test_a_worker_answers_as_dockers_worker_does(swarm: Swarm, command: str) -> None:
    """503, in Docker's words."""
    told = docker(swarm["host3"], command, check=False)
    assert "This node is not a swarm manager. Worker nodes can't be used to view" in told
    assert "or modify cluster state" in told


def test_info_tells_manager_from_worker(swarm: Swarm) -> None:
    """`docker info` on both."""
    manager = json.loads(docker(swarm["host1"], "info --format '{{json .Swarm}}'"))
    assert (manager["LocalNodeState"], manager["ControlAvailable"]) == ("active", True)
    assert (manager["Managers"], manager["Nodes"]) == (1, 3)
    worker = json.loads(docker(swarm["host3"], "info --format '{{json .Swarm}}'"))
    assert (worker["LocalNodeState"], worker["ControlAvailable"]) == ("active", False)
    assert [peer["Addr"] for peer in worker["RemoteManagers"]] == [f"{swarm['host1'].address}:2377"]


def test_nodes_are_listed_inspected_and_labelled(swarm: Swarm) -> None:
    """`node ls`, `node inspect`, `node update`."""
    listed = docker(swarm["host1"], "node ls")
    rows = {line.split()[1].strip("*") for line in listed.splitlines()[1:]}
    assert {"host2", "host3"} <= rows
    assert "Leader" in listed
    pretty = docker(swarm["host1"], "node inspect --pretty host3")
    assert "disk=ssd" in pretty
    assert "State:" in pretty
    docker(swarm["host1"], "node update --label-add zone=a host2")
    assert swarm.nodes()["host2"]["Spec"]["Labels"]["zone"] == "a"


def test_a_service_is_created_with_progress_scaled_and_removed(swarm: Swarm) -> None:
    """Not detached: the command ends when the tasks run and says so."""
    manager = swarm["host1"]
    constraint = "--constraint node.labels.disk==ssd"
    told = docker(manager, f"service create --name one --replicas 2 {constraint} {SLEEPER}")
    assert "overall progress: 2 out of 2 tasks" in told
    assert "verify: Service converged" in told
    assert set(swarm.placed("one").values()) == {"host3"}
    listed = docker(manager, "service ps one --format '{{.Name}} {{.Node}} {{.CurrentState}}'")
    assert [line.split()[:3] for line in sorted(listed.splitlines())] == [
        ["one.1", "host3", "Running"],
        ["one.2", "host3", "Running"],
    ]
    assert "verify: Service converged" in docker(manager, "service scale one=3")
    assert len(processes([swarm["host3"]])) == 3
    assert "3/3" in docker(manager, "service ls")
    docker(manager, "service rm one")
    wait_for(lambda: not processes(swarm.hosts), "its processes gone", within_s=20)


def test_a_service_that_no_node_can_run_says_why(swarm: Swarm) -> None:
    """`service ps` has the scheduler's words."""
    manager = swarm["host1"]
    docker(
        manager, f"service create --detach --name lost --constraint node.labels.disk==x {SLEEPER}"
    )
    wait_for(
        lambda: "no suitable node" in docker(manager, "service ps --no-trunc lost"),
        "the reason",
        within_s=10,
    )
    docker(manager, "service rm lost")


def test_join_tokens_are_dockers_and_rotate(swarm: Swarm) -> None:
    """`swarm join-token`, with a new one on demand."""
    manager = swarm["host1"]
    old = docker(manager, "swarm join-token --quiet worker")
    assert old.startswith("SWMTKN-1-")
    shown = docker(manager, "swarm join-token manager")
    assert f"{manager.address}:2377" in shown
    new = docker(manager, "swarm join-token --quiet --rotate worker")
    assert new != old
    assert docker(manager, "swarm join-token --quiet worker") == new


def test_a_newer_cli_works_through_a_forwarded_socket(swarm: Swarm, forwarded: Path) -> None:
    """This machine's docker CLI, over SSH: version, lists, a service with progress."""
    assert "swarmops" in local(forwarded, "version").lower()
    assert "Is Manager: true" in local(forwarded, "info")
    assert local(forwarded, "node", "ls", "--format", "{{.Hostname}}").split() == [
        "host1",
        "host2",
        "host3",
    ]
    told = local(forwarded, "service", "create", "--name", "far", "--replicas", "3", *SLEEPER_WORDS)
    assert "overall progress: 3 out of 3 tasks" in told
    assert re.search(r"verify: Service \w+ converged", told)
    assert sorted(swarm.placed("far").values()) == ["host1", "host2", "host3"]
    assert json.loads(local(forwarded, "service", "inspect", "far"))[0]["Spec"]["Name"] == "far"
    local(forwarded, "service", "rm", "far")


def test_flags_of_the_newest_api_are_kept_and_shown(forwarded: Path) -> None:
    """What Debian's engine, and so the transcript, is too old for: API 1.44 and 1.46."""
    flags = ("--health-start-interval", "2s", "--oom-score-adj")
    new = (
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "new",
        "--replicas",
        "0",
    )
    local(forwarded, *new, "--health-cmd", "true", *flags, "10", "busybox:1")
    assert _new_fields(forwarded) == (2_000_000_000, 10)
    local(forwarded, "service", "update", "--detach", "--oom-score-adj", "20", "new")
    assert _new_fields(forwarded) == (2_000_000_000, 20)
    # The CLI's `service update --health-start-interval` changes nothing in what it sends.
    local(forwarded, "service", "rm", "new")


def _new_fields(socket: Path) -> tuple[int, int]:
    (service,) = json.loads(local(socket, "service", "inspect", "new"))
    spec = service["Spec"]["TaskTemplate"]["ContainerSpec"]
    return spec["Healthcheck"]["StartInterval"], spec["OomScoreAdj"]


def test_the_last_manager_is_refused_what_would_end_the_swarm(swarm: Swarm) -> None:
    """`node demote` and `swarm leave`, in Docker's words; `node rm` of a live node too."""
    manager = swarm["host1"]
    told = docker(manager, "node demote host1", check=False)
    assert "attempting to demote the last manager of the swarm" in told
    told = docker(manager, "swarm leave", check=False)
    assert "You are attempting to leave the swarm on a node that is participating as a" in told
    told = docker(manager, "node rm host3", check=False)
    assert "is not down and can't be removed" in told
    swarm.settle()
