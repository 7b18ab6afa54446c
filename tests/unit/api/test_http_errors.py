"""Every refusal has Docker's status and Docker's text: tables over raw HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from swarmops.api import make_app, nodes
from swarmops.api.app import RESOURCES
from swarmops.api.errors import translate
from swarmops.model.node import Role
from swarmops.raft.errors import QuorumLoss, Stopped
from tests.unit.api.conftest import Api

LONG = "0" * 25 + "9" * 5000
"""More digits than Python reads a number from."""

NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
WORKER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. "
    "Please run this command on a manager node or promote the current node to a manager."
)
LOCKED = (
    "Swarm is encrypted and needs to be unlocked before it can be used. "
    'Please use "docker swarm unlock" to unlock it.'
)
NO_LEADER = (
    "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few "
    "managers are online. Make sure more than half of the managers are online."
)
WEB: dict[str, Any] = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"}}}
SWARM_REQUESTS = [
    ("GET", "/swarm", None),
    ("GET", "/swarm/unlockkey", None),
    ("POST", "/swarm/update?version=1", {}),
    ("GET", "/nodes", None),
    ("GET", "/nodes/x", None),
    ("POST", "/nodes/x/update?version=1", {"Role": "worker", "Availability": "active"}),
    ("DELETE", "/nodes/x", None),
    ("GET", "/services", None),
    ("GET", "/services/x", None),
    ("POST", "/services/create", WEB),
    ("POST", "/services/x/update?version=1", WEB),
    ("DELETE", "/services/x", None),
    ("GET", "/tasks", None),
    ("GET", "/tasks/x", None),
    ("GET", "/secrets", None),
    ("POST", "/secrets/create", {"Name": "s", "Data": "eA=="}),
    ("GET", "/configs/x", None),
    ("DELETE", "/configs/x", None),
]


@pytest.mark.parametrize(("method", "path", "body"), SWARM_REQUESTS)
async def test_swarm_state_is_answered_by_active_managers_only(
    api: Api, method: str, path: str, body: Any
):
    """In no swarm, on a worker, on a locked manager and without a leader: Docker's four texts."""
    node = api.node
    answers = [await api.ask(method, path, body)]
    await node.become_worker()
    answers.append(await api.ask(method, path, body))
    node.local_state = "locked"
    answers.append(await api.ask(method, path, body))
    await node.become_manager()
    node.leader = False
    answers.append(await api.ask(method, path, body))
    assert [(one.status, one.message) for one in answers] == [
        (503, NO_SWARM),
        (503, WORKER),
        (503, LOCKED),
        (500, NO_LEADER),
    ]


def test_a_manager_demoted_under_a_request_sends_the_client_to_another():
    """503, as a worker answers: a client that asks the next manager on that one goes on."""
    refusal = translate(Stopped("removed: ask another one"))
    assert (refusal.status, refusal.message) == (
        503,
        "rpc error: code = Unavailable desc = removed: ask another one",
    )


