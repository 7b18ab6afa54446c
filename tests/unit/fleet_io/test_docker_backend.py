"""What the docker backend finds missing, and what its program does on a host."""

from __future__ import annotations

import io
import stat
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import msgspec
import pytest

from swarmops.backends.base import ApiFacts, Artifact, Facts, Place, PythonFacts, UnitFacts
from swarmops.backends.docker import DockerBackend
from swarmops.backends.hostside import engine
from swarmops.errors import HostError
from swarmops.fleet.backend_of import on_backend
from swarmops.fleet.inventory import read_inventory

PLACE = Place(host="h1", socket="/var/run/docker.sock", unit="docker.service")
DONE = Facts(
    hostname="h1",
    python=PythonFacts(executable="/usr/bin/python3", version=(3, 11, 2), libc_version=(2, 36)),
    system="linux",
    machine="x86_64",
    user="root",
    is_root=True,
    systemd=True,
    engine=True,
    unit=UnitFacts(active="active", enabled=True),
    api=ApiFacts(info={"Swarm": {}}),
)
INSTALLS = msgspec.structs.replace(PLACE, install_docker=True)
NO_UNIT = UnitFacts(active="inactive")


def but(**changes: Any) -> Facts:
    """Return the facts of a complete host with changes."""
    return msgspec.structs.replace(DONE, **changes)


@pytest.mark.parametrize(
    ("facts", "place", "missing"),
    [
        (DONE, PLACE, []),
        (but(api=None), PLACE, ["process"]),
        (but(api=None, unit=NO_UNIT), PLACE, ["unit", "process"]),
        (but(unit=UnitFacts(active="active")), PLACE, ["unit"]),
        (but(engine=False, api=None, unit=NO_UNIT), INSTALLS, ["runtime", "unit", "process"]),
        (but(systemd=False, unit=None), PLACE, []),
    ],
)
def test_only_what_is_missing_is_named(facts: Facts, place: Place, missing: list[str]) -> None:
    """Each lack once, in the order of doing."""
    found = DockerBackend().missing(facts, place, Artifact(""))
    assert [item.what for item in found] == missing
    assert all(item.reason for item in found)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(engine=False, api=None), "swarmops_install_docker: true"),
        (but(api=None, is_root=False, user="ops"), "user ops can't reach .*ansible_become"),
        (but(api=None, systemd=False, unit=None), "without systemd swarmops can't start it"),
        (but(api=ApiFacts(info={"LiveRestoreEnabled": True})), "live-restore"),
    ],
)
def test_an_impossible_host_is_refused_with_the_cure(facts: Facts, words: str) -> None:
    """One sentence, before anything is done."""
    with pytest.raises(HostError, match=words):
        DockerBackend().missing(facts, PLACE, Artifact(""))


def test_hosts_get_the_backends_socket_unless_the_inventory_has_one(tmp_path: Path) -> None:
    """What the inventory says itself stays."""
    path = tmp_path / "inventory.yml"
    path.write_text("all: {hosts: {a: , b: {swarmops_socket: /run/mine.sock}}}\n")
    hosts = on_backend(read_inventory(path), DockerBackend()).hosts
    assert (hosts["a"].socket, hosts["b"].socket) == ("/var/run/docker.sock", "/run/mine.sock")
    assert (hosts["a"].unit, hosts["a"].data_dir) == ("docker.service", "/var/lib/docker/swarm")


class Host:
    """A folder of programs, found before all others, that write down how they were called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def program(self, name: str, rc: int = 0, says: str = "") -> None:
        """Add a program."""
        path = self.folder / name
        path.write_text(
            f'#!/bin/sh\necho {name} "$@" >> {self.calls}\necho "{says}" >&2\nexit {rc}\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, verb: str, **changes: Any) -> str:
        """Run the program that is sent to hosts; return what it complains about."""
        args = {"verb": verb, "unit": "docker.service", "packages": True, "within_s": 1}
        args |= {"socket": str(self.folder / "docker.sock"), **changes}
        return str(engine.main(args, io.BytesIO()).get("error", ""))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with systemd and apt-get that do as they are told."""
    host = Host(tmp_path, monkeypatch)
    host.program("systemctl")
    host.program("apt-get")
    return host


def test_the_distributions_package_is_installed_and_the_unit_enabled(host: Host) -> None:
    """With packages wanted: lists refreshed, package installed, unit enabled; nothing else."""
    assert host.run("install") == ""
    assert host.calls.read_text().splitlines() == [
        "apt-get update -qq",
        "apt-get install -y -qq docker.io",
        "systemctl enable docker.service",
    ]


def test_an_engine_that_is_there_is_not_installed_again(host: Host) -> None:
    """Only its unit is enabled."""
    assert host.run("install", packages=False) == ""
    assert host.calls.read_text().splitlines() == ["systemctl enable docker.service"]


@pytest.mark.parametrize(
    ("program", "verb", "words"),
    [
        ("apt-get", "install", "apt-get can't refresh its lists: no mirror"),
        ("systemctl", "start", "systemd can't start docker.service: no mirror"),
    ],
)
def test_what_the_hosts_programs_complain_about_is_passed_on(
    host: Host, program: str, verb: str, words: str
) -> None:
    """The last line that they said is the reason."""
    host.program(program, rc=100, says="no mirror")
    assert words in host.run(verb)


def test_of_what_apt_says_the_first_error_is_the_reason(host: Host) -> None:
    """Its last one only says that something failed."""
    said = "W: old\nE: Failed to fetch file:/p: no such file\nE: Unable to fetch some archives"
    host.program("apt-get", rc=100, says=said)
    assert host.run("install").endswith("lists: E: Failed to fetch file:/p: no such file")


def test_an_engine_that_never_answers_is_an_error_with_its_log(host: Host) -> None:
    """Started, and no socket: bounded, with the command that shows why."""
    assert "journalctl -u docker.service" in host.run("start", within_s=0.2)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class _Engine(BaseHTTPRequestHandler):
    """An engine's answers: one that is in no swarm says 503 to leaving, as Docker does."""

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(200, b"OK")

    def do_POST(self) -> None:
        self._answer(*self.server.leaving)  # type: ignore[attr-defined]

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (200, b"", ""),
        (503, b'{"message":"This node is not part of a swarm"}', ""),
        (500, b'{"message":"context deadline exceeded"}', "context deadline exceeded"),
    ],
)
def test_leaving_a_swarm_is_done_also_where_there_is_none(
    host: Host, status: int, body: bytes, complaint: str
) -> None:
    """A real socket: start waits for its ping, leave takes its answer."""
    with _Server(str(host.folder / "docker.sock"), _Engine) as server:
        server.leaving = (status, body)  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert host.run("start") == ""
        said = host.run("leave")
        server.shutdown()
    assert complaint in said if complaint else said == ""
