"""docker-py's swarm objects work against the API on a unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pytest
from aiohttp import web
from docker.types import EndpointSpec, RestartPolicy, ServiceMode, UpdateConfig

from swarmops.api import make_app
from swarmops.pki.root import new_root
from tests.unit.api.fake_node import FakeNode

PORTS: Any = {8080: 80}  # the stubs know only the other form


@pytest.fixture
def node() -> FakeNode:
    """Return a node in no swarm."""
    return FakeNode(new_root(datetime.now(UTC)).cert_pem)


@pytest.fixture
async def socket(node: FakeNode, tmp_path: Path) -> AsyncIterator[Path]:
    """Serve it."""
    runner = web.AppRunner(make_app(node), access_log=None, shutdown_timeout=1)
    await runner.setup()
    path = tmp_path / "api.sock"
    await web.UnixSite(runner, path).start()
    yield path
    await runner.cleanup()


async def test_the_high_level_swarm_objects(socket: Path):
    """Swarm, nodes, services, secrets, configs, networks: made, found, changed and removed."""
    await asyncio.wait_for(asyncio.to_thread(_drive, socket), 30)


async def test_a_locked_manager_is_unlocked_with_the_key(socket: Path, node: FakeNode):
    """Another key is refused."""
    node.local_state = "locked"
    await asyncio.wait_for(asyncio.to_thread(_unlock, socket), 30)
    assert node.state() == "active"


def _unlock(socket: Path) -> None:
    client: Any = docker.DockerClient(base_url=f"unix://{socket}")
    try:
        with pytest.raises(docker.errors.APIError, match="invalid key provided"):
            client.swarm.unlock("SWMKEY-1-" + "B" * 43)
        assert client.swarm.unlock({"UnlockKey": "SWMKEY-1-" + "A" * 43})
    finally:
        client.close()


def _drive(socket: Path) -> None:
    client: Any = docker.DockerClient(base_url=f"unix://{socket}")
    try:
        _swarm_and_nodes(client)
        _services(client)
        _files(client)
        _networks(client)
        _leave_and_join(client)
    finally:
        client.close()


def _swarm_and_nodes(client: Any) -> None:
    assert client.ping()
    with pytest.raises(docker.errors.APIError) as refused:
        client.nodes.list()
    assert refused.value.status_code == 503
    assert client.swarm.init(advertise_addr="10.0.0.1")
    assert client.swarm.update(rotate_worker_token=True, task_history_retention_limit=9)
    assert client.swarm.attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"] == 9
    (node,) = client.nodes.list(filters={"role": "manager"})
    assert node.update({"Availability": "drain", "Role": "manager", "Labels": {"a": "b"}})
    node.reload()
    assert node.attrs["Spec"]["Labels"] == {"a": "b"}


def _leave_and_join(client: Any) -> None:
    assert client.swarm.get_unlock_key() == {"UnlockKey": ""}
    assert client.swarm.update(autolock_managers=True)
    assert client.swarm.get_unlock_key()["UnlockKey"].startswith("SWMKEY-1-")
    token = client.swarm.attrs["JoinTokens"]["Worker"]
    with pytest.raises(docker.errors.APIError, match="already part of a swarm"):
        client.swarm.join(["10.0.0.9:2377"], token)
    assert client.swarm.leave(force=True)
    assert client.swarm.join(["10.0.0.9:2377"], token, advertise_addr="10.0.0.2")
    assert client.info()["Swarm"]["LocalNodeState"] == "active"
    assert client.swarm.leave(force=True)


def _services(client: Any) -> None:
    service = client.services.create(
        "busybox",
        "sleep 9",
        name="svc",
        labels={"x": "y"},
        env=["A=B"],
        mode=ServiceMode("replicated", 3),
        endpoint_spec=EndpointSpec(ports=PORTS),
        restart_policy=RestartPolicy("on-failure", max_attempts=3),
        update_config=UpdateConfig(parallelism=2, order="start-first"),
    )
    assert service.attrs["Spec"]["Mode"] == {"Replicated": {"Replicas": 3}}
    assert "Args" not in service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
    before = service.version
    assert service.scale(2)
    service.reload()
    assert service.version > before
    assert service.attrs["Spec"]["Mode"]["Replicated"]["Replicas"] == 2
    assert service.force_update()
    assert service.tasks() == []
    assert [one.id for one in client.services.list(filters={"name": "svc"})] == [service.id]
    job = client.services.create("busybox", mode=ServiceMode("replicated-job", 2, 4), name="job")
    assert job.attrs["JobStatus"]["JobIteration"] == {"Index": 0}
    assert service.remove()
    assert job.remove()


def _files(client: Any) -> None:
    secret = client.secrets.create(name="sec", data=b"abc", labels={"q": "r"})
    assert [one.id for one in client.secrets.list(filters={"name": "sec"})] == [secret.id]
    config = client.configs.create(name="cfg", data=b"abc")
    config.reload()
    assert config.attrs["Spec"]["Data"] == "YWJj"
    assert secret.remove()
    assert config.remove()


def _networks(client: Any) -> None:
    pool = docker.types.IPAMPool(subnet="10.77.0.0/24")
    front = client.networks.create(
        "front",
        driver="overlay",
        attachable=True,
        labels={"a": "b"},
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
    )
    assert client.networks.get("front").attrs["IPAM"]["Config"][0]["Gateway"] == "10.77.0.1"
    assert [one.name for one in client.networks.list(filters={"label": "a"})] == ["front"]
    service = client.services.create("busybox", name="in", networks=["front"])
    assert service.attrs["Spec"]["TaskTemplate"]["Networks"] == [{"Target": front.id}]
    with pytest.raises(docker.errors.APIError, match="is in use by service"):
        front.remove()
    assert service.remove()
    front.remove()
    assert client.networks.prune() == {"NetworksDeleted": None}
