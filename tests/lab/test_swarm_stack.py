"""A stack on real hosts, by the real docker CLI: deployed, met with a fault, deployed again, gone.

The tests share one swarm of three managers with Docker Engines, and one stack: each begins where
the one before ended.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import faults
from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.ssh import forwarded
from tests.lab.swarm import SOCKET, Swarm, ask, docker, formed
from tests.lab.task_image import import_busybox
from tests.lab.waiting import wait_for

PAGE = "<h1>the page</h1>\n"
TOKEN = "open-sesame-4711"
PUBLISHED = 8080
ANSWER_WITHIN_S = 5.0
STACK = f"""
version: "3.8"
services:
  web:
    image: busybox:1
    command: httpd -f -p 80 -h /www
    networks: [front]
    ports: ["{PUBLISHED}:80"]
    configs: [{{source: page, target: /www/index.html}}]
    stop_grace_period: 1s
    deploy:
      replicas: 2
      placement: {{max_replicas_per_node: 1}}
      restart_policy: {{delay: 1s}}
      update_config: {{monitor: 1s}}
  keeper:
    image: busybox:1
    command: sleep 100000
    networks: [front, back]
    secrets: [{{source: token, target: token, uid: "65534", mode: 0400}}]
    stop_grace_period: 1s
    deploy: {{mode: global, update_config: {{monitor: 1s}}}}
  worker:
    image: busybox:1
    command: sleep 100000
    networks: {{back: {{aliases: [w]}}}}
    stop_grace_period: 1s
    deploy: {{update_config: {{monitor: 1s}}}}
networks:
  front: {{}}
  back: {{internal: true, labels: {{tier: b}}}}
configs: {{page: {{file: ./page}}}}
secrets: {{token: {{file: ./token}}}}
"""

_KEPT = """
import sqlite3
rows = sqlite3.connect("file:/var/lib/swarmops/worker/tasks.db?mode=ro", uri=True)
for kind in ("tasks", "sealed"):
    for (name,) in rows.execute(f"SELECT id FROM {kind}"):
        print(kind, name)
"""


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """Three managers, each with an engine that has the image."""
    playbook = {"swarm": {"managers": 3}}
    with formed(lab, tmp_path_factory, "stack", playbook, count=3, engine=True) as swarm:
        import_busybox(swarm.hosts)
        yield swarm


@pytest.fixture(scope="module")
def cli(swarm: Swarm, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cli"]:
    """This machine's docker CLI on the first manager, and the stack's files."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "page").write_text(PAGE)
    (folder / "token").write_text(TOKEN)
    (folder / "stack.yml").write_text(STACK)
    with forwarded(swarm.hosts[0], SOCKET, folder / "swarm.sock") as socket:
        yield Cli(socket, folder)


