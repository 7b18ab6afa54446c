"""Events over HTTP and through the real docker CLI: what changed, filters, the past, the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.events import BURST, BURST_FOR, KEPT, EventHistory
from swarmops.manager.pace import PER_TURN
from swarmops.model.base import given
from swarmops.model.events import EventMessage
from swarmops.model.ids import new_id
from swarmops.model.node import Availability, NodeInternal, NodeState
from swarmops.model.secret import Secret, SecretSpec
from swarmops.model.service import (
    ContainerSpec,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateStatus,
)
from swarmops.store import Transaction
from swarmops.store.watch import QUEUE_EVENTS_MAX
from tests.unit.api.conftest import Api
from tests.unit.api.fake_node import FakeNode, NoInsight
from tests.unit.api.test_docker_cli import Cli, docker, swarm  # noqa: F401 - fixtures


class History(NoInsight):
    """A manager's real events."""

    def __init__(self, node: FakeNode) -> None:
        assert node.store is not None
        self.time = node.now()
        self._events = EventHistory(node.store, lambda: self.time)
        self.collecting = asyncio.create_task(self._events.run())

    @property
    def events(self) -> EventHistory:
        """Return the real ones."""
        return self._events


@pytest.fixture
async def told(manager: Api) -> AsyncIterator[Api]:
    """A manager that collects events."""
    history = History(manager.node)
    manager.node.insight = history
    await asyncio.sleep(0)
    yield manager
    history.collecting.cancel()


def service(node: FakeNode, replicas: int = 2, image: str = "a") -> Service:
    """Return a service web."""
    spec = ServiceSpec(
        name="web",
        mode=ServiceMode(replicated=ReplicatedMode(replicas=replicas)),
        task_template=TaskSpec(container_spec=ContainerSpec(image=image)),
    )
    return Service(id=new_id(node.rng), spec=spec)


async def change_everything(node: FakeNode) -> None:
    """Create, update and remove."""
    store = node.store
    assert store is not None
    made = service(node)
    await node.put(made)
    stored = store.services[made.id]
    spec = replace(service(node, 3, "b").spec)
    await node.put(replace(stored, spec=spec, update_status=UpdateStatus(state="updating")))
    secret = Secret(id=new_id(node.rng), spec=SecretSpec(name="s", data="aGlkZGVu"))
    await node.put(secret)
    worker = await node.add_node("w1")
    internal = replace(given(worker.internal, NodeInternal()), session_id="x")
    await node.put(replace(worker, internal=internal))
    worker = store.nodes[worker.id]
    await node.put(
        replace(
            worker,
            status=replace(worker.status, state=NodeState.DOWN),
            spec=replace(worker.spec, availability=Availability.DRAIN),
        )
    )
    tx = Transaction()
    tx.delete(store.secrets[secret.id])
    await store.commit(tx)