async def test_a_manager_that_is_starting_says_so(api: Api):
    """Between promotion and the first read of its replica."""
    await api.node.become_worker()
    api.node.manager = True
    answer = await api.ask("GET", "/nodes")
    assert (answer.status, answer.message) == (
        503,
        (
            "This node is not a swarm manager. "
            "Manager is being prepared or has trouble connecting to the cluster."
        ),
    )


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("service", ("/services/ghost", "/services/ghost/update?version=1")),
        ("node", ("/nodes/ghost", "/nodes/ghost/update?version=1")),
        ("task", ("/tasks/ghost",)),
        ("secret", ("/secrets/ghost", "/secrets/ghost/update?version=1")),
        ("config", ("/configs/ghost", "/configs/ghost/update?version=1")),
        ("network", ("/networks/ghost",)),
    ],
)
async def test_unknown_objects_are_404_by_kind_and_reference(
    manager: Api, kind: str, paths: tuple[str, ...]
):
    """What is not there is said so in the same words, whatever is asked of it."""
    body = {"Role": "worker", "Availability": "active"} | WEB
    for path in paths:
        method = "POST" if "update" in path else "GET"
        answer = await manager.ask(method, path, body if method == "POST" else None)
        assert (answer.status, answer.message) == (404, f"{kind} ghost not found")
        if kind not in ("task", "network"):
            answer = await manager.ask("DELETE", f"/{kind}s/ghost")
            assert (answer.status, answer.message) == (404, f"{kind} ghost not found")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "got EOF while reading request body"),
        (b"bad", "invalid character 'b' looking for beginning of value"),
        (b'{"Name": "web"', "unexpected EOF"),
        (b"{} {}", "unexpected content after JSON"),
        (b"[]", "json: cannot unmarshal array into Go value of type swarm.ServiceSpec"),
        (
            b'{"Name": 3}',
            ("json: cannot unmarshal number into Go struct field ServiceSpec.Name of type string"),
        ),
        (
            b'{"Mode":{"Replicated":{"Replicas":"2"}}}',
            (
                "json: cannot unmarshal string into Go struct field "
                "ServiceSpec.Mode.Replicated.Replicas of type int64"
            ),
        ),
        (
            b'{"UpdateConfig":{"Delay":9223372036854775808}}',
            (
                "json: cannot unmarshal number 9223372036854775808 into Go struct field "
                "ServiceSpec.UpdateConfig.Delay of type int64"
            ),
        ),
        (
            b'{"TaskTemplate":{"RestartPolicy":{"Condition":"x"}}}',
            'invalid RestartCondition: "x"',
        ),
        (b"[" * 100_000, "exceeded max depth"),
        pytest.param(
            b'{"TaskTemplate":{"ContainerSpec":{"Image":"a","Privileges":{"a":%s}}}}'
            % (b"[" * 200 + b"]" * 200),
            "exceeded max depth",
            id="hundreds-deep",
        ),
        pytest.param(
            b'{"EndpointSpec":{"Ports":[%s{}]}}' % (b"{}," * 10_000),
            "the request's body has more than 10000 values: leave some out",
            id="thousands-of-values",
        ),
    ],
)
async def test_bad_bodies_are_400_with_the_reason(manager: Api, body: bytes, message: str):
    """A body that is no JSON or of another type is refused with what and where."""
    answer = await manager.ask("POST", "/services/create", body)
    assert (answer.status, answer.message) == (400, message)


async def test_a_body_of_another_type_is_refused(manager: Api):
    """A web page can't post to the API: its forms are no JSON."""
    headers = {"Content-Type": "text/plain"}
    async with manager.client.post("/services/create", data=b"{}", headers=headers) as response:
        body = await response.json()
    assert response.status == 400
    assert body["message"] == (
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    )


async def test_a_body_over_the_bound_is_413(manager: Api):
    """Bodies are bounded, whatever the client sends."""
    answer = await manager.ask("POST", "/services/create", b" " * (4 * 1024 * 1024 + 1))
    assert (answer.status, answer.message) == (413, "http: request body too large")


async def test_a_change_that_no_log_entry_holds_is_refused_in_docker_s_words(manager: Api):
    """1.5 MiB: the body passes, the transaction doesn't, and nothing was stored."""
    container = {"Image": "busybox:1", "Env": ["A=" + "x" * 1_600_000]}
    spec = {"Name": "web", "TaskTemplate": {"ContainerSpec": container}}
    answer = await manager.ask("POST", "/services/create", spec)
    assert (answer.status, answer.message) == (
        500,
        "rpc error: code = Unknown desc = raft: raft message is too large and can't be sent",
    )
    assert await manager.get("/services") == []


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nosuch", 404, "page not found"),
        ("GET", "/v1.41/nosuch", 404, "page not found"),
        ("DELETE", "/nodes", 404, "page not found"),
        (
            "GET",
            "/v1.99/nodes",
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.50",
        ),
        (
            "GET",
            "/v1.12/nodes",
            400,
            (
                "client version 1.12 is too old. Minimum supported API version is 1.24, "
                "please upgrade your client to a newer version"
            ),
        ),
        ("GET", '/services?filters={"bad":["x"]}', 400, "Invalid filter 'bad'"),
        (
            "GET",
            "/services?status=maybe",
            400,
            'invalid value for status: maybe: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            "GET",
            "/services?filters=bad",
            400,
            "invalid character 'b' looking for beginning of value",
        ),
        (
            "GET",
            '/services?filters={"name":"x"}',
            400,
            "json: cannot unmarshal string into Go value of type map[string]bool",
        ),
        (
            "GET",
            "/services?filters=[]",
            400,
            "json: cannot unmarshal array into Go value of type map[string]map[string]bool",
        ),
        ("GET", '/tasks?filters={"service":["ghost"]}', 404, "service ghost not found"),
        ("GET", '/tasks?filters={"node":{"ghost":true}}', 404, "node ghost not found"),
        (
            "GET",
            '/tasks?filters={"desired-state":["x"]}',
            500,
            "Invalid desired-state filter: 'x'",
        ),
        ("GET", '/nodes?filters={"role":["king"]}', 500, "Invalid role filter: 'king'"),
        (
            "GET",
            '/nodes?filters={"membership":["x"]}',
            500,
            "Invalid membership filter: 'x'",
        ),
        (
            "GET",
            "/distribution/registry.example:5000/a/b:1/json",
            404,
            "no digest of registry.example:5000/a/b:1 is known: this node asks no registry",
        ),
    ],
)
async def test_bad_paths_and_queries(
    manager: Api, method: str, path: str, status: int, message: str
):
    """Versions, routes, filters and booleans are refused in Docker's words."""
    answer = await manager.ask(method, path)
    assert (answer.status, answer.message) == (status, message)


