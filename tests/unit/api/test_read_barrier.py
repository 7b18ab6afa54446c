"""No answer is behind what another manager has answered: all that shows the swarm waits for it."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from swarmops.api.app import RESOURCES
from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.network import NetworkSpec
from swarmops.model.secret import Config, ConfigSpec
from swarmops.model.service import Driver
from swarmops.model.swarm import ClusterInternal
from swarmops.store import Transaction
from swarmops.store.new_networks import placed
from tests.unit.api.conftest import Api
from tests.unit.api.fake_node import START
from tests.unit.api.test_engine_over_tls import Door, door  # noqa: F401 - a fixture
from tests.unit.api.test_events_http import told  # noqa: F401 - a fixture

OF_THE_NODE_ALONE = {
    "/_ping",
    "/version",
    "/openapi.json",
    "/metrics",  # this manager's own numbers, how far its replica is among them
    "/distribution/{image:.+}/json",  # a registry's
}
PATHS = [
    re.sub(r"\{[^}]+\}", "x", route.path)
    for resource in RESOURCES
    for route in resource.ROUTES
    if route.method == "GET" and route.path not in OF_THE_NODE_ALONE
]


def test_what_is_the_nodes_alone_is_still_served():
    """Else a route of another name would go untested."""
    assert {one.path for resource in RESOURCES for one in resource.ROUTES} >= OF_THE_NODE_ALONE


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_about_the_swarm_waits_until_the_replica_is_fit(
    told: Api,  # noqa: F811 - the fixture
    path: str,
):
    """Also those that show only a part of it, or find nothing."""
    async with told.client.get(f"{path}?stdout=1&until=1") as answer:
        await answer.read()
    # The secrets' contents are root's alone to read, and a refusal has nothing to be behind.
    assert told.node.barriers == (1 if path != "/swarmops/secrets" else 0)


async def test_a_network_made_elsewhere_is_listed_at_once(manager: Api):
    """And one removed elsewhere no longer; without a leader nothing is said of either."""
    there = manager.node.another_manager()
    spec = NetworkSpec(name="blue", driver_configuration=Driver(name="overlay"))
    assert there.cluster
    tx = Transaction()
    tx.put(placed(new_id(manager.node.rng), spec, list(there.networks), there.cluster))
    await there.commit(tx)
    assert "blue" in {one["Name"] for one in await manager.get("/networks")}
    stored = there.networks.named("blue")
    assert stored
    tx = Transaction()
    tx.delete(stored)
    await there.commit(tx)
    assert "blue" not in {one["Name"] for one in await manager.get("/networks")}
    manager.node.leader = False
    assert (await manager.ask("GET", "/networks")).status == 500


async def test_info_counts_a_node_that_joined_elsewhere(manager: Api):
    """And shows the swarm's object as it is now."""
    there = manager.node.another_manager()
    (me,) = there.nodes
    tx = Transaction()
    tx.put(replace(me, id=new_id(manager.node.rng)), expected=0)
    await there.commit(tx)
    assert (await manager.get("/info"))["Swarm"]["Nodes"] == 2


async def test_events_until_now_have_what_happened_elsewhere_just_before(
    told: Api,  # noqa: F811 - the fixture
):
    """The replica has it, and so has the list of kept events."""
    there = told.node.another_manager()
    tx = Transaction()
    tx.put(Config(id=new_id(told.node.rng), spec=ConfigSpec(name="c", data="eA==")))
    await there.commit(tx)
    until = told.node.now()
    asked = {"since": str(START.timestamp()), "until": str(until.timestamp())}
    async with told.client.get("/events", params=asked) as answer:
        lines = [json.loads(line) async for line in answer.content]
    assert [(one["Type"], one["Action"]) for one in lines] == [("config", "create")]


async def test_who_was_let_in_or_out_elsewhere_is_so_at_once(door: Door):  # noqa: F811
    """The lookup of a certificate reads the replica as every handler does."""

    async def status() -> bytes:
        reader, writer = await door.connect("read")
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(60):
            answer = await reader.read()
        writer.close()
        return answer.split()[1]

    there = door.node.another_manager()
    cluster = there.cluster
    assert cluster
    internal = given(cluster.internal, ClusterInternal())

    async def let_in(people: object) -> None:
        assert there.cluster
        tx = Transaction()
        tx.put(replace(there.cluster, internal=replace(internal, people=people)))
        await there.commit(tx)

    assert await status() == b"200"
    await let_in([])
    assert await status() == b"401"
    await let_in(internal.people)
    assert await status() == b"200"
    await let_in([replace(one, expires_at=START - timedelta(1)) for one in internal.people])
    assert await status() == b"401"