async def read(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """Return so many events."""
    async with asyncio.timeout(60):
        return [json.loads(await response.content.readline()) for _ in range(count)]


def short(events: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Return what is told of each event."""
    return [(e["Type"], e["Action"], e["Actor"]["Attributes"]) for e in events]


CHANGES = [
    ("service", "create", {"name": "web"}),
    (
        "service",
        "update",
        {
            "name": "web",
            "image.new": "b",
            "image.old": "a",
            "replicas.new": "3",
            "replicas.old": "2",
            "updatestate.new": "updating",
        },
    ),
    ("secret", "create", {"name": "s"}),
    ("node", "create", {"name": "w1"}),
    (
        "node",
        "update",
        {
            "name": "w1",
            "availability.new": "drain",
            "availability.old": "active",
            "state.new": "down",
            "state.old": "ready",
        },
    ),
    ("secret", "remove", {"name": "s"}),
]


async def test_changes_are_told_as_docker_tells_them(told: Api):
    """With what differs; changes that only managers see are no events, nor is a secret's data."""
    response = await told.client.get("/events")
    await change_everything(told.node)
    events = await read(response, len(CHANGES))
    assert short(events) == CHANGES
    assert {e["scope"] for e in events} == {"swarm"}
    assert all(e["timeNano"] // 10**9 == e["time"] > 10**9 for e in events)
    response.close()


async def test_an_update_that_begins_anew_tells_no_state(told: Api):
    """As in Docker: the state that the last update ended in is not told as an old one."""
    node = told.node
    store = node.store
    assert store is not None
    response = await told.client.get("/events", params={"filters": '{"event":["update"]}'})
    made = replace(service(node), update_status=UpdateStatus(state="completed"))
    await node.put(made)
    stored = store.services[made.id]
    spec = replace(stored.spec, labels={"a": "b"})
    await node.put(replace(stored, spec=spec, update_status=UNSET))
    assert short(await read(response, 1)) == [("service", "update", {"name": "web"})]
    response.close()


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        ({"type": ["service"]}, [0, 1]),
        ({"type": ["secret", "node"]}, [2, 3, 4, 5]),
        ({"event": ["create"], "type": ["node"]}, [3]),
        ({"service": ["we"]}, [0, 1]),
        ({"node": ["w1"], "event": ["update"]}, [4]),
        ({"scope": ["swarm"], "secret": ["s"]}, [2, 5]),
        ({"container": ["web"]}, []),
        ({"service": ["web"], "node": ["w1"]}, []),
    ],
)
async def test_past_events_by_filter(told: Api, filters: dict[str, list[str]], chosen: list[int]):
    """``until`` in the past ends the stream; ``since`` brings what is kept."""
    await change_everything(told.node)
    await asyncio.sleep(0)
    until = str(int(told.node.now().timestamp()))
    answer = await told.client.get(
        "/v1.41/events", params={"since": "1", "until": until, "filters": json.dumps(filters)}
    )
    async with asyncio.timeout(60):
        lines = (await answer.text()).splitlines()
    assert short([json.loads(line) for line in lines]) == [CHANGES[i] for i in chosen]


async def test_wrong_questions(told: Api):
    """An unknown filter and an end before the beginning."""
    answer = await told.ask("GET", "/events", nope=["x"])
    assert (answer.status, answer.message) == (400, "Invalid filter 'nope'")
    answer = await told.ask("GET", "/events?since=20&until=10")
    assert answer.status == 400
    assert "cannot be after `until`" in answer.message


async def test_a_node_in_no_swarm_has_an_open_stream_that_tells_once_it_is_a_manager(api: Api):
    """As the engine's: clients subscribe before they init."""
    response = await api.client.get("/events")
    await api.node.become_manager()
    history = History(api.node)
    api.node.insight = history
    await asyncio.sleep(1)
    await api.node.put(service(api.node))
    assert short(await read(response, 1)) == CHANGES[:1]
    response.close()
    history.collecting.cancel()


async def following(told: Api) -> tuple[History, AsyncGenerator[EventMessage, None]]:
    """The history, and a reader of it that has read one event."""
    history = told.node.insight
    assert isinstance(history, History)
    reader = history.events.read(0, follow=True)
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    await told.node.put(service(told.node))
    await waiting
    return history, reader


async def make_many(node: FakeNode, count: int) -> list[str]:
    """Store so many secrets at once, have all heard of it, and return their names."""
    names = [f"s{new_id(node.rng)}" for _ in range(count)]
    await node.put(*(Secret(id=name[1:], spec=SecretSpec(name=name)) for name in names))
    assert node.insight is not None
    await node.insight.events.caught_up()
    return names


async def test_a_burst_is_told_whole_to_who_was_up_with_it(told: Api):
    """Thousands of nodes that change in one transaction are no reason to end every stream."""
    _, reader = await following(told)
    names = await make_many(told.node, 2 * KEPT)
    assert [(await anext(reader)).actor.attributes["name"] for _ in names] == names
    await reader.aclose()


@pytest.mark.parametrize("count", [1, BURST])
async def test_a_reader_that_falls_behind_what_is_kept_is_cut_off(told: Api, count: int):
    """Rather than be told a story with holes: an event later, or as many as a burst may have."""
    history, reader = await following(told)
    for _ in range(2):
        await make_many(told.node, KEPT)
    if count == 1:
        history.time += 2 * BURST_FOR
    while count > 0:
        await make_many(told.node, min(count, KEPT))
        count -= KEPT
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


async def test_a_reader_is_cut_off_where_the_history_itself_missed_events(told: Api):
    """A snapshot took their place, or they were more than its queue holds."""
    _, reader = await following(told)
    await make_many(told.node, QUEUE_EVENTS_MAX + 1)
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


async def test_an_event_is_encoded_once_for_all_readers(told: Api):
    """Each is given the very same line."""
    insight = told.node.insight
    assert insight is not None
    readers = [insight.events.read(0, follow=True) for _ in range(3)]
    waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
    await asyncio.sleep(0)
    await told.node.put(service(told.node))
    async with asyncio.timeout(60):
        lines = [(await each).line for each in waiting]
    assert json.loads(lines[0])["Actor"]["Attributes"] == {"name": "web"}
    assert len({id(line) for line in lines}) == 1
    for reader in readers:
        await reader.aclose()


async def test_only_a_few_readers_hear_of_an_event_in_one_turn_of_the_loop(told: Api):
    """Hundreds at once would hold up whatever else is ready; the last one hears all the same."""
    insight = told.node.insight
    assert insight is not None
    readers = [insight.events.read(0, follow=True) for _ in range(10 * PER_TURN)]
    waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
    await asyncio.sleep(0)
    await told.node.put(service(told.node))
    told_by_turn = [0]
    async with asyncio.timeout(60):
        while told_by_turn[-1] < len(waiting):
            await asyncio.sleep(0)
            told_by_turn.append(sum(each.done() for each in waiting))
    assert max(b - a for a, b in pairwise(told_by_turn)) <= PER_TURN
    for reader in readers:
        await reader.aclose()


async def test_docker_events(swarm: Cli):  # noqa: F811 - the fixture
    """The real CLI prints past and coming events."""
    history = History(swarm.node)
    swarm.node.insight = history
    await asyncio.sleep(0)
    await change_everything(swarm.node)
    until = swarm.node.now().timestamp()
    shown = await swarm(f"events --since 1 --until {until:.0f} --filter type=service")
    first, second = shown.splitlines()
    assert " service create " in first
    assert first.endswith("(name=web)")
    assert "replicas.new=3, replicas.old=2" in second
    history.collecting.cancel()
