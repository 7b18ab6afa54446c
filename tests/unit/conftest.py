"""A small real HTTP server on a unix socket that answers as it was told and keeps what it got.

And a real Docker Engine, for those tests that need one.
"""

from __future__ import annotations

import os
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unit.agent.dockerd import engine as docker_engine

_ENGINES = {"engine_address", "podman_address", "containers"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs containers in a real engine takes long: `make check` leaves it to `make test`."""
    for item in items:
        params = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if _ENGINES & set(getattr(item, "fixturenames", ())) or {"docker", "podman"} & {
            each for each in params if isinstance(each, str)
        }:
            item.add_marker(pytest.mark.slow)


class Request(NamedTuple):
    """What came, and over which connection."""

    method: str
    target: str
    body: bytes
    connection: int
    headers: Mapping[str, str]


class Engine(socketserver.ThreadingUnixStreamServer):
    """``answers``: per "METHOD /path" a list of (status, body), the last one repeated."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, list[tuple[int, bytes]]] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self.hang_up_after = 10**9
        self.headers: dict[str, str] = {}
        super().__init__(str(path), _Handler)

    def answer(self, what: str, *answers: tuple[int, bytes]) -> None:
        """Say what is answered from now on."""
        self.answers[what] = list(answers)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.number = self.server.connections
        self.served = 0

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(
            Request(self.command, self.path, body, self.number, dict(self.headers))
        )
        answers = self.server.answers.get(f"{self.command} {self.path.split('?')[0]}")
        status, payload = (404, b'{"message":"page not found"}')
        if answers:
            status, payload = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if payload:
            self.wfile.write(payload)
        self.served += 1
        # Hangs up without having said so, as a server does with an idle connection.
        self.close_connection = self.served >= self.server.hang_up_after

    do_GET = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Serve for one test."""
    with Engine(tmp_path / "e.sock") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def engine_address() -> Iterator[str]:
    """Return the address of a Docker Engine that lives as long as the tests."""
    if os.geteuid() != 0:
        pytest.skip("starting a Docker Engine needs root")
    with docker_engine(Path(tempfile.mkdtemp(prefix="dockerd"))) as address:
        yield address
