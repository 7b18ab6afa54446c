"""Affinity between services, and generic resources with names, in a whole swarm."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.node import EngineDescription, NodeDescription, Plugin
from swarmops.model.service import (
    ContainerSpec,
    DiscreteGenericResource,
    GenericResource,
    GlobalMode,
    NamedGenericResource,
    ResourceRequirements,
    Resources,
    ServiceMode,
    TaskSpec,
)
from swarmops.model.task import TaskState
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual


@virtual
async def test_tasks_follow_the_service_that_they_want_to_be_with() -> None:
    """They wait for its task, say so, and go to its node, however crowded."""
    async with lab(workers=4) as swarm:
        await swarm.create("web", 3, labels={"swarmops.affinity": "service==db"})
        await asyncio.sleep(1)
        reasons = {task.status.err for task in swarm.store.tasks}
        assert reasons == {"no suitable node (service affinity not satisfied on 5 nodes)"}
        await swarm.create("db", 1)
        await swarm.until(lambda: len(swarm.running_on("web")) == 3)
        assert set(swarm.running_on("web")) == set(swarm.running_on("db"))


@pytest.mark.parametrize(
    "label", [("swarmops.anti-affinity", "service==db"), ("swarmops.affinity", "service!=db")]
)
def test_tasks_avoid_the_service_that_they_must_not_be_with(label: tuple[str, str]) -> None:
    """Both labels say it; a name that no service has keeps nobody away."""

    @virtual
    async def run() -> None:
        async with lab(workers=4) as swarm:
            await swarm.create("db", 4)
            await swarm.until(lambda: len(swarm.running_on("db")) == 4)
            name, value = label
            await swarm.create("web", 3, labels={name: f"{value},{value[:9]}none"})
            await swarm.until(lambda: len(swarm.running_on("web")) == 3)
            [free] = set(swarm.running_on("web"))
            assert free not in swarm.running_on("db")

    run()


@virtual
async def test_a_service_that_avoids_itself_has_one_task_a_node_at_most() -> None:
    """The fourth task waits until one of the nodes is free of it."""
    async with lab(workers=2) as swarm:
        await swarm.create("web", 4, labels={"swarmops.anti-affinity": "service==web"})
        await swarm.until(lambda: swarm.running_on("web") == ["m1", "w1", "w2"])
        await asyncio.sleep(1)
        [waits] = [t for t in swarm.store.tasks if t.status.state is TaskState.PENDING]
        assert waits.status.err == "no suitable node (service affinity not satisfied on 3 nodes)"


@virtual
async def test_a_global_service_may_keep_to_the_nodes_of_another() -> None:
    """On the others its tasks wait."""
    async with lab(workers=3) as swarm:
        await swarm.create("db", 2)
        mode = ServiceMode(global_=GlobalMode())
        await swarm.create("log", mode=mode, labels={"swarmops.affinity": "service==db"})
        await swarm.until(lambda: len(swarm.running_on("log")) == 2)
        await asyncio.sleep(1)
        assert swarm.running_on("log") == swarm.running_on("db")


GPU = TaskSpec(
    container_spec=ContainerSpec(image="host"),
    resources=ResourceRequirements(
        reservations=Resources(
            generic_resources=[
                GenericResource(discrete_resource_spec=DiscreteGenericResource(kind="gpu", value=2))
            ]
        )
    ),
)


async def offer(swarm: Lab, node_id: str, *gpus: str, count: int = 0) -> None:
    """Let a node offer named GPUs, or a number of them."""
    named = [
        GenericResource(named_resource_spec=NamedGenericResource(kind="gpu", value=value))
        for value in gpus
    ]
    counted = GenericResource(
        discrete_resource_spec=DiscreteGenericResource(kind="gpu", value=count)
    )
    resources = Resources(generic_resources=named or [counted])
    engine = EngineDescription(plugins=[Plugin(type="Executor", name="process")])
    description = NodeDescription(hostname=node_id, engine=engine, resources=resources)
    await swarm.store.modify(
        swarm.store.nodes, node_id, lambda node: replace(node, description=description)
    )


def owned(swarm: Lab) -> list[list[str | int]]:
    """Return what each running task got, sorted."""
    found = []
    for task in swarm.store.tasks:
        if task.status.state is TaskState.RUNNING and task.desired_state is TaskState.RUNNING:
            mine: list[str | int] = []
            for each in given(task.assigned_generic_resources, []):
                named = given(each.named_resource_spec, None)
                counted = given(each.discrete_resource_spec, None)
                mine.append(named.value if named else counted.value if counted else 0)
            found.append(mine)
    return sorted(found, key=str)


@virtual
async def test_named_units_are_given_to_one_task_each_and_again_when_it_ends() -> None:
    """Two tasks get two of five names each, the third none; a counted node says how many."""
    async with lab(managers=3, workers=2) as swarm:
        await offer(swarm, "w1", "a", "b", "c", "d", "e")
        await swarm.create("learn", 3, GPU)
        await swarm.until(lambda: len(swarm.running_on("learn")) == 2)
        assert owned(swarm) == [["a", "b"], ["c", "d"]]
        swarm.lead("m2")
        await asyncio.sleep(1)
        [waits] = [t for t in swarm.store.tasks if t.status.state is TaskState.PENDING]
        assert waits.status.err == "no suitable node (insufficient resources on 5 nodes)"
        await offer(swarm, "w2", count=3)
        await swarm.until(lambda: len(swarm.running_on("learn")) == 3)
        assert owned(swarm) == [["a", "b"], ["c", "d"], [2]]
        agent = swarm.agents["w1"]
        doomed = next(task for task in agent.running() if "a" in str(task))
        agent.fails = lambda task: task.id == doomed.id
        await swarm.until(lambda: ["a", "b"] not in owned(swarm))
        await swarm.until(lambda: owned(swarm) == [["a", "b"], ["c", "d"], [2]], within_s=20)