class Cli:
    """The docker CLI of this machine."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self._socket = socket
        self._folder = folder

    def __call__(self, command: str) -> str:
        """Run a command, where the stack's files are; return all that it printed."""
        done = subprocess.run(
            ["docker", "-H", f"unix://{self._socket}", *command.split()],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def deploy(self) -> str:
        """Deploy the stack and wait until it stands."""
        options = "--detach=false --resolve-image never --prune"
        return self(f"stack deploy {options} -c stack.yml st")


def page(host: Host) -> str:
    """Return what the published port of a host answers; empty if not all of it comes in time."""
    url = f"http://{host.address}:{PUBLISHED}/"
    argv = ["curl", "-sf", "--max-time", f"{ANSWER_WITHIN_S}", url]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def objects(swarm: Swarm) -> dict[str, dict[str, int]]:
    """Return the version of each object that a stack has, by kind."""
    return {
        kind: {one.get("ID") or one["Id"]: one.get("Version", {}).get("Index", 0) for one in listed}
        for kind in ("services", "secrets", "configs", "networks")
        for listed in [ask(swarm.hosts[0], "GET", f"/{kind}")[1]]
    }


def own_objects(swarm: Swarm) -> dict[str, list[str]]:
    """Return the names of what is there beyond the ingress network, by kind."""
    found = {}
    for kind in ("services", "secrets", "configs", "networks"):
        listed: list[dict[str, Any]] = ask(swarm.hosts[0], "GET", f"/{kind}")[1]
        ours = [one for one in listed if one.get("Scope", "swarm") == "swarm"]
        names = [str(one.get("Name") or one["Spec"]["Name"]) for one in ours]
        if names := [name for name in names if name != "ingress"]:
            found[kind] = sorted(names)
    return found


def running(swarm: Swarm) -> set[str]:
    """Return the IDs of the stack's containers that run, on hosts that are up."""
    return {line for host in swarm.hosts for line in engine(host, "ps", "-q", "--no-trunc").split()}


def engine(host: Host, *words: str) -> str:
    """Run a host's docker CLI on its own engine."""
    return run_in(host, "docker", "-H", "unix:///var/run/docker.sock", *words).stdout


def inside(host: Host, service: str, *words: str) -> str:
    """Run a command in a service's container on a host."""
    label = f"label=com.docker.swarm.service.name={service}"
    container = engine(host, "ps", "-q", f"--filter={label}").split()[0]
    return engine(host, "exec", container, *words)


def test_a_stack_answers_on_every_node(swarm: Swarm, cli: Cli) -> None:
    """Three services, two networks, a secret, a config; the page comes from every host."""
    told = cli.deploy()
    for name in ("network st_front", "secret st_token", "config st_page", "service st_web"):
        assert f"Creating {name}" in told
    assert own_objects(swarm) == {
        "services": ["st_keeper", "st_web", "st_worker"],
        "secrets": ["st_token"],
        "configs": ["st_page"],
        "networks": ["st_back", "st_front"],
    }
    wait_for(lambda: {page(host) for host in swarm.hosts} == {PAGE}, "the page", within_s=10)
    listed = cli("stack services --format {{.Name}}={{.Replicas}} st").split()
    assert {"st_keeper=3/3", "st_web=2/2", "st_worker=1/1"} <= set(listed)
    assert "st" in cli("stack ls")
    assert "st_web.1" in cli("stack ps st")


def test_the_secret_is_in_memory_and_nowhere_else(swarm: Swarm) -> None:
    """As the file that the stack names; on no disk in clear, and in no log."""
    for host in swarm.hosts:
        assert "swarmops-tasks" in left(host)
        assert inside(host, "st_keeper", "cat", "/run/secrets/token") == TOKEN
        assert inside(host, "st_keeper", "stat", "-c", "%u %a", "/run/secrets/token") == (
            "65534 400\n"
        )
        search = f"grep -rlF {TOKEN} /var /etc /opt /root /home /usr/local 2>/dev/null"
        assert run_in(host, "sh", "-c", search).stdout == ""
        journal = f"journalctl --no-pager | grep -cF {TOKEN}"
        assert run_in(host, "sh", "-c", journal).stdout == "0\n"


def test_networks_are_bridges_where_their_tasks_are(swarm: Swarm) -> None:
    """Containers find each other by service and alias; addresses and virtual IPs are shown."""
    worker = next(iter(swarm.placed("st_worker").values()))
    host = swarm[worker]
    names = engine(host, "network", "ls", "--format={{.Name}}").split()
    assert {"st_front", "st_back"} <= set(names)
    assert "Name:" in inside(host, "st_keeper", "nslookup", "w")
    shown = json.loads(docker(swarm.hosts[0], "service inspect st_keeper"))[0]
    assert len(shown["Endpoint"]["VirtualIPs"]) == 2
    listed = docker(swarm.hosts[0], "network ls --filter driver=overlay --format {{.Name}}")
    assert sorted(listed.split()) == ["ingress", "st_back", "st_front"]


def test_deployed_again_it_changes_nothing(swarm: Swarm, cli: Cli) -> None:
    """Not one version, not one container."""
    before, containers = objects(swarm), running(swarm)
    assert len(containers) == 6
    assert "Updating service st_web" in cli.deploy()
    assert objects(swarm) == before
    assert running(swarm) == containers


def test_with_a_node_powered_off_the_page_still_answers(swarm: Swarm) -> None:
    """Every other node answers within five seconds, at once and all the while."""
    lost = swarm[next(name for name in swarm.placed("st_web").values() if name != "host1")]
    others = [host for host in swarm.hosts if host != lost]
    faults.power_off(lost)
    try:
        for _ in range(5):
            for host in others:
                assert page(host) == PAGE, f"{host.name} without {lost.name}"
        wait_for(
            lambda: len(set(swarm.placed("st_web").values()) - {lost.name}) == 2,
            "the lost task elsewhere",
            within_s=20,
        )
        assert [page(host) for host in others] == [PAGE] * 2
    finally:
        faults.power_on(lost)
    swarm.settle(within_s=60)
    wait_for(lambda: page(lost) == PAGE, "the page of the host that came back", within_s=30)


def test_removed_nothing_is_left_on_any_host(swarm: Swarm, cli: Cli) -> None:
    """No object of the swarm, no container, no network, no file, no listening port."""
    told = cli("stack rm st")
    assert told.count("Removing") == 7
    assert own_objects(swarm) == {}
    wait_for(lambda: not any(map(left, swarm.hosts)), "nothing on any host", within_s=30)


def left(host: Host) -> str:
    """Return what of the stack is on a host.

    Containers, volumes, networks, files in memory, folders and output of tasks, what the agent
    keeps for its next start, ports.
    """
    networks = engine(host, "network", "ls", "--filter=type=custom", "--format={{.Name}}")
    files = "find /run /dev/shm -path '*swarmops-tasks*'"
    folders = "find /var/lib/swarmops/worker/tasks -mindepth 1 2>/dev/null"
    script = f"{files}; {folders}; ss -Hltn sport = {PUBLISHED}"
    kept = run_in(host, "python3", "-c", _KEPT).stdout
    containers = engine(host, "ps", "-aq") + engine(host, "volume", "ls", "-q")
    return containers + networks + kept + run_in(host, "sh", "-c", script).stdout
