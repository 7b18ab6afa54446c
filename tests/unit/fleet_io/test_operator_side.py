"""Hands of the operator's own machine: tunnels, Docker contexts, ssh's command line, node logs."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from swarmops.backends.base import HostSocket, Place
from swarmops.backends.hostside import health, journal
from swarmops.errors import HostError, InputError
from swarmops.fleet.docker_context import remove_context, write_context
from swarmops.fleet.openssh import ssh_argv
from swarmops.fleet.target import Target
from swarmops.fleet.tunnel import Tunnel, manager_socket
from tests.unit.fleet_io.conftest import Server


@pytest.fixture
def shouting(tmp_path: Path) -> Iterator[Path]:
    """A server that reads to the end of what a client says and only then answers in capitals."""
    path = tmp_path / "far.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, client.makefile("rb") as said:
                    client.sendall(said.read().upper())

        threading.Thread(target=serve, daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def connected(path: Path) -> HostSocket:
    """Connect to a unix socket as a shell does."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise HostError("far", str(error)) from error
    return sock  # type: ignore[return-value]  # makefile's overloads


def ask(path: Path, words: bytes) -> bytes:
    """Say something, say that this was all, and read the answer to its end."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        with contextlib.suppress(OSError):  # who hangs up at once hears nothing
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_a_tunnel_carries_both_directions_and_each_ones_end(tmp_path: Path, shouting: Path):
    """The far side hears the end of input and can still answer, as attached streams need."""
    near = tmp_path / "near.sock"
    with Tunnel(near, lambda: connected(shouting)):
        assert ask(near, b"one") == b"ONE"
        assert ask(near, b"x" * 300_000) == b"X" * 300_000
        assert near.stat().st_mode & 0o077 == 0
    assert not near.exists()


def test_a_tunnel_moves_to_another_manager_when_one_fails(tmp_path: Path, shouting: Path):
    """The first connection after the failure already works."""
    found = iter(["gone", "alive"])

    def connect(host: str) -> HostSocket:
        if host == "gone":
            raise HostError(host, "the SSH connection was lost")
        return connected(shouting)

    near = tmp_path / "near.sock"
    with Tunnel(near, manager_socket(lambda: next(found), connect)):
        assert ask(near, b"one") == b"ONE"
        assert ask(near, b"two") == b"TWO"


def test_a_tunnel_without_any_manager_says_why_and_hangs_up(tmp_path: Path):
    """The client sees the connection end; the reason is told where the tunnel runs."""
    said: list[str] = []

    def nobody() -> HostSocket:
        raise HostError("h1", "no route to host")

    near = tmp_path / "near.sock"
    with Tunnel(near, nobody, said.append):
        assert ask(near, b"") == b""
    assert said == ["h1: no route to host"]


def test_a_socket_left_by_a_killed_tunnel_is_replaced_and_a_live_one_is_not(
    tmp_path: Path, shouting: Path
):
    """A second tunnel on the same socket is refused in one sentence."""
    near = tmp_path / "near.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(near))
    with Tunnel(near, lambda: connected(shouting)):
        with pytest.raises(InputError, match=r"another tunnel serves it.*--socket"):
            Tunnel(near, lambda: connected(shouting))
        assert near.exists()


def test_the_docker_command_reads_the_context_that_we_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The real docker CLI lists it with its host; after removal it is gone."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    write_context("prod", "unix:///run/tunnel.sock", "prod's swarm")
    inspect = ["docker", "context", "inspect", "prod"]
    done = subprocess.run(inspect, capture_output=True, check=True)
    shown = json.loads(done.stdout)[0]
    assert shown["Endpoints"]["docker"]["Host"] == "unix:///run/tunnel.sock"
    write_context("prod", "unix:///run/other.sock", "again")
    remove_context("prod")
    assert subprocess.run(inspect, capture_output=True, check=False).returncode == 1


def test_a_context_of_somebody_elses_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither replaced nor removed; and a name that docker would refuse is refused here."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    create = ["docker", "context", "create", "mine", "--docker", "host=unix:///run/mine.sock"]
    create += ["--description", "beside swarmops"]
    subprocess.run(create, capture_output=True, check=True)
    with pytest.raises(InputError, match="is there and not ours"):
        write_context("mine", "unix:///x", "")
    with pytest.raises(InputError, match="no Docker context 'mine' of ours"):
        remove_context("mine")
    with pytest.raises(InputError, match="is no name for a Docker context"):
        write_context("../x", "unix:///x", "")


@pytest.mark.parametrize(
    ("said", "mode"), [(None, "accept-new"), ("no", "no"), ("ask", "ask"), ("True", "yes")]
)
def test_ssh_gets_what_the_inventory_says(tmp_path: Path, said: str | None, mode: str):
    """Port, user, keys, time, how keys are judged, our own known hosts; the command after --."""
    target = Target(
        name="h1",
        address="10.0.0.1",
        port=2222,
        user="ops",
        private_key_files=("/k1",),
        connect_timeout_s=7,
        host_key_checking=said,
        place=Place(host="h1"),
    )
    known = f'UserKnownHostsFile="{tmp_path}/known" ~/.ssh/known_hosts ~/.ssh/known_hosts2'
    options = ["-o", known, "-o", f"StrictHostKeyChecking={mode}", "-o", "ConnectTimeout=7"]
    assert ssh_argv(target, tmp_path / "known", ["ls", "-l"]) == [
        *("ssh", *options, "-i", "/k1", "-p", "2222", "-l", "ops"),
        *("10.0.0.1", "--", "ls", "-l"),
    ]


def test_ssh_gets_the_inventorys_options_before_ours(tmp_path: Path):
    """What apply met is known beside what the inventory names, unless nothing is to be known."""
    options = (("serveraliveinterval", "5"), ("userknownhostsfile", "/mine"))
    target = Target(
        name="h1", address="h", ssh_config="~/a.cfg", ssh_options=options, place=Place(host="h1")
    )
    assert ssh_argv(target, tmp_path / "known")[:7] == [
        *("ssh", "-o", "serveraliveinterval=5"),
        *(
            "-o",
            f'userknownhostsfile="{tmp_path}/known" /mine',
            "-F",
            str(Path("~/a.cfg").expanduser()),
        ),
    ]
    nothing = (("userknownhostsfile", "/dev/null"),)
    argv = ssh_argv(msgspec.structs.replace(target, ssh_options=nothing), tmp_path / "known")
    assert argv[1:3] == ["-o", "userknownhostsfile=/dev/null"]


@pytest.mark.slow
@pytest.mark.parametrize("hops", [0, 2])
def test_ssh_goes_the_way_that_the_inventory_says(server: Server, tmp_path: Path, hops: int):
    """The real ssh, through real hops of which only our own known hosts and keys are known."""
    user = server.target().user
    way = [f"{user}@127.0.0.1:{server.port}", f"{user}@[127.0.0.1]:{server.port}"]
    target = server.target(jump=",".join(way[:hops]) or None)
    known = tmp_path / "100% ours"
    argv = ssh_argv(target, known, ["echo", "$SSH_CONNECTION"])
    argv[1:1] = ["-F", "none", "-o", "BatchMode=yes"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.startswith("127.0.0.1 "), done.stderr
    log = (server.folder / "sshd.log").read_text()
    assert log.count("Accepted publickey") == hops + 1


def test_ssh_uses_the_inventorys_proxy_command(server: Server, tmp_path: Path):
    """With ssh's own %h and %p."""
    first = ssh_argv(server.target(), tmp_path / "known")
    proxy = f"{shlex.join(first[:-1])} -F none -W %h:%p {first[-1]}"
    argv = ssh_argv(server.target(proxy_command=proxy), tmp_path / "known", ["echo", "in"])
    argv[1:1] = ["-F", "none", "-o", "BatchMode=yes"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout == "in\n", done.stderr


@pytest.mark.parametrize(
    ("hop", "words"),
    [
        ("bastion", "bastion"),
        ("ops@bastion:2222", "-p 2222 ops@bastion"),
        ("ops@[fe80::1]:2222", "-p 2222 ops@fe80::1"),
        ("fe80::1", "fe80::1"),
        ("[fe80::1]", "fe80::1"),
        ("ssh://ops@bastion:2222", "ssh://ops@bastion:2222"),
    ],
)
def test_every_way_to_write_a_hop(tmp_path: Path, hop: str, words: str):
    """As ssh's -J takes them."""
    target = Target(name="h1", address="10.0.0.1", jump=hop, place=Place(host="h1"))
    argv = ssh_argv(target, tmp_path / "known")
    (proxy,) = [word for word in argv if word.startswith("ProxyCommand=")]
    assert proxy.endswith(f" -W '[%h]:%p' {words}")


def test_a_followed_log_file_goes_on_where_it_was_also_after_a_rotation(tmp_path: Path):
    """No line twice, none lost, the last N at first."""
    path = tmp_path / "daemon.log"
    path.write_text("one\ntwo\nthree\n")

    def read(cursor: str) -> tuple[str, str]:
        args = {"unit": "", "path": str(path), "lines": 2, "cursor": cursor}
        answer = journal.main(args, io.BytesIO())
        return answer["text"], answer["cursor"]

    text, cursor = read("")
    assert text == "two\nthree\n"
    assert read(cursor)[0] == ""
    with path.open("a") as file:
        file.write("four\n")
    text, cursor = read(cursor)
    assert text == "four\n"
    path.rename(tmp_path / "daemon.log.1")
    path.write_text("five\n")
    assert read(cursor)[0] == "five\n"


def test_a_host_without_a_log_says_that_nothing_ever_ran():
    """One sentence, with the path."""
    args = {"unit": "", "path": "/nonexistent/daemon.log", "lines": 2, "cursor": ""}
    assert "the runtime never ran there" in journal.main(args, io.BytesIO())["error"]


def test_health_of_a_host_without_certificate_or_socket_is_empty(tmp_path: Path):
    """Nothing is raised: why there is nothing is told by the facts."""
    args = {"certificate": str(tmp_path / "no"), "socket": str(tmp_path / "no.sock"), "metrics": []}
    assert health.main(args, io.BytesIO()) == {"certificate": "", "metrics": {}}
