"""Tasks over HTTP: every filter, and long lists that let others work meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.api.reply import SLICE_OBJECTS
from swarmops.model.service import (
    ContainerSpec,
    Placement,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from tests.unit.api.conftest import Api

OLD = TaskSpec(container_spec=ContainerSpec(image="busybox:1"), runtime="container")
NEW = replace(OLD, container_spec=ContainerSpec(image="busybox:2"))


@pytest.fixture
async def tasks(manager: Api) -> Api:
    """Two services; `web` was updated since its first task was made."""
    node = manager.node
    worker = await node.add_node("w1")
    web = Service(id="svc-web", spec=ServiceSpec(name="web", labels={"a": "b"}, task_template=OLD))
    dns = Service(id="svc-dns", spec=ServiceSpec(name="dns", task_template=OLD))
    await node.put(web, dns)
    store = node.store
    assert store is not None
    first = TaskInternal(spec_version=store.services["svc-web"].version.index, service_name="web")
    await node.put(
        replace(store.services["svc-web"], spec=replace(web.spec, task_template=NEW)),
    )
    second = replace(first, spec_version=store.services["svc-web"].version.index)
    running = TaskStatus(state=TaskState.RUNNING, message="started")
    await node.put(
        Task(
            id="t-old",
            spec=OLD,
            service_id="svc-web",
            slot=1,
            node_id=worker.id,
            desired_state=TaskState.SHUTDOWN,
            status=running,
            internal=first,
        ),
        Task(
            id="t-new",
            spec=NEW,
            service_id="svc-web",
            slot=1,
            node_id=node.node_id,
            status=running,
            internal=second,
        ),
        Task(
            id="g-one",
            spec=OLD,
            service_id="svc-dns",
            node_id=worker.id,
            status=running,
            internal=TaskInternal(spec_version=0, service_name="dns"),
        ),
    )
    return manager


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["g-one", "t-new", "t-old"]),
        ({"id": ["t-"]}, ["t-new", "t-old"]),
        ({"name": ["web.1"]}, ["t-new", "t-old"]),
        ({"name": ["dns."]}, ["g-one"]),
        ({"label": ["a=b"]}, ["t-new", "t-old"]),
        ({"label": ["a=c"]}, []),
        ({"service": ["web"]}, ["t-new", "t-old"]),
        ({"service": {"svc-web": True, "dns": True}}, ["g-one", "t-new", "t-old"]),
        ({"service": ["web", "svc-web"]}, ["t-new", "t-old"]),
        ({"node": ["w1"]}, ["g-one", "t-old"]),
        ({"node": ["w1"], "service": ["web"]}, ["t-old"]),
        ({"desired-state": ["Running"]}, ["g-one", "t-new"]),
        ({"desired-state": ["running", "shutdown"]}, ["g-one", "t-new", "t-old"]),
        ({"_up-to-date": {"true": True}}, ["g-one", "t-new"]),
        ({"_up-to-date": {"true": True}, "service": ["web"]}, ["t-new"]),
        ({"runtime": ["plugin"]}, []),
    ],
)
async def test_lists_are_filtered(tasks: Api, filters: dict[str, Any], expected: list[str]):
    """Values of a key are alternatives, keys add up."""
    shown = await tasks.get("/tasks", **filters)
    assert sorted(task["ID"] for task in shown) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"mode": ServiceMode(replicated=ReplicatedMode(replicas=9))},
        {"task_template": replace(NEW, placement=Placement(constraints=["node.role==worker"]))},
    ],
)
async def test_scaling_and_placement_leave_a_task_up_to_date(tasks: Api, change: dict[str, Any]):
    """Otherwise `docker service scale` would wait for tasks that nobody replaces."""
    store = tasks.node.store
    assert store is not None
    service = store.services["svc-web"]
    await tasks.node.put(replace(service, spec=replace(service.spec, **change)))
    shown = await tasks.get("/tasks", **{"_up-to-date": {"true": True}, "service": ["web"]})
    assert [task["ID"] for task in shown] == ["t-new"]


async def test_a_task_is_shown_as_docker_shows_it(tasks: Api):
    """Hidden fields stay hidden; a global service's task has no slot."""
    shown = await tasks.get("/tasks/t-new")
    assert shown["Status"]["State"] == "running"
    assert shown["DesiredState"] == "running"
    assert (shown["Slot"], shown["ServiceID"]) == (1, "svc-web")
    assert shown["Spec"]["ContainerSpec"]["Image"] == "busybox:2"
    assert "Slot" not in await tasks.get("/tasks/g-one")
    assert "spec_version" not in str(shown)
    assert (await tasks.get("/tasks/g-"))["ID"] == "g-one"


async def test_a_long_list_lets_others_have_their_turn(tasks: Api):
    """Raft's ticks must not wait for thousands of tasks to be encoded."""
    count = 5_000
    store = tasks.node.store
    assert store is not None
    for start in range(0, count, 500):
        await tasks.node.put(
            *(
                Task(id=f"x{number:05}", spec=NEW, service_id="svc-web", slot=number)
                for number in range(start, start + 500)
            )
        )
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(tick())
    shown = await tasks.get("/tasks")
    ticking.cancel()
    assert [task["ID"] for task in shown] == [task.id for task in store.tasks]
    assert turns > count / SLICE_OBJECTS
    none = await tasks.ask("GET", "/tasks", name=["zzz"])
    assert (none.status, none.body) == (200, [])
