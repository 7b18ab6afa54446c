"""The swarm over HTTP: init, join, leave, settings and tokens, as the node's state allows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.api import swarm
from swarmops.errors import ApiError
from swarmops.model.node import ManagerStatus, Reachability, Role
from swarmops.model.swarm import InitRequest, JoinRequest
from tests.unit.api.conftest import Api

IN_SWARM = (
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join '
    "another one."
)
AS_MANAGER = "You are attempting to leave the swarm on a node that is participating as a manager. "
ONLY_WAY = (
    "The only way to restore a swarm that has lost consensus is to reinitialize it with "
    "`--force-new-cluster`. Use `--force` to suppress this message."
)
JOIN = {"RemoteAddrs": ["10.0.0.1:2377"], "JoinToken": "SWMTKN-1-x-y", "ListenAddr": "0.0.0.0:2377"}


async def test_init_gets_a_complete_request(api: Api):
    """docker-py sends nearly nothing: the node still gets every default."""
    answer = await api.ask("POST", "/swarm/init", {"AdvertiseAddr": "10.0.0.1"})
    assert (answer.status, answer.body) == (200, api.node.node_id)
    request = api.node.calls[0]
    assert isinstance(request, InitRequest)
    assert request.advertise_addr == "10.0.0.1"
    assert request.availability == "active"
    assert request.default_addr_pool == ["10.0.0.0/8"]
    spec = (await api.get("/swarm"))["Spec"]
    assert spec["Name"] == "default"
    assert spec["Orchestration"] == {"TaskHistoryRetentionLimit": 5}
    assert spec["CAConfig"] == {"NodeCertExpiry": 90 * 24 * 3600 * 10**9}
    assert spec["EncryptionConfig"] == {"AutoLockManagers": False}


async def test_the_cli_sends_zeros_and_gets_defaults(api: Api):
    """Zeros and nulls in the CLI's init mean the defaults; no pools of its own is shown as null."""
    body = {
        "DefaultAddrPool": [],
        "SubnetSize": 0,
        "Availability": "Drain",
        "Spec": {"Labels": None, "Raft": {"ElectionTick": 0}, "Orchestration": {}},
    }
    await api.ask("POST", "/swarm/init", body)
    request = api.node.calls[0]
    assert isinstance(request, InitRequest)
    assert (request.default_addr_pool, request.subnet_size) == (None, 24)
    assert request.availability == "drain"
    assert (await api.get("/swarm"))["Spec"]["Raft"]["ElectionTick"] == 10


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Spec": {"Name": "other"}}, 400, 'swarm spec must be named "default"'),
        ({"Availability": "off"}, 400, 'invalid Availability: "off"'),
        ({"SubnetSize": 33}, 400, "subnet size is out of range: 33"),
        (
            {"DataPathPort": 80},
            400,
            "Datapath port number is not in valid range (1024-49151) : 80",
        ),
        (
            {"DefaultAddrPool": ["10.0.0.0/33"]},
            400,
            "invalid base pool 10.0.0.0/33: invalid CIDR address: 10.0.0.0/33",
        ),
        (
            {"DefaultAddrPool": ["10.0.0.0/24"], "SubnetSize": 16},
            400,
            'invalid CIDR: "10.0.0.0/24". Subnet size is too small for pool: 16',
        ),
        (
            {"DefaultAddrPool": ["10.0.0.0/8", "10.1.0.0/16"]},
            400,
            "invalid base pool 10.1.0.0/16: it overlaps with another one",
        ),
        (
            {"Spec": {"CAConfig": {"NodeCertExpiry": 1}}},
            400,
            "rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s",
        ),
    ],
)
async def test_inits_that_are_refused(api: Api, body: Any, status: int, message: str):
    """Before the node is asked to do anything."""
    answer = await api.ask("POST", "/swarm/init", body)
    assert (answer.status, answer.message) == (status, message)
    assert api.node.calls == []


async def test_a_member_can_neither_init_nor_join(api: Api):
    """Whether worker, manager, joining or locked; only a manager may begin again by force."""
    await api.node.become_worker()
    for state in ("active", "pending", "error", "locked"):
        api.node.local_state = state
        for path, body in (("init", {"ForceNewCluster": True}), ("join", JOIN)):
            answer = await api.ask("POST", f"/swarm/{path}", body)
            assert (answer.status, answer.message) == (503, IN_SWARM), (state, path)
    await api.node.become_manager()
    assert (await api.ask("POST", "/swarm/init", {})).message == IN_SWARM
    assert (await api.ask("POST", "/swarm/init", {"ForceNewCluster": True})).status == 200


