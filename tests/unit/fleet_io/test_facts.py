"""What a host tells of its node: from a socket that answers, is slow, is silent or is gone."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import socketserver
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from swarmops.backends import hostside
from swarmops.backends.base import Backend, Place
from swarmops.backends.docker import DockerBackend
from swarmops.backends.hostside import facts
from swarmops.backends.native import NativeBackend
from swarmops.fleet.facts import gather


def looked(folder: Path, timeout_s: float = 0.2, also: Sequence[str] = ()) -> dict[str, Any]:
    """Return the facts of a node whose files are in a folder."""
    return facts.main(
        {
            "data_dir": str(folder / "data"),
            "socket": str(folder / "node.sock"),
            "root_dir": str(folder),
            "unit": "none.service",
            "local": True,
            "lock_file": str(folder / "lock"),
            "timeout_s": timeout_s,
            "also": list(also),
        },
        io.BytesIO(),
    )


class Answers(socketserver.StreamRequestHandler):
    """Answers what the server has, and is silent about the rest until the test is over."""

    def handle(self) -> None:
        """Answer one request."""
        server: Any = self.server
        path = self.rfile.readline().split()[1].decode()
        server.asked.append(path)
        if path in server.answers:
            body = json.dumps(server.answers[path]).encode()
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        else:
            server.over.wait(30)


@contextlib.contextmanager
def serving(folder: Path, answers: dict[str, Any]) -> Iterator[list[str]]:
    """Serve a node's socket that answers these paths and keeps silent about others.

    Gives the paths that were asked for.
    """

    class Server(socketserver.ThreadingUnixStreamServer):
        pass

    with Server(str(folder / "node.sock"), Answers) as server:
        asked: list[str] = []
        vars(server).update(answers=answers, asked=asked, over=threading.Event())
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield asked
        finally:
            vars(server)["over"].set()
            server.shutdown()
            thread.join()


def test_a_silent_socket_is_no_stopped_daemon(tmp_path: Path) -> None:
    """Who holds its socket and doesn't answer is told apart from who is not there."""
    with serving(tmp_path, {}):
        found = looked(tmp_path)
    assert (found["api"], found["api_error"], found["silent"]) == (None, "timed out", True)
    left = looked(tmp_path)  # its socket file is there still, and nobody behind it
    assert (left["api"], left["api_error"], left["silent"]) == (None, "Connection refused", False)


def test_a_slow_list_leaves_what_was_told_before(tmp_path: Path) -> None:
    """A manager that is slow over one list still runs; what it did not tell is said."""
    info = {"Swarm": {"ControlAvailable": True}}
    answers = {"/info": info, "/swarm": {"ID": "s"}, "/nodes": []}
    with serving(tmp_path, answers):
        found = looked(tmp_path)
    assert found["api"] == {
        "info": info,
        "swarm": {"ID": "s"},
        "nodes": [],
        "error": "GET /services: timed out",
    }
    assert not found["silent"]


@pytest.mark.parametrize("backend", [NativeBackend, DockerBackend])
def test_a_node_has_as_long_to_answer_as_its_backend_says(
    backend: type[Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager of Docker's waits 20 s for a leader before it answers; ours answers at once.

    Two such answers fit into the look: what can't be told is told in words, not by a time limit.
    """
    asked = []

    def call(shell: Any, program: str, args: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        del shell, program
        asked.append((args["timeout_s"], timeout_s))
        return looked(tmp_path)

    monkeypatch.setattr(hostside, "call", call)
    shell: Any = None
    gather(shell, Place(host="h1"), backend.home)
    ((answer_s, look_s),) = asked
    assert answer_s > {"native": 4, "docker": 20}[backend.name]
    assert look_s > 2 * answer_s


@pytest.mark.parametrize(
    ("manager", "asked"),
    [(False, ["/info"]), (True, ["/info", "/swarm", "/nodes", "/services", "/secrets"])],
)
def test_a_node_is_asked_no_more_than_a_plan_needs(
    tmp_path: Path, asked: list[str], *, manager: bool
) -> None:
    """One read of each list, of a manager alone; never the tasks, of which there are many."""
    answers: dict[str, Any] = {path: [] for path in ("/nodes", "/services", "/secrets")}
    answers |= {"/info": {"Swarm": {"ControlAvailable": manager}}, "/swarm": {"ID": "s"}}
    with serving(tmp_path, answers) as heard:
        found = looked(tmp_path, timeout_s=10, also=["secrets"])
    assert heard == asked
    assert "error" not in found["api"]


def test_a_daemon_is_alive_only_under_its_supervisor(tmp_path: Path) -> None:
    """A process ID that a dead supervisor left behind may be anybody's by now."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "daemon.pid").write_text(json.dumps({"pid": os.getpid()}))
    (data_dir / "supervisor.pid").write_text("1")
    assert looked(tmp_path)["daemon_pid"] == 0
    with (data_dir / "supervisor.pid").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert looked(tmp_path)["daemon_pid"] == os.getpid()
        (data_dir / "daemon.pid").write_text(json.dumps({"pid": 0}))
        assert looked(tmp_path)["daemon_pid"] == 0


def test_a_machine_is_known_again(tmp_path: Path) -> None:
    """It says the same of itself each time: its boot, and the network that it is in."""
    (first, second) = (looked(tmp_path)["machine_id"] for _ in range(2))
    assert first == second
    assert str(Path("/proc/self/ns/net").readlink()) in first
