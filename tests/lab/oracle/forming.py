"""Forms the two swarms: three hosts with ours, three with Docker Engine's own.

One manager and two workers each, a container image that exists nowhere else, labels for placement,
and the manager's socket forwarded to this machine by OpenSSH.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.oracle.side import Kind, Side
from tests.lab.ssh import forwarded, ssh
from tests.lab.swarm import SOCKET, drawn
from tests.lab.task_image import import_busybox
from tests.lab.waiting import wait_for

NODES = 3
ZONES = ("a", "a", "b")
OURS_OF_A_MACHINE = '{"labels": {"disk": "ssd"}, "generic_resources": {"fpga": ["x", "y"]}}'
DOCKERS_OF_A_MACHINE = '{"labels": ["disk=ssd"], "node-generic-resources": ["fpga=x", "fpga=y"]}'
"""The last host has a label of its engine, and two named things of a kind."""


@contextmanager
def both(lab: Lab, temporary: pytest.TempPathFactory) -> Iterator[Mapping[Kind, Side]]:
    """Claim six hosts, form a swarm of each kind on three of them, and yield the two."""
    with lab.claim(2 * NODES) as hosts, ThreadPoolExecutor(2) as pool:
        import_busybox(hosts)
        ours, theirs = hosts[:NODES], hosts[NODES:]
        forming = [
            pool.submit(_form_ours, ours, temporary),
            pool.submit(_form_docker, theirs),
        ]
        for each in forming:
            each.result()
        directory = temporary.mktemp("oracle")
        with (
            _forwarded("ours", ours, SOCKET, directory) as one,
            _forwarded("docker", theirs, "/run/docker.sock", directory) as other,
        ):
            yield {"ours": one, "docker": other}


def _form_ours(hosts: Sequence[Host], temporary: pytest.TempPathFactory) -> None:
    """Apply a playbook without services."""
    swarm = drawn(hosts, temporary, "oracle-ours")
    swarm.write({"swarm": {"managers": 1}}, managers=hosts[:1], workers=hosts)
    swarm.apply()
    ssh(hosts[-1], f"cat > /var/lib/swarmops/machine.json <<'EOF'\n{OURS_OF_A_MACHINE}\nEOF")


def _form_docker(hosts: Sequence[Host]) -> None:
    """Init on the first host, join the others as workers."""
    first, *others = hosts
    file = "/etc/docker/daemon.json"
    ssh(hosts[-1], f"mkdir -p /etc/docker; echo '{DOCKERS_OF_A_MACHINE}' > {file}")
    ssh(hosts[-1], "systemctl restart docker")
    ssh(first, f"docker swarm init --advertise-addr {first.address}")
    token = ssh(first, "docker swarm join-token --quiet worker").stdout.strip()
    for host in others:
        join = f"docker swarm join --token {token} {first.address}:2377"
        done = ssh(host, join, check=False)
        # Docker looks at it for 20 s and then goes on without a witness.
        assert done.returncode == 0 or "continue in the background" in done.stderr, done.stderr


@contextmanager
def _forwarded(kind: Kind, hosts: Sequence[Host], socket: str, directory: Path) -> Iterator[Side]:
    """Forward the manager's socket, wait for the nodes and label them."""
    with forwarded(hosts[0], socket, directory / f"{kind}.sock") as at:
        side = Side(kind, hosts, at)
        wait_for(lambda: _ready(side), "every node ready", within_s=60)
        # Ours is 1 s: too little where all of this runs on two busy cores.
        side.docker("swarm", "update", "--dispatcher-heartbeat", "5s")
        for host, zone in zip(hosts, ZONES, strict=True):
            side.docker("node", "update", "--label-add", f"zone={zone}", host.name)
        yield side


def _ready(side: Side) -> bool:
    """Say whether all nodes are ready, and remember their IDs."""
    nodes = side.get("/nodes")
    side.node_ids.update({node["Description"]["Hostname"]: node["ID"] for node in nodes})
    states = [node["Status"]["State"] for node in nodes]
    return states == ["ready"] * len(side.hosts)
