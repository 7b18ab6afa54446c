"""A real group of managers: what one answered all know; one without room steps down and says so."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.conftest import Local, wait_for
from tests.local.test_raft_processes import fill

MANAGERS = ("node1", "node2", "node3")
ROUNDS = 60
IDLE = {"Mode": {"Replicated": {"Replicas": 0}}}
ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def swarm(local: Local) -> Iterator[Local]:
    """The demo's swarm, its first manager on a file system of 32 MiB where one can be mounted."""
    path = local.folder / ".demo" / "node1"
    path.mkdir(parents=True, mode=0o700)
    if ROOT:
        options = "size=32m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        local.swarmops("apply", str(local.inventory))
        yield local
    finally:
        local.swarmops("destroy", "--yes", str(local.inventory))
        if ROOT:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


class Client(http.client.HTTPConnection):
    """One client's connection to one node's socket, kept open: nothing slows it down."""

    def __init__(self, path: Path) -> None:
        super().__init__("swarm")
        self._path = str(path)

    def connect(self) -> None:
        """Open the unix socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def lines(self, path: str) -> list[str]:
        """Return the lines of a stream that ends."""
        self.request("GET", path)
        return self.getresponse().read().decode().splitlines()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; return the answer, decoded."""
        data = None if body is None else json.dumps(body)
        self.request(method, path, data, {"Content-Type": "application/json"})
        response = self.getresponse()
        text = response.read()
        assert response.status < 300, text
        return json.loads(text) if text.strip() else None


@pytest.fixture
def clients(swarm: Local) -> Iterator[list[Client]]:
    """A client of each manager."""
    opened = [Client(swarm.socket(node)) for node in MANAGERS]
    yield opened
    for client in opened:
        client.close()


def test_a_client_sees_its_write_on_whatever_manager_it_asks_next(clients: list[Client]):
    """Created, changed and removed through one manager, read through the others at once."""
    for number in range(ROUNDS):
        writer = clients[number % 3]
        name = f"written-{number}"
        created = writer.ask("POST", "/configs/create", {"Name": name, "Data": "eA=="})["ID"]
        for reader in clients:
            assert reader.ask("GET", f"/configs/{created}")["Spec"]["Name"] == name
        stored = writer.ask("GET", f"/configs/{created}")
        spec = stored["Spec"] | {"Labels": {"round": str(number)}}
        version = stored["Version"]["Index"]
        writer.ask("POST", f"/configs/{created}/update?version={version}", spec)
        for reader in clients:
            seen = reader.ask("GET", f"/configs/{created}")
            assert seen["Spec"]["Labels"] == {"round": str(number)}
        writer.ask("DELETE", f"/configs/{created}")
        for reader in clients:
            assert created not in {config["ID"] for config in reader.ask("GET", "/configs")}


@pytest.mark.parametrize(
    ("create", "body"),
    [
        ("/services/create", {"TaskTemplate": {"ContainerSpec": {"Image": "host"}}} | IDLE),
        ("/secrets/create", {"Data": "eA=="}),
        ("/networks/create", {"Driver": "overlay"}),
    ],
)
def test_what_is_made_and_removed_is_so_on_every_manager_at_once(
    clients: list[Client], create: str, body: dict[str, Any]
):
    """In lists, by name, and in the events until now."""
    path = create.removesuffix("/create")
    for number in range(ROUNDS // 3):
        writer = clients[number % 3]
        name = f"made-{number}"
        made = writer.ask("POST", create, body | {"Name": name})
        made_id = made.get("ID") or made["Id"]
        for reader in clients:
            assert made_id in {one.get("ID") or one["Id"] for one in reader.ask("GET", path)}
            past = f"/events?since=1&until={time.time():.9f}"
            assert any(made_id in line for line in reader.lines(past) if "create" in line)
        writer.ask("DELETE", f"{path}/{made_id}")
        for reader in clients:
            listed = reader.ask("GET", path)
            assert made_id not in {one.get("ID") or one["Id"] for one in listed}


def test_labels_of_nodes_and_of_the_swarm_are_so_on_every_manager_at_once(clients: list[Client]):
    """Changed through one, read through the others, and in ``/info``."""
    for number in range(ROUNDS // 3):
        writer, labels = clients[number % 3], {"round": str(number)}
        node = next(one for one in writer.ask("GET", "/nodes") if one["Spec"]["Role"] == "worker")
        version = node["Version"]["Index"]
        writer.ask(
            "POST",
            f"/nodes/{node['ID']}/update?version={version}",
            node["Spec"] | {"Labels": labels},
        )
        swarm = writer.ask("GET", "/swarm")
        version = swarm["Version"]["Index"]
        writer.ask("POST", f"/swarm/update?version={version}", swarm["Spec"] | {"Labels": labels})
        for reader in clients:
            assert reader.ask("GET", f"/nodes/{node['ID']}")["Spec"]["Labels"] == labels
            assert reader.ask("GET", "/info")["Swarm"]["Cluster"]["Spec"]["Labels"] == labels


@pytest.mark.skipif(not ROOT, reason="a small file system is root's to mount")
def test_a_manager_without_room_steps_down_says_so_and_comes_back(swarm: Local):
    """Its log, docker info and metrics tell; the others take changes; with room it follows."""
    data = swarm.folder / ".demo" / "node1" / "data"
    large = swarm.folder / "large"
    large.write_text("x" * 100_000)
    swarm.docker("node1", "config", "create", "before", str(large))
    filler = fill(data)
    swarm.docker("node2", "config", "create", "meanwhile", str(large))

    def error() -> str:
        return swarm.docker("node1", "info", "--format", "{{.Swarm.Error}}").stdout

    wait_for(lambda: "No space left on device: this manager neither leads" in error(), "it tells")
    metrics = Client(swarm.socket("node1"))
    metrics.request("GET", "/metrics")
    assert b"swarmops_raft_disk_refuses 1.0" in metrics.getresponse().read()
    metrics.close()

    def leader() -> str:
        found = [host for host, row in swarm.nodes().items() if row["manager_status"] == "Leader"]
        return found[0] if found else ""

    wait_for(lambda: leader() in {"node2", "node3"}, "another leads")
    swarm.docker("node3", "config", "create", "after", str(large))
    filler.unlink()
    wait_for(lambda: error() == "\n", "all is well again")
    names = swarm.docker("node1", "config", "ls", "--format", "{{.Name}}").stdout.split()
    assert {"before", "meanwhile", "after"} <= set(names)
    swarm.docker("node1", "config", "rm", "before", "meanwhile", "after")
    assert "No space left on device: this manager neither" in (data / "daemon.log").read_text()
