"""The client's promises, against a real HTTP server on a unix socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from swarmops.client import Client, UnreachableError, unix_socket
from swarmops.client.transport import STALE_AFTER_S, Transport
from swarmops.errors import ApiError
from swarmops.model.node import Availability, NodeSpec, Role
from swarmops.model.service import ServiceSpec
from swarmops.model.swarm import InitRequest, JoinRequest, SwarmSpec

if TYPE_CHECKING:
    from tests.unit.conftest import Engine

NODE: dict[str, Any] = {
    "ID": "n1",
    "Version": {"Index": 9},
    "CreatedAt": "2026-11-22T10:00:00.123456789Z",
    "Spec": {"Role": "manager", "Availability": "active", "Labels": {"swarmops.host": "host1"}},
    "Description": {"Hostname": "a1", "Unknown": 1},
    "Status": {"State": "ready", "Addr": "10.0.0.1"},
    "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "10.0.0.1:2377"},
}


def dump(value: Any) -> bytes:
    """Encode JSON."""
    return json.dumps(value).encode()


Case = tuple[str, Callable[[Client], Any], str, bytes, Any]
CALLS: list[Case] = [
    ("version", lambda c: c.version().version, "GET /version", dump({"Version": "1"}), "1"),
    (
        "info",
        lambda c: c.info().swarm.local_node_state,
        "GET /info",
        dump({"Swarm": {"LocalNodeState": "pending"}, "Name": "x", "NCPU": 2}),
        "pending",
    ),
    (
        "swarm",
        lambda c: c.swarm().join_tokens.worker,  # type: ignore[union-attr]
        "GET /swarm",
        dump({"ID": "s", "JoinTokens": {"Worker": "W", "Manager": "M"}}),
        "W",
    ),
    ("init", lambda c: c.init(InitRequest()), "POST /swarm/init", b'"n1"\n', "n1"),
    ("join", lambda c: c.join(JoinRequest(join_token="t")), "POST /swarm/join", b"", None),
    ("leave", lambda c: c.leave(force=True), "POST /swarm/leave?force=1", b"", None),
    (
        "update_swarm",
        lambda c: c.update_swarm(3, SwarmSpec(), rotate_worker_token=True),
        "POST /swarm/update?version=3&rotateWorkerToken=true",
        b"",
        None,
    ),
    ("nodes", lambda c: c.nodes()[0].id, "GET /nodes", dump([NODE]), "n1"),
    ("node", lambda c: c.node("n1").version.index, "GET /nodes/n1", dump(NODE), 9),
    ("odd name", lambda c: c.node("a/b?").id, "GET /nodes/a%2Fb%3F", dump(NODE), "n1"),
    (
        "update_node",
        lambda c: c.update_node("n1", 9, NodeSpec()),
        "POST /nodes/n1/update?version=9",
        b"",
        None,
    ),
    ("remove_node", lambda c: c.remove_node("n1"), "DELETE /nodes/n1", b"", None),
    (
        "services",
        lambda c: c.services(status=True)[0].id,
        "GET /services?status=true",
        dump([{"ID": "s1"}]),
        "s1",
    ),
    (
        "create",
        lambda c: c.create_service(ServiceSpec(name="web")),
        "POST /services/create",
        dump({"ID": "s1"}),
        "s1",
    ),
    ("remove", lambda c: c.remove_service("web"), "DELETE /services/web", b"", None),
    ("task", lambda c: c.task("t1").slot, "GET /tasks/t1", dump({"ID": "t1", "Slot": 3}), 3),
]


@pytest.mark.parametrize("case", CALLS, ids=[call[0] for call in CALLS])
def test_endpoint(engine: Engine, client: Client, case: Case) -> None:
    """Each method asks its endpoint and returns the model's type."""
    _, call, target, body, expected = case
    engine.answer(target.split("?")[0], (200, body))
    assert call(client) == expected
    request = engine.requests[0]
    assert f"{request.method} {request.target}" == target


def test_ping(engine: Engine, client: Client) -> None:
    """Ping reads the headers."""
    engine.headers = {"Api-Version": "1.50", "Swarm": "active/manager"}
    engine.answer("GET /_ping", (200, b"OK"))
    assert (client.ping().api_version, client.ping().swarm) == ("1.50", "active/manager")


def test_filters(engine: Engine, client: Client) -> None:
    """Filters are sent as lists."""
    engine.answer("GET /tasks", (200, b"[]"))
    assert client.tasks({"service": ["web"], "desired-state": ["running", "ready"]}) == []
    query = parse_qs(urlsplit(engine.requests[0].target).query)
    assert json.loads(query["filters"][0]) == {
        "service": ["web"],
        "desired-state": ["running", "ready"],
    }


def test_body(engine: Engine, client: Client) -> None:
    """A body holds only what was given."""
    engine.answer("POST /services/create", (201, dump({"ID": "s1"})))
    client.create_service(ServiceSpec(name="web"))
    assert json.loads(engine.requests[0].body) == {"Name": "web"}


