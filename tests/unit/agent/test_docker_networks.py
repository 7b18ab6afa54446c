"""Networks of the swarm on one node: bridges that come with the first task and go with the last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext, TaskError, TemporaryError
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.executors.docker_config import container_config
from swarmops.agent.executors.docker_networks import joins_of, mode_of
from swarmops.agent.work import Work, make_work
from swarmops.model.ids import new_id
from swarmops.model.network import (
    NETWORK_ID_LABEL,
    PREDEFINED_LABEL,
    Network,
    NetworkAttachment,
    NetworkSpec,
)
from swarmops.model.service import Driver, NetworkAttachmentConfig, PortConfig
from tests.unit.agent.conftest import FACTS, _rng, engine_bench, make_task
from tests.unit.agent.dockerd import IMAGE, docker

FOREVER = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]


def network(name: str, *, internal: bool = False, **labels: str) -> Network:
    """Return an overlay network of the swarm."""
    spec = NetworkSpec(
        name=name,
        labels=labels,
        internal=internal or UNSET,
        driver_configuration=Driver(name="overlay", options={"encrypted": ""}),
    )
    return Network(id=f"id-of-{name}", spec=spec)


def hosts(name: str) -> Network:
    """Return what stands for a network that every host has."""
    spec = NetworkSpec(
        name=name,
        labels={PREDEFINED_LABEL: "true"},
        driver_configuration=Driver(name=name),
    )
    return Network(id=f"id-of-{name}", spec=spec)


def joining(*networks: Network, node_id: str = FACTS.id, **container: Any) -> Work:
    """Return work of a task that joins networks, with the alias ``other`` in each."""
    task = make_task(**({"image": IMAGE, "command": FOREVER} | container))
    configs = [
        NetworkAttachmentConfig(target=each.id, aliases=["other"], driver_opts={"a": "b"})
        for each in networks
    ]
    task = replace(
        task,
        spec=replace(task.spec, networks=configs),
        networks_attachments=[NetworkAttachment(network=each) for each in networks],
    )
    return make_work(task, replace(FACTS, id=node_id))


PORT = PortConfig(protocol="tcp", target_port=80, published_port=8080, publish_mode="ingress")


@pytest.mark.parametrize(
    ("networks", "ports", "mode", "made_in"),
    [
        ([], [], "", []),
        ([network("front"), network("back")], [], "front", ["front"]),
        ([hosts("host")], [PORT], "host", []),
        ([hosts("bridge"), network("front")], [], "bridge", []),
        ([network("back", internal=True)], [PORT], "bridge", []),
        ([network("back", internal=True), network("front")], [PORT], "back", ["back"]),
        ([network("back", internal=True)], [], "back", ["back"]),
    ],
)
def test_a_container_is_made_in_its_first_network(
    networks: list[Network], ports: list[PortConfig], mode: str, made_in: list[str]
):
    """In the host's where the spec says so, in the engine's where ports could not lead to it."""
    work = joining(*networks, ports=ports)
    assert mode_of(work) == mode
    config = container_config(work)
    assert config["HostConfig"].get("NetworkMode", "") == mode
    endpoints = config.get("NetworkingConfig", {}).get("EndpointsConfig", {})
    assert list(endpoints) == made_in
    for endpoint in endpoints.values():
        assert endpoint == {"Aliases": ["other", "web", "tasks.web"], "DriverOpts": {"a": "b"}}


def test_a_task_that_ended_before_there_were_networks_joins_none():
    """Nor does one of a swarm that doesn't say."""
    assert joins_of(make_work(make_task(), FACTS)) == []


@pytest.fixture
async def executor(context: ExecutorContext, engine_address: str) -> AsyncIterator[DockerExecutor]:
    """Return an executor of a node of its own, whose containers and bridges are gone afterwards."""
    made = DockerExecutor(replace(context, docker_host=engine_address, node_id=new_id(_rng)))
    await made.describe()
    yield made
    await made.reattach([])
    await made.close()


@pytest.fixture(params=["docker", "podman"])
async def either(
    request: pytest.FixtureRequest, context: ExecutorContext
) -> AsyncIterator[tuple[DockerExecutor, str]]:
    """Return an executor as above, each kind in turn, and its engine's address."""
    bench = engine_bench(request.param, request, context)
    made = bench.kind(bench.context)
    assert isinstance(made, DockerExecutor)
    await made.describe()
    yield made, made._address
    await made.reattach([])
    await made.close()


def bridges(address: str) -> set[str]:
    """Return the names of the bridges that stand for networks of a swarm."""
    names = docker(
        address, "network", "ls", f"--filter=label={NETWORK_ID_LABEL}", "--format={{.Name}}"
    )
    return set(names.split())


def task_on(executor: DockerExecutor, *networks: Network, **container: Any) -> Work:
    """Return work for the executor's own node."""
    return joining(*networks, node_id=executor._node_id, **container)


