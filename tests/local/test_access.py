"""The API over the network, on a real swarm: who gets in, what they may, and how it ends."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.local.addresses import node_address
from tests.local.conftest import Local, wait_for

PORT = 2376
MANAGERS = [node_address(n) for n in (1, 2, 3)]


def pem(swarm: Local, name: str) -> Path:
    """The folder with somebody's certificate."""
    return swarm.folder / "people" / name


def granted(swarm: Local, name: str, role: str) -> Path:
    """Let somebody in; return the folder with the certificate."""
    swarm.swarmops("access", "create", name, "--role", role, "--pem", str(pem(swarm, name)))
    return pem(swarm, name)


def connected(host: str, folder: Path, *, cert: Path | None = None) -> http.client.HTTPSConnection:
    """A connection with somebody's certificate, or with another one."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if cert is not None:
        context.load_cert_chain(cert)
    else:
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return http.client.HTTPSConnection(host, PORT, context=context, timeout=10)


def ask(host: str, folder: Path, path: str, method: str = "GET", body: Any = None) -> Any:
    """Ask one manager with somebody's certificate; return status and answer."""
    connection = connected(host, folder)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json"} if body is not None else {},
        )
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith(("{", "[", '"')) else text
    finally:
        connection.close()


def is_open(host: str) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, PORT), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def served(swarm: Local) -> Local:
    """The swarm with its API on the network, an admin and a reader."""
    swarm.swarmops("access", "enable")
    wait_for(lambda: all(is_open(host) for host in MANAGERS), "the port on every manager")
    granted(swarm, "ann", "admin")
    granted(swarm, "bob", "read")
    return swarm


def test_it_is_off_until_asked_for(swarm: Local):
    """No port, and no certificate for a person."""
    assert not any(is_open(host) for host in MANAGERS)
    told = swarm.swarmops("access", "create", "early", "--role", "read", expect=1).stderr
    assert "run 'swarmops access enable' first" in told
    assert not (swarm.folder / "early.dockercontext").exists()


def test_the_docker_cli_works_through_an_imported_context(served: Local):
    """The file is Docker's own form; the admin changes things with it."""
    served.swarmops("access", "create", "carol", "--role", "admin")
    file = served.folder / "carol.dockercontext"
    assert file.stat().st_mode & 0o777 == 0o600
    served.docker("node1", "context", "import", "carol", str(file))

    def docker(*words: str) -> str:
        return served.docker_as("carol", *words)

    assert "node5" in docker("node", "ls")
    docker("service", "create", "-d", "--no-resolve-image", "--name=far", "host", "sleep", "1000")
    wait_for(lambda: "1/1" in docker("service", "ls"), "its task")
    docker("service", "rm", "far")
    assert "SWMTKN-1-" in docker("swarm", "join-token", "-q", "worker")


def test_every_manager_serves_and_no_worker_does(served: Local):
    """Under a certificate that names its address."""
    for host in MANAGERS:
        status, nodes = ask(host, pem(served, "bob"), "/v1.50/nodes")
        assert (status, len(nodes)) == (200, 5)
    assert not is_open(node_address(4))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/services/create", {"Name": "x"}),
        ("POST", "/v1.50/nodes/node1/update?version=1", {}),
        ("DELETE", "/services/web", None),
        ("POST", "/swarm/update?version=1&rotateWorkerToken=1", {}),
        ("POST", "/swarm/leave?force=1", None),
        ("GET", "/swarm/unlockkey", None),
        ("GET", "/access", None),
        ("POST", "/access/create", {}),
        ("DELETE", "/access/ann", None),
        ("POST", "/exec/x/start", {}),
        ("PUT", "/services/web", {}),
        ("POST", "//services/create", {"Name": "x"}),
        ("GET", "/%61ccess", None),
        ("GET", "/v1.41/swarm/unlock%6bey", None),
    ],
)
def test_a_reader_changes_nothing_and_learns_no_secret(
    served: Local, method: str, path: str, body: Any
):
    """403 in words that say who asked for what."""
    status, said = ask(MANAGERS[1], pem(served, "bob"), path, method, body)
    assert status == 403
    assert said["message"].startswith("bob may only read this swarm")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/access", 403),
        ("GET", "//access", 404),
        ("GET", "/x/../access", 404),
        ("GET", "/containers/x/attach/ws?stream=1&stdin=1", 404),
        ("GET", "/containers/x/archive?path=/etc/shadow", 404),
    ],
)
def test_a_reader_finds_no_other_way(served: Local, method: str, path: str, status: int):
    """Neither another spelling of a path, nor what an engine behind would do for a GET."""
    assert ask(MANAGERS[1], pem(served, "bob"), path, method)[0] == status


