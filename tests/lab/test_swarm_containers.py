"""Services of containers on real hosts: reached through every node, pulled from a registry, heard.

The tests share one swarm of a manager and a worker, each with its own Docker Engine; whatever is
not about a registry uses an image that both engines have.
"""

import json
import shlex
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.ssh import ssh, ssh_argv
from tests.lab.swarm import SOCKET, Swarm, docker, formed
from tests.lab.task_image import BUSYBOX, import_busybox
from tests.lab.waiting import wait_for
from tests.unit.agent.registry import AUTH, PASSWORD, USER, Registry, serving

WEB, ECHO, REGISTRY = 18080, 18053, 15000
SERVE = "cd /tmp; hostname > page; exec httpd -f -p 80 -h /tmp"
ECHO_SERVER = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))\n"
    "while True: s.sendto(*s.recvfrom(1500))"
)
PYTHON = " ".join(
    f"--mount type=bind,source={place},target={place},readonly"
    for place in ("/usr", "/lib", "/lib64")
)
"""Busybox can't serve UDP: the host's Python does, with the libraries that it needs."""


@pytest.fixture(scope="module")
def swarm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    """A manager and a worker, both with an engine and the image."""
    playbook = {"swarm": {"managers": 1}}
    with formed(
        lab, tmp_path_factory, "containers", playbook, count=2, engine=True, managers=1
    ) as swarm:
        import_busybox(swarm.hosts)
        yield swarm


@pytest.fixture(scope="module")
def registry(swarm: Swarm) -> Iterator[Registry]:
    """A registry that both hosts reach at their own loopback, where engines need no TLS."""
    with serving() as registry, ExitStack() as tunnels:
        for host in swarm.hosts:
            tunnels.enter_context(_forwarded(host, registry.server_port))
        yield registry