@pytest.mark.parametrize("filters", ["null", '{"name":null}', '{"name":[]}', "{}"])
async def test_filters_that_name_nothing_keep_all(manager: Api, filters: str):
    """Null is to Go what is not there."""
    answer = await manager.ask("GET", f"/nodes?filters={filters}")
    assert (answer.status, len(answer.body)) == (200, 1)


@pytest.mark.parametrize("kind", ["service", "node", "swarm", "secret", "config"])
@pytest.mark.parametrize(
    ("version", "problem"),
    [
        (None, 'parsing "": invalid syntax'),
        ("x", 'parsing "x": invalid syntax'),
        ("-1", 'parsing "-1": invalid syntax'),
        ("99999999999999999999", 'parsing "99999999999999999999": value out of range'),
        pytest.param(LONG, f'parsing "{LONG}": value out of range', id="thousands-of-digits"),
    ],
)
async def test_an_update_must_name_a_version(
    manager: Api, kind: str, version: str | None, problem: str
):
    """Without a readable version nothing is changed."""
    path = "/swarm/update" if kind == "swarm" else f"/{kind}s/x/update"
    answer = await manager.ask(
        "POST",
        path if version is None else f"{path}?version={version}",
        {"Role": "worker", "Availability": "active"},
    )
    assert answer.status == 400
    assert (
        answer.message == f"invalid {kind} version '{version or ''}': strconv.ParseUint: {problem}"
    )


async def test_a_stale_version_is_out_of_sequence_everywhere(manager: Api):
    """An update that names another version than the stored one changes nothing."""
    service = (await manager.ask("POST", "/services/create", WEB)).body["ID"]
    secret = (await manager.ask("POST", "/secrets/create", {"Name": "s", "Data": "eA=="})).body[
        "ID"
    ]
    updates: list[tuple[str, Any]] = [
        ("/swarm/update", {}),
        (f"/services/{service}/update", WEB),
        (f"/secrets/{secret}/update", {"Name": "s"}),
        (f"/nodes/{manager.node.node_id}/update", {"Role": "manager", "Availability": "active"}),
    ]
    for path, body in updates:
        for version in (0, 999):
            answer = await manager.ask("POST", f"{path}?version={version}", body)
            expected = (500, "rpc error: code = Unknown desc = update out of sequence")
            assert (answer.status, answer.message) == expected, path


async def test_an_ambiguous_reference_is_400(manager: Api):
    """A hostname that repeats, or a prefix that fits several IDs, is said to be ambiguous."""
    await manager.node.add_node("a3")
    await manager.node.add_node("a3")
    answer = await manager.ask("GET", "/nodes/a3")
    assert (answer.status, answer.message) == (400, "node a3 is ambiguous (2 matches found)")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"Availability": "active"}, 'invalid Role: ""'),
        ({"Role": "king", "Availability": "active"}, 'invalid Role: "king"'),
        ({"Role": "worker"}, 'invalid Availability: ""'),
        ({"Role": "worker", "Availability": "off"}, 'invalid Availability: "off"'),
    ],
)
async def test_a_node_needs_role_and_availability(manager: Api, body: Any, message: str):
    """Both are required in every update of a node."""
    answer = await manager.ask("POST", "/nodes/a1/update?version=1", body)
    assert (answer.status, answer.message) == (400, message)