@pytest.mark.root
async def test_the_bridge_comes_with_the_first_task_and_goes_with_the_last(
    either: tuple[DockerExecutor, str],
):
    """Of the network's name and with its labels; internal if it is."""
    executor, engine_address = either
    front = network("front", internal=True, tier="1")
    works = [task_on(executor, front, network("back")) for _ in range(3)]
    await asyncio.gather(*(executor.prepare(work) for work in works))
    assert bridges(engine_address) == {"front", "back"}
    [shown] = json.loads(docker(engine_address, "network", "inspect", "front"))
    assert (shown["Driver"], shown["Internal"]) == ("bridge", True)
    assert shown["Labels"]["tier"] == "1"
    assert shown["Labels"][NETWORK_ID_LABEL] == "id-of-front"
    for work in works:
        await executor.start(work)
    await asyncio.gather(*(executor.remove(work) for work in works[1:]))
    assert bridges(engine_address) == {"front", "back"}
    await executor.remove(works[0])
    assert bridges(engine_address) == set()


@pytest.mark.root
async def test_containers_find_each_other_by_alias_and_service(
    executor: DockerExecutor, engine_address: str
):
    """In every network that they share, by the engine's resolver."""
    front, back = network("front"), network("back")
    server, client = task_on(executor, front, back), task_on(executor, back)
    for work in (server, client):
        await executor.prepare(work)
        await executor.start(work)
    [shown] = json.loads(docker(engine_address, "inspect", server.name))
    joined = shown["NetworkSettings"]["Networks"]
    assert set(joined) == {"front", "back"}
    for name in ("front", "back"):
        assert {"other", "web", "tasks.web"} <= set(joined[name]["Aliases"])
    address = joined["back"]["IPAddress"]
    found = docker(engine_address, "exec", client.name, "nslookup", "other")
    assert address in found
    for work in (server, client):
        await executor.remove(work)


@pytest.mark.root
async def test_a_task_without_networks_stays_in_the_engines_own(
    executor: DockerExecutor, engine_address: str
):
    """And makes no bridge; one in the host's network listens on its own ports."""
    plain, on_host = task_on(executor), task_on(executor, hosts("host"), ports=[PORT])
    for work in (plain, on_host):
        await executor.prepare(work)
        await executor.start(work)
    assert bridges(engine_address) == set()
    [shown] = json.loads(docker(engine_address, "inspect", on_host.name))
    assert list(shown["NetworkSettings"]["Networks"]) == ["host"]
    [port] = (await executor.report(on_host)).ports
    assert (port.target_port, port.published_port, port.publish_mode) == (80, 80, "host")
    for work in (plain, on_host):
        await executor.remove(work)


@pytest.mark.root
async def test_a_published_port_leads_into_a_network(executor: DockerExecutor):
    """The engine says on which port of the node, an internal network or not."""
    works = [
        task_on(executor, network("front"), ports=[PORT]),
        task_on(executor, network("back", internal=True), ports=[PORT]),
    ]
    for work in works:
        await executor.prepare(work)
        await executor.start(work)
        [port] = (await executor.report(work)).ports
        assert port.published_port
        await executor.remove(work)


@pytest.mark.root
async def test_a_network_of_somebody_else_is_left_alone(
    executor: DockerExecutor, engine_address: str
):
    """The task fails with the reason; the network stays as it is."""
    docker(engine_address, "network", "create", "mine")
    work = task_on(executor, network("mine"))
    with pytest.raises(TaskError, match="has a network mine which is not the swarm's"):
        await executor.prepare(work)
    await executor.remove(work)
    docker(engine_address, "network", "rm", "mine")


@pytest.mark.root
async def test_a_network_made_anew_waits_for_the_former_ones_tasks(
    executor: DockerExecutor, engine_address: str
):
    """Two of one name and different rules never mix; what nothing uses is replaced at once."""
    old = task_on(executor, network("front"))
    new = task_on(executor, replace(network("front"), id="another"))
    await executor.prepare(old)
    with pytest.raises(TemporaryError, match="the former network front is still in use"):
        await executor.prepare(new)
    await executor._discard(old.name)
    await executor.prepare(new)
    assert docker(engine_address, "network", "inspect", "front", "--format={{json .Labels}}").count(
        "another"
    )
    await executor.remove(old)
    assert bridges(engine_address) == {"front"}
    await executor.remove(new)
    assert bridges(engine_address) == set()


@pytest.mark.root
async def test_after_a_crash_nothing_is_missing_and_nothing_is_left(
    executor: DockerExecutor, engine_address: str, context: ExecutorContext
):
    """A container that was not yet in all its networks joins them; bridges of nobody go."""
    work = task_on(executor, network("front"), network("back"))
    await executor.prepare(work)
    docker(engine_address, "network", "disconnect", "back", work.name)
    await executor.prepare(work)
    await executor.start(work)
    [shown] = json.loads(docker(engine_address, "inspect", work.name))
    assert set(shown["NetworkSettings"]["Networks"]) == {"front", "back"}
    again = DockerExecutor(replace(context, docker_host=engine_address, node_id=executor._node_id))
    await again.reattach([work.id])
    await again.describe()
    assert bridges(engine_address) == {"front", "back"}
    await again.reattach([])
    assert bridges(engine_address) == set()
    await again.close()


@pytest.mark.root
async def test_a_container_of_the_users_own_keeps_the_bridge(
    executor: DockerExecutor, engine_address: str
):
    """It is removed with the next start of the daemon after that container is gone."""
    work = task_on(executor, network("front"))
    await executor.prepare(work)
    docker(engine_address, "create", "--name=guest", "--network=front", IMAGE, "true")
    await executor.remove(work)
    assert bridges(engine_address) == {"front"}
    docker(engine_address, "rm", "guest")
    await executor.reattach([])
    assert bridges(engine_address) == set()