async def test_join_waits_until_the_node_is_a_member(api: Api):
    """The answer is empty, and /info then says what the node became."""
    answer = await api.ask("POST", "/swarm/join", JOIN)
    assert (answer.status, answer.body) == (200, "")
    assert isinstance(api.node.calls[0], JoinRequest)
    info = (await api.get("/info"))["Swarm"]
    assert (info["LocalNodeState"], info["ControlAvailable"]) == ("active", False)
    assert info["RemoteManagers"] == [{"NodeID": "m", "Addr": "10.0.0.9:2377"}]
    assert "Cluster" not in info


async def test_a_join_without_addresses_is_refused(api: Api):
    """There is nobody to ask."""
    answer = await api.ask("POST", "/swarm/join", {"JoinToken": "x"})
    assert (answer.status, answer.message) == (
        400,
        "at least 1 RemoteAddr is required to join",
    )


async def test_the_nodes_refusal_of_a_join_is_answered_as_it_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    """The node knows Docker's texts for bad tokens."""

    async def refuse(_: JoinRequest) -> None:
        raise ApiError(500, "invalid join token")

    monkeypatch.setattr(api.node, "join", refuse)
    answer = await api.ask("POST", "/swarm/join", JOIN)
    assert (answer.status, answer.message) == (500, "invalid join token")


async def test_a_join_that_takes_long_goes_on_without_its_client(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    """The client is told to look again; the attempt is not cut off."""
    go_on, joined = asyncio.Event(), asyncio.Event()

    async def slow(_: JoinRequest) -> None:
        await go_on.wait()
        joined.set()

    monkeypatch.setattr(api.node, "join", slow)
    monkeypatch.setattr(swarm, "JOIN_WAIT_S", 0.01)
    answer = await api.ask("POST", "/swarm/join", JOIN)
    assert answer.status == 503
    assert answer.message.startswith("Timeout was reached before node joined. The attempt to join")
    go_on.set()
    await asyncio.wait_for(joined.wait(), 5)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            [],
            AS_MANAGER + "Removing the last manager erases all current state of the swarm. "
            "Use `--force` to ignore this message. ",
        ),
        (
            [Reachability.REACHABLE],
            AS_MANAGER + "Removing this node leaves 1 managers out of 2. "
            "Without a Raft quorum your swarm will be inaccessible. " + ONLY_WAY,
        ),
        (
            [Reachability.UNREACHABLE],
            AS_MANAGER + "Removing this node leaves 0 managers out of 2. "
            "Without a Raft quorum your swarm will be inaccessible. " + ONLY_WAY,
        ),
        ([Reachability.REACHABLE, Reachability.REACHABLE], AS_MANAGER + ONLY_WAY),
    ],
)
async def test_a_manager_leaves_only_by_force(
    manager: Api, others: list[Reachability], message: str
):
    """Docker's sentences say what its leaving would do."""
    for number, reachability in enumerate(others):
        other = await manager.node.add_node(f"b{number}", Role.MANAGER)
        assert isinstance(other.manager_status, ManagerStatus)
        status = replace(other.manager_status, reachability=reachability)
        await manager.node.put(replace(other, manager_status=status))
    answer = await manager.ask("POST", "/swarm/leave")
    assert (answer.status, answer.message) == (503, message)
    assert manager.node.calls == []
    assert (await manager.ask("POST", "/swarm/leave?force=1")).status == 200
    assert manager.node.calls == [("leave", True)]


async def test_leaving_by_state(api: Api):
    """No swarm, no leaving; a locked node only by force; a worker whenever it wants."""
    answer = await api.ask("POST", "/swarm/leave")
    assert (answer.status, answer.message) == (503, "This node is not part of a swarm")
    await api.node.become_worker()
    api.node.local_state = "locked"
    answer = await api.ask("POST", "/swarm/leave")
    assert (answer.status, answer.message) == (
        503,
        (
            "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this "
            "message."
        ),
    )
    api.node.local_state = "active"
    assert (await api.ask("POST", "/swarm/leave")).status == 200
    assert api.node.calls == [("leave", False)]


async def test_the_swarm_is_shown_with_tokens_and_without_keys(manager: Api):
    """The CA's key leaves no manager; tokens are only in /swarm, never in /info."""
    shown = await manager.get("/swarm")
    assert shown["JoinTokens"]["Worker"].startswith("SWMTKN-1-")
    assert "KEY" not in str(shown)
    info = await manager.get("/info")
    assert "SWMTKN" not in str(info)
    assert info["Swarm"]["Cluster"]["ID"] == shown["ID"]
    assert (info["Swarm"]["Nodes"], info["Swarm"]["Managers"]) == (1, 1)