def test_a_reader_sees_the_swarm_without_its_tokens(served: Local):
    """Services, tasks, nodes, metrics; the join tokens are an admin's to see."""
    for path in ("/services", "/tasks", "/info", "/networks"):
        assert ask(MANAGERS[0], pem(served, "bob"), path)[0] == 200
    assert "swarmops_raft_leader" in ask(MANAGERS[0], pem(served, "bob"), "/metrics")[1]
    assert "JoinTokens" not in ask(MANAGERS[0], pem(served, "bob"), "/swarm")[1]
    assert "JoinTokens" in ask(MANAGERS[0], pem(served, "ann"), "/swarm")[1]
    assert ask(MANAGERS[0], pem(served, "bob"), "/containers/json")[0] == 404


def test_a_nodes_certificate_is_no_persons(served: Local):
    """Neither a worker's nor a manager's opens the API."""
    for node in ("node4", "node2"):
        cert = served.folder / ".demo" / node / "data" / "certificates" / "node.crt"
        connection = connected(MANAGERS[0], pem(served, "ann"), cert=cert)
        connection.request("GET", "/nodes")
        answer = connection.getresponse()
        assert answer.status == 401
        assert "not a person's" in answer.read().decode()
        connection.close()


def test_a_persons_certificate_is_no_nodes(served: Local):
    """An admin can't open a session or speak Raft with it."""
    folder = pem(served, "ann")
    for alpn in ("swarmops-raft/1", "swarmops-agent/1"):
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.set_alpn_protocols([alpn])
        with (
            socket.create_connection((MANAGERS[0], 2377), timeout=10) as raw,
            context.wrap_socket(raw) as tls,
        ):
            try:
                tls.sendall(b"GET /session HTTP/1.1\r\nHost: x\r\n\r\n")
                said = tls.recv(100)
            except OSError:
                said = b""
            assert said == b""


def test_without_a_certificate_nobody_gets_in(served: Local):
    """TLS itself refuses."""
    context = ssl.create_default_context(cafile=str(pem(served, "ann") / "ca.pem"))
    connection = http.client.HTTPSConnection(MANAGERS[0], PORT, context=context, timeout=10)

    def ping() -> int:
        connection.request("GET", "/_ping")
        return connection.getresponse().status

    with pytest.raises((OSError, http.client.HTTPException)):
        ping()
    connection.close()


def test_names_are_one_persons_at_a_time_and_listed(served: Local):
    """`access ls` shows who, in which role, until when."""
    told = served.swarmops("access", "create", "ann", "--role", "read", expect=1).stderr
    assert "ann has access already" in told
    rows = json.loads(served.swarmops("access", "ls", "--format", "json").stdout)
    assert {row["name"]: row["role"] for row in rows}["bob"] == "read"


def test_revoking_takes_effect_on_every_manager_and_cuts_streams(served: Local):
    """Also a stream that was open; somebody new of the same name is somebody else."""
    folder = granted(served, "eve", "admin")
    assert [ask(host, folder, "/nodes")[0] for host in reversed(MANAGERS)] == [200] * 3
    streams = []
    for host in MANAGERS:
        connection = connected(host, folder)
        connection.request("GET", "/events")
        streams.append((connection, connection.getresponse()))
    served.swarmops("access", "revoke", "eve")
    for host in reversed(MANAGERS):
        status, said = ask(host, folder, "/nodes")
        assert (status, "was revoked" in said["message"]) == (401, True)
    for connection, stream in streams:
        with pytest.raises((OSError, http.client.HTTPException)):
            assert stream.read() != b""
        connection.close()
    old = folder.rename(folder.with_name("old-eve"))
    granted(served, "eve", "read")
    assert ask(MANAGERS[0], old, "/nodes")[0] == 401
    assert ask(MANAGERS[0], folder, "/nodes")[0] == 200


def test_a_manager_that_comes_back_serves_again(served: Local):
    """The setting is the swarm's, not the process's."""
    served.kill_daemon("node2")
    wait_for(lambda: is_open(MANAGERS[1]), "the port")
    wait_for(lambda: ask(MANAGERS[1], pem(served, "bob"), "/nodes")[0] == 200, "an answer")


def test_it_can_be_switched_off(served: Local):
    """Ports close on every manager, and what was open ends."""
    connection = connected(MANAGERS[2], pem(served, "ann"))
    connection.request("GET", "/events")
    stream = connection.getresponse()
    served.swarmops("access", "disable")
    wait_for(lambda: not any(is_open(host) for host in MANAGERS), "closed ports", within_s=5)
    with pytest.raises((OSError, http.client.HTTPException)):
        assert stream.read() != b""
    connection.close()