def test_a_registry_is_shown_what_it_was_given_and_else_nothing(
    engine: Engine, client: Client
) -> None:
    """In Docker's header, with a new spec as with a new service."""
    engine.answer("POST /services/create", (201, dump({"ID": "s1"})))
    engine.answer("POST /services/s1/update", (200, b"{}"))
    for auth in ("", "e30="):
        client.create_service(ServiceSpec(name="web"), registry_auth=auth)
        client.update_service("s1", 1, ServiceSpec(name="web"), registry_auth=auth)
    shown = [request.headers.get("X-Registry-Auth") for request in engine.requests]
    assert shown == [None, None, "e30=", "e30="]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b'{"message":"node x not found"}', "node x not found"),
        (400, b"client version too old\n", "client version too old"),
        (500, b"", "HTTP status 500"),
    ],
)
def test_failure(engine: Engine, client: Client, status: int, body: bytes, message: str) -> None:
    """An answer that is no success is an ApiError."""
    engine.answer("GET /nodes/x", (status, body))
    with pytest.raises(ApiError) as caught:
        client.node("x")
    assert (caught.value.status, caught.value.message) == (status, message)


def test_other_shape(engine: Engine, client: Client) -> None:
    """An answer of another shape says whose and where."""
    engine.answer("GET /nodes", (200, b'[{"ID": 5}]'))
    with pytest.raises(ApiError, match=r"h1: the answer to GET /nodes .*\$\[0\]\.ID"):
        client.nodes()


def test_keep_alive(engine: Engine, client: Client) -> None:
    """One connection is reused."""
    engine.answer("GET /nodes", (200, b"[]"))
    engine.answer("POST /swarm/join", (200, b""))
    client.nodes()
    client.join(JoinRequest())
    client.nodes()
    assert {r.connection for r in engine.requests} == {1}


def test_stale_read(engine: Engine, client: Client) -> None:
    """A read on a stale connection is asked again."""
    engine.hang_up_after = 1
    engine.answer("GET /nodes", (200, b"[]"))
    assert [client.nodes() for _ in range(3)] == [[], [], []]
    assert [r.connection for r in engine.requests] == [1, 2, 3]


def test_stale_write(engine: Engine, client: Client) -> None:
    """A write on a stale connection is not repeated."""
    engine.hang_up_after = 1
    engine.answer("GET /nodes", (200, b"[]"))
    engine.answer("POST /swarm/join", (200, b""))
    client.nodes()
    with pytest.raises(UnreachableError, match="h1: the API does not answer"):
        client.join(JoinRequest())
    assert len(engine.requests) == 1
    client.join(JoinRequest())


def test_idle_write(engine: Engine) -> None:
    """A write after a long pause takes a new connection."""
    now = 0.0
    transport = Transport(unix_socket(str(engine.server_address)), name="h1", clock=lambda: now)
    engine.answer("POST /x", (200, b""))
    transport.request("POST", "/x")
    now += STALE_AFTER_S
    transport.request("POST", "/x")
    now += STALE_AFTER_S + 0.1
    transport.request("POST", "/x")
    assert [r.connection for r in engine.requests] == [1, 1, 2]
    transport.close()


def test_no_socket(tmp_path: Path) -> None:
    """No socket is said in a sentence."""
    with pytest.raises(UnreachableError, match="h9: the API does not answer: there is no socket"):
        Client(unix_socket(tmp_path / "none"), name="h9").ping()


def drain(spec: NodeSpec) -> NodeSpec:
    """Drain a node."""
    return msgspec.structs.replace(spec, availability=Availability.DRAIN)


def test_change_again(engine: Engine, client: Client) -> None:
    """A change is made on the newest version when somebody came between."""
    engine.answer(
        "GET /nodes/a1", (200, dump(NODE)), (200, dump(NODE | {"Version": {"Index": 11}}))
    )
    conflict = b'{"message":"rpc error: code = Unknown desc = update out of sequence"}'
    engine.answer("POST /nodes/n1/update", (500, conflict), (200, b""))
    assert client.change_node("a1", drain) is True
    writes = [r for r in engine.requests if r.method == "POST"]
    assert [w.target for w in writes] == [
        "/nodes/n1/update?version=9",
        "/nodes/n1/update?version=11",
    ]
    sent = json.loads(writes[-1].body)
    assert sent == {
        "Role": "manager",
        "Availability": "drain",
        "Labels": {"swarmops.host": "host1"},
    }


def test_no_change(engine: Engine, client: Client) -> None:
    """A change that changes nothing is not sent."""
    engine.answer("GET /nodes/a1", (200, dump(NODE)))

    def promote(spec: NodeSpec) -> NodeSpec:
        return msgspec.structs.replace(spec, role=Role.MANAGER)

    assert client.change_node("a1", promote) is False
    assert [r.method for r in engine.requests] == ["GET"]


def test_change_refused(engine: Engine, client: Client) -> None:
    """A change that is refused for another reason is raised."""
    engine.answer("GET /nodes/a1", (200, dump(NODE)))
    engine.answer("POST /nodes/n1/update", (400, b'{"message":"last manager"}'))
    with pytest.raises(ApiError, match="last manager"):
        client.change_node("a1", drain)


def test_light() -> None:
    """Importing the client is light."""
    heavy = {"docker", "requests", "aiohttp", "paramiko", "fabric", "asyncio"}
    out = subprocess.run(
        [sys.executable, "-c", "import sys, swarmops.client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not heavy & set(out.stdout.split())