async def test_demotions_that_would_lose_the_swarm_are_refused(manager: Api):
    """The last manager stays, and so does one whose loss would cost the quorum."""
    body = {"Role": "worker", "Availability": "active"}
    prefix = "rpc error: code = FailedPrecondition desc = "
    answer = await manager.ask("POST", "/nodes/a1/update?version=1", body)
    assert (answer.status, answer.message) == (
        400,
        prefix + "attempting to demote the last manager of the swarm",
    )
    other = await manager.node.add_node("a2", Role.MANAGER)
    manager.node.demote_error = QuorumLoss()
    answer = await manager.ask("POST", f"/nodes/a2/update?version={other.version.index}", body)
    assert (answer.status, answer.message) == (
        400,
        prefix + "can't remove member from the raft: this would result in a loss of quorum",
    )
    assert manager.node.calls == [("check_demote", other.id)]


async def test_nodes_that_may_not_be_removed(manager: Api):
    """A manager never, force or not; a live worker only by force."""
    worker = await manager.node.add_node("w1")
    prefix = "rpc error: code = FailedPrecondition desc = node "
    me = manager.node.node_id
    for path in ("/nodes/a1", "/nodes/a1?force=1"):
        answer = await manager.ask("DELETE", path)
        assert (answer.status, answer.message) == (
            400,
            (
                f"{prefix}{me} is a cluster manager and is a member of the raft cluster. "
                "It must be demoted to worker before removal"
            ),
        )
    answer = await manager.ask("DELETE", "/nodes/w1")
    assert (answer.status, answer.message) == (
        400,
        f"{prefix}{worker.id} is not down and can't be removed",
    )


@pytest.mark.parametrize("kind", [ZeroDivisionError, ConnectionRefusedError])
async def test_an_internal_error_is_an_id_that_the_log_explains(
    manager: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Exception],
):
    """Nobody sees a traceback but the log, and both have the same id."""

    async def broken() -> None:
        raise kind("hidden detail")

    monkeypatch.setattr(manager.node, "read_barrier", broken)
    answer = await manager.ask("GET", "/nodes")
    assert answer.status == 500
    assert "hidden detail" not in json.dumps(answer.body)
    error_id = answer.message.split(":")[0].removeprefix("internal error ")
    logged = capsys.readouterr()
    assert error_id in logged.out + logged.err
    assert "hidden detail" in logged.out + logged.err


async def test_an_internal_error_while_a_secret_is_made_tells_nothing_of_it(
    manager: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Neither the client nor the log sees what was in the body."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    store = manager.node.store
    assert store
    monkeypatch.setattr(store, "propose", broken)
    answer = await manager.ask("POST", "/secrets/create", {"Name": "pw", "Data": "aHVudGVyMg=="})
    assert answer.status == 500
    logged = capsys.readouterr()
    assert "request failed" in logged.out + logged.err
    for text in ("aHVudGVyMg", "hunter2"):
        assert text not in json.dumps(answer.body) + logged.out + logged.err


def test_only_streams_and_nothing_else_may_take_as_long_as_they_like():
    """Every other handler has a deadline, and a client for its answer too."""
    endless = {route.path for one in RESOURCES for route in one.ROUTES if route.deadline_s is None}
    assert endless == {"/events", "/services/{id}/logs", "/tasks/{id}/logs"}


async def test_a_handler_that_takes_too_long_is_cut_off(
    manager: Api, monkeypatch: pytest.MonkeyPatch
):
    """Every handler has a deadline."""

    async def stuck() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(manager.node, "read_barrier", stuck)
    quick = [route._replace(deadline_s=0.01) for route in nodes.ROUTES]
    monkeypatch.setattr(nodes, "ROUTES", quick)
    async with TestClient(TestServer(make_app(manager.node))) as client:
        answer = await Api(manager.node, client).ask("GET", "/nodes")
    assert (answer.status, answer.message) == (
        504,
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
    )
