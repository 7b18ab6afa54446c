"""What every answer has, and what the node says of itself in every state."""

from __future__ import annotations

import pytest

from tests.unit.api.conftest import Api


@pytest.mark.parametrize("path", ["/_ping", "/v1.24/_ping", "/version", "/nosuch", "/nodes"])
async def test_every_answer_has_dockers_headers(api: Api, path: str):
    """Clients choose their version by them, errors included."""
    headers = (await api.ask("GET", path)).headers
    assert headers["Api-Version"] == "1.50"
    assert headers["Ostype"] == "linux"
    assert headers["Docker-Experimental"] == "false"
    assert headers["Server"].startswith("Docker/")


async def test_ping_answers_head_and_get(api: Api):
    """HEAD has no body; neither may be cached; the swarm's state is a header."""
    head, get = await api.ask("HEAD", "/_ping"), await api.ask("GET", "/_ping")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, "", "0")
    assert (get.status, get.body) == (200, "OK")
    assert get.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert get.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    states = [head.headers["Swarm"]]
    api.node.local_state = "pending"
    states.append((await api.ask("HEAD", "/_ping")).headers["Swarm"])
    await api.node.become_worker()
    states.append((await api.ask("HEAD", "/_ping")).headers["Swarm"])
    await api.node.become_manager()
    states.append((await api.ask("HEAD", "/_ping")).headers["Swarm"])
    assert states == ["inactive", "pending", "active/worker", "active/manager"]


async def test_version_says_which_api(api: Api):
    """docker-py negotiates by this body."""
    version = await api.get("/version")
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.50", "1.24")
    assert (version["Os"], version["Arch"]) == ("linux", "amd64")
    assert version["Components"][0]["Details"]["ApiVersion"] == "1.50"


async def test_info_by_state(api: Api):
    """It answers in no swarm, and without a leader says so instead of failing."""
    swarm = (await api.get("/info"))["Swarm"]
    assert swarm == {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    }
    await api.node.become_manager()
    api.node.leader = False
    swarm = (await api.get("/info"))["Swarm"]
    assert swarm["ControlAvailable"]
    assert swarm["Error"].startswith(
        "rpc error: code = Unknown desc = The swarm does not have a leader."
    )
    assert swarm["Cluster"]["ID"] == ""


async def test_networks_are_empty_on_every_node(api: Api):
    """`docker network ls` and `docker inspect` ask any node."""
    assert await api.get("/networks") == []
    answer = await api.ask("GET", "/networks/x?scope=swarm")
    assert (answer.status, answer.message) == (404, "network x not found")