async def test_an_update_keeps_what_it_does_not_name(manager: Api):
    """docker-py sends a partial spec; zero is a value only where Docker has it so."""
    before = await manager.get("/swarm")
    wanted = {"Orchestration": {"TaskHistoryRetentionLimit": 0}, "Labels": {"x": "y"}}
    index = before["Version"]["Index"]
    answer = await manager.ask("POST", f"/swarm/update?version={index}", wanted)
    assert (answer.status, answer.body) == (200, "")
    after = await manager.get("/swarm")
    assert after["Spec"] == before["Spec"] | wanted
    assert after["JoinTokens"] == before["JoinTokens"]


@pytest.mark.parametrize(
    ("asked", "changed"),
    [("rotateWorkerToken", "Worker"), ("rotateManagerToken", "Manager")],
)
async def test_a_rotated_token_changes_its_secret_alone(manager: Api, asked: str, changed: str):
    """The root's digest stays, and so does the other token."""
    before = await manager.get("/swarm")
    other = "Manager" if changed == "Worker" else "Worker"
    index = before["Version"]["Index"]
    await manager.ask("POST", f"/swarm/update?version={index}&{asked}=true", before["Spec"])
    after = await manager.get("/swarm")
    assert after["JoinTokens"][other] == before["JoinTokens"][other]
    old, new = before["JoinTokens"][changed], after["JoinTokens"][changed]
    assert old != new
    assert old.rsplit("-", 1)[0] == new.rsplit("-", 1)[0]
    assert after["Spec"] == before["Spec"]


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"CAConfig": {"ExternalCAs": [{"Protocol": "cfssl", "URL": "https://x"}]}}, 501),
        ({"CAConfig": {"SigningCAKey": "key"}}, 400),
        ({"CAConfig": {"SigningCACert": "cert"}}, 400),
        ({"CAConfig": {"SigningCACert": "cert", "SigningCAKey": "key"}}, 400),
        ({"Name": "x"}, 400),
        ({"Dispatcher": {"HeartbeatPeriod": -1}}, 400),
    ],
)
async def test_settings_that_are_refused_change_nothing(manager: Api, spec: Any, status: int):
    """What isn't done is not promised either."""
    before = await manager.get("/swarm")
    index = before["Version"]["Index"]
    answer = await manager.ask("POST", f"/swarm/update?version={index}", spec)
    assert answer.status == status
    assert await manager.get("/swarm") == before


async def update(manager: Api, spec: Any, query: str = "") -> Any:
    """Update the swarm as it is now; return the answer."""
    index = (await manager.get("/swarm"))["Version"]["Index"]
    return await manager.ask("POST", f"/swarm/update?version={index}{query}", spec)


async def test_managers_get_an_unlock_key_with_autolock_and_lose_it_without(manager: Api):
    """What an update leaves out stays; "no" is an answer."""
    assert await manager.get("/swarm/unlockkey") == {"UnlockKey": ""}
    await update(manager, {"EncryptionConfig": {"AutoLockManagers": True}})
    key = (await manager.get("/swarm/unlockkey"))["UnlockKey"]
    assert key.startswith("SWMKEY-1-")
    assert len(key) == len("SWMKEY-1-") + 43
    await update(manager, {"Labels": {"a": "b"}})
    assert (await manager.get("/swarm/unlockkey"))["UnlockKey"] == key
    await update(manager, {}, "&rotateManagerUnlockKey=1")
    rotated = (await manager.get("/swarm/unlockkey"))["UnlockKey"]
    assert rotated.startswith("SWMKEY-1-")
    assert rotated != key
    await update(manager, {"EncryptionConfig": {"AutoLockManagers": False}})
    assert await manager.get("/swarm/unlockkey") == {"UnlockKey": ""}
    await update(manager, {}, "&rotateManagerUnlockKey=1")
    assert await manager.get("/swarm/unlockkey") == {"UnlockKey": ""}


@pytest.mark.parametrize(
    ("state", "key", "status", "message"),
    [
        ("inactive", "x", 503, "This node is not a swarm manager."),
        ("active", "SWMKEY-1-" + "A" * 43, 409, "swarm is not locked"),
        ("locked", "x", 400, "invalid key string"),
        ("locked", "SWMKEY-1-" + "A" * 42, 400, "invalid key string"),
        ("locked", "SWMKEY-1-" + "B" * 43, 401, "swarm could not be unlocked: invalid key"),
    ],
)
async def test_unlocking_that_is_refused(api: Api, state: Any, key: str, status: int, message: str):
    """In Docker's words."""
    api.node.local_state = state
    answer = await api.ask("POST", "/swarm/unlock", {"UnlockKey": key})
    assert answer.status == status
    assert answer.message.startswith(message)


async def test_the_right_key_unlocks(api: Api):
    """The node gets its bytes."""
    api.node.local_state = "locked"
    assert (
        await api.ask("POST", "/swarm/unlock", {"UnlockKey": "SWMKEY-1-" + "A" * 43})
    ).status == 200
    assert api.node.state() == "active"