@contextmanager
def _forwarded(host: Host, port: int) -> Iterator[None]:
    argv = ssh_argv(host)
    argv[1:1] = ["-nNT", "-o", "ExitOnForwardFailure=yes", "-R", f"{REGISTRY}:127.0.0.1:{port}"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as tunnel:
        try:
            listening = f"ss -ltn | grep -q 127.0.0.1:{REGISTRY}"
            wait_for(
                lambda: run_in(host, "sh", "-c", listening).returncode == 0,
                "the forwarded registry",
                within_s=20,
            )
            yield
        finally:
            tunnel.terminate()


def page(host: Host) -> str:
    """Return the page behind the published port of a node, "" if it isn't there."""
    try:
        with urllib.request.urlopen(f"http://{host.address}:{WEB}/page", timeout=5) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""


def echoed(host: Host, data: bytes) -> bool:
    """Whether a datagram to the published port of a node comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.sendto(data, (host.address, ECHO))
        try:
            return client.recv(100) == data
        except OSError:
            return False


def test_a_container_is_reached_through_every_node(swarm: Swarm) -> None:
    """TCP and UDP: one container on host2, asked at both hosts."""
    manager = swarm["host1"]
    there = "--constraint node.hostname==host2"
    docker(
        manager,
        f"service create -d --name web --publish {WEB}:80 {there} --hostname it {BUSYBOX} "
        f"sh -c {shlex.quote(SERVE)}",
    )
    docker(
        manager,
        f"service create -d --name echo --publish {ECHO}:53/udp {there} {PYTHON} {BUSYBOX} "
        f"/usr/bin/python3 -c {shlex.quote(ECHO_SERVER)}",
    )
    for host in swarm.hosts:
        wait_for(partial(page, host), f"the page at {host.name}", within_s=30)
        assert page(host) == "it"
        wait_for(partial(echoed, host, b"hello"), f"the echo at {host.name}", within_s=30)
    docker(manager, "service rm web echo")


def test_a_private_image_is_pulled_with_the_credentials_of_whoever_made_the_service(
    swarm: Swarm, registry: Registry
) -> None:
    """`--with-registry-auth`: pinned to its digest, run on both hosts, its password kept secret."""
    manager = swarm["host1"]
    digest = registry.push("app:1", "one")
    image = f"127.0.0.1:{REGISTRY}/app:1"
    refused = docker(manager, f"service create -d --name app --mode global {image}")
    wait_for(
        lambda: "No such image" in docker(manager, "service ps --no-trunc app"),
        "a rejected task",
        within_s=30,
    )
    assert "could not be accessed on a registry" in refused
    docker(manager, "service rm app")
    login = f"docker login -u {USER} --password-stdin 127.0.0.1:{REGISTRY}"
    ssh(manager, login, stdin=PASSWORD)
    again = "service create -d --restart-condition none --with-registry-auth --name app2"
    docker(manager, f"{again} --mode global {image}")
    wait_for(
        lambda: docker(manager, "service logs --raw app2").count("one") == 2,
        "what both tasks say",
        within_s=30,
    )
    shown = docker(manager, "service inspect app2")
    spec = json.loads(shown)[0]["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert spec["Image"] == f"{image}@{digest}"
    tasks = docker(manager, "service ps -q app2").split()
    said = [shown, *(docker(manager, f"inspect {task}") for task in tasks)]
    assert not [text for text in said if PASSWORD in text or AUTH[:30] in text]
    for host in swarm.hosts:
        search = f"grep -rlas -e {PASSWORD} -e {AUTH[:40]} /var/lib/swarmops /run/swarmops; true"
        assert run_in(host, "sh", "-c", search).stdout == ""
    docker(manager, "service rm app2")


def test_output_of_all_nodes_is_merged(swarm: Swarm) -> None:
    """Follow, tail, since, timestamps and details; a service's and one task's."""
    manager = swarm["host1"]
    driver = "--log-driver json-file --log-opt env=MINE"
    script = (
        "for i in 1 2 3; do echo line $i; done; until [ -e /tmp/go ]; do sleep 0.2; done; "
        "while :; do echo on; sleep 0.5; done"
    )
    docker(
        manager,
        f"service create -d --name talk --mode global --env MINE=yes {driver} {BUSYBOX} "
        f"sh -c {shlex.quote(script)}",
    )
    wait_for(
        lambda: docker(manager, "service logs talk").count("line 3") == 2, "all lines", within_s=30
    )
    lines = docker(manager, "service logs talk").splitlines()
    assert {line.split("|")[0].split("@")[1].strip() for line in lines} == {"host1", "host2"}
    tail = docker(manager, "service logs --tail 1 --raw talk").splitlines()
    assert tail == ["line 3"] * 2
    assert docker(manager, "service logs --since 2100-01-01T00:00:00Z talk") == ""
    stamped = docker(manager, "service logs --timestamps talk").splitlines()
    for host in swarm.hosts:
        times = [line.split()[0] for line in stamped if f"@{host.name} " in line]
        assert len(times) == 3
        assert times == sorted(times)
    detailed = docker(manager, "service logs --details talk").splitlines()
    assert all(" MINE=yes line " in line for line in detailed)
    task = docker(manager, "service ps -q talk").split()[0]
    assert len(docker(manager, f"service logs {task}").splitlines()) == 3
    ours = "docker ps -q --filter label=com.docker.swarm.service.name=talk"
    follow = f"timeout 60 docker -H unix://{SOCKET} service logs -f talk"
    silent = {host.name for host in swarm.hosts}
    with subprocess.Popen(
        ssh_argv(manager, follow), stdout=subprocess.PIPE, text=True
    ) as following:
        for host in swarm.hosts:
            run_in(host, "sh", "-c", f"docker exec $({ours}) touch /tmp/go")
        for line in following.stdout or ():
            if line.endswith(" on\n"):
                silent.discard(line.split("|")[0].split("@")[1].strip())
            if not silent:
                break
        following.terminate()
    assert not silent
    docker(manager, "service rm talk")
