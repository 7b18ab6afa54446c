"""What one manager answered, every other one knows: over the real sockets of a real group."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.conftest import Local

MANAGERS = ("node1", "node2", "node3")
ROUNDS = 60


class Client(http.client.HTTPConnection):
    """One client's connection to one node's socket, kept open: nothing slows it down."""

    def __init__(self, path: Path) -> None:
        super().__init__("swarm")
        self._path = str(path)

    def connect(self) -> None:
        """Open the unix socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

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
