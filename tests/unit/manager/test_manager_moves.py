"""Tasks that are well move: off drained nodes, and to make a service even."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from swarmops.api.services import rebalancing
from swarmops.manager import rebalance
from swarmops.model.base import given
from swarmops.model.node import Availability
from swarmops.model.service import (
    ContainerSpec,
    Placement,
    PlacementPreference,
    RestartPolicy,
    SpreadOver,
    TaskSpec,
    UpdateConfig,
    UpdateStatus,
)
from swarmops.model.task import Task, TaskState
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual, virtual_now

FIRST = UpdateConfig(order="start-first")
EVEN = {"swarmops.rebalance": "true"}


class Least:
    """The fewest running tasks of ``web`` since it was made, and how many tasks were made."""

    def __init__(self, swarm: Lab) -> None:
        self.swarm = swarm
        self.running = len(swarm.running_on("web"))
        self.made = {task.id for task in swarm.store.tasks}
        self.new: set[str] = set()
        swarm.log.on_entry = self.look

    def look(self, _data: bytes) -> None:
        """Look once more."""
        tasks = self.swarm.store.tasks.by_service("web")
        now = [t for t in tasks if t.status.state is TaskState.RUNNING]
        self.running = min(self.running, len(now))
        self.new |= {task.id for task in tasks} - self.made


async def label(swarm: Lab, node_id: str, **labels: str) -> None:
    """Give a node these labels alone."""
    await swarm.store.modify(
        swarm.store.nodes,
        node_id,
        lambda node: replace(node, spec=replace(node.spec, labels=labels)),
    )


async def settle(swarm: Lab, count: int) -> None:
    """Wait until so many tasks of ``web`` run, and no more are wanted."""

    def settled() -> bool:
        tasks = [
            task
            for task in swarm.store.tasks.by_service("web")
            if task.desired_state is TaskState.RUNNING
        ]
        running = [task for task in tasks if task.status.state is TaskState.RUNNING]
        return len(tasks) == len(running) == count

    await swarm.until(settled, within_s=30)
    await asyncio.sleep(2)


@pytest.mark.parametrize(("config", "least"), [(FIRST, 4), (None, 3)], ids=["first", "stop"])
def test_a_drain_starts_the_replacement_first_where_the_service_says_so(
    config: UpdateConfig | None, least: int
) -> None:
    """Not one task fewer than wanted runs; by default the old one stops at once, as Docker's."""

    @virtual
    async def run() -> None:
        async with lab(workers=3) as swarm:
            await swarm.create("web", 4, update_config=config)
            await settle(swarm, 4)
            seen = Least(swarm)
            await swarm.set_availability("w1", Availability.DRAIN)
            await settle(swarm, 4)
            assert "w1" not in swarm.running_on("web")
            assert not swarm.agents["w1"].running()
            assert seen.running == least
            assert len(seen.new) == 1

    run()


@virtual
async def test_a_drained_node_that_dies_or_is_active_again_leaves_one_task_a_slot() -> None:
    """The move that has begun is brought to its end; dead, only the replacement counts."""
    async with lab(workers=3) as swarm:
        await swarm.create("web", 4, update_config=FIRST)
        await settle(swarm, 4)
        for agent in swarm.agents.values():
            agent.step_s = 1.0
        await swarm.set_availability("w1", Availability.DRAIN)
        await swarm.until(lambda: len(swarm.store.tasks) == 5)
        await swarm.set_availability("w1", Availability.ACTIVE)
        await settle(swarm, 4)
        count = len(swarm.store.tasks)
        last = max(set(swarm.running_on("web")) - {"m1"})
        await swarm.set_availability(last, Availability.DRAIN)
        await swarm.until(lambda: len(swarm.store.tasks) > count)
        await swarm.agents[last].power_off()
        await settle(swarm, 4)
        assert last not in swarm.running_on("web")


@virtual
async def test_a_drain_ends_though_no_other_node_takes_the_task() -> None:
    """After the progress deadline the old task stops; the new one goes on waiting."""
    async with lab(workers=2) as swarm:
        here = TaskSpec(
            container_spec=ContainerSpec(image="host"),
            placement=Placement(constraints=["node.hostname==w1"]),
        )
        labels = {"swarmops.update.progress-deadline": "1m"}
        await swarm.create("web", 1, here, update_config=FIRST, labels=labels)
        await settle(swarm, 1)
        await swarm.set_availability("w1", Availability.DRAIN)
        await asyncio.sleep(55)
        assert len(swarm.agents["w1"].running()) == 1
        await swarm.until(lambda: not swarm.agents["w1"].running())
        assert [t.status.state for t in swarm.store.tasks if t.desired_state is TaskState.RUNNING]


@virtual
async def test_a_node_that_comes_takes_the_fewest_tasks_that_make_it_even() -> None:
    """Three nodes have nine tasks; the fourth gets two, one after the other, none is missing."""
    async with lab(workers=3) as swarm:
        await swarm.set_availability("w3", Availability.DRAIN)
        await swarm.create("web", 9, labels=EVEN)
        await settle(swarm, 9)
        seen = Least(swarm)
        await swarm.set_availability("w3", Availability.ACTIVE)
        await swarm.until(lambda: swarm.running_on("web").count("w3") == 2)
        await settle(swarm, 9)
        assert sorted(Counter(swarm.running_on("web")).values()) == [2, 2, 2, 3]
        assert seen.running == 9
        assert len(seen.new) == 2


@virtual
async def test_without_the_label_nothing_moves() -> None:
    """As in Docker; the label alone, put on later, lets it move, and is no update."""
    async with lab(workers=2) as swarm:
        await swarm.set_availability("w2", Availability.DRAIN)
        await swarm.create("web", 6)
        await settle(swarm, 6)
        await swarm.set_availability("w2", Availability.ACTIVE)
        await asyncio.sleep(10)
        assert "w2" not in swarm.running_on("web")
        await swarm.change("web", lambda spec: replace(spec, labels=EVEN))
        await swarm.until(lambda: swarm.running_on("web") == ["m1", "m1", "w1", "w1", "w2", "w2"])


@virtual
async def test_zones_are_made_even_before_nodes() -> None:
    """Two zones, one of them new and with one node: it gets half of all."""
    async with lab(workers=3) as swarm:
        await swarm.set_availability("m1", Availability.DRAIN)
        await swarm.set_availability("w3", Availability.DRAIN)
        for node_id, zone in (("w1", "a"), ("w2", "a"), ("w3", "b")):
            await swarm.store.modify(
                swarm.store.nodes,
                node_id,
                lambda node, zone=zone: replace(
                    node, spec=replace(node.spec, labels={"zone": zone})
                ),  # type: ignore[misc]
            )
        spread = PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone"))
        spec = TaskSpec(
            container_spec=ContainerSpec(image="host"), placement=Placement(preferences=[spread])
        )
        await swarm.create("web", 6, spec, labels=EVEN)
        await settle(swarm, 6)
        seen = Least(swarm)
        await swarm.set_availability("w3", Availability.ACTIVE)
        await swarm.until(lambda: swarm.running_on("web").count("w3") == 3, within_s=20)
        await settle(swarm, 6)
        assert Counter(swarm.running_on("web")) == {"w1": 2, "w2": 1, "w3": 3} or Counter(
            swarm.running_on("web")
        ) == {"w1": 1, "w2": 2, "w3": 3}
        assert seen.running == 6
        assert len(seen.new) == 3


@pytest.mark.slow
@virtual
async def test_a_move_that_fails_costs_nothing_and_is_not_tried_again_at_once() -> None:
    """The old task runs on; the node where one failed is left alone for five minutes."""
    async with lab(workers=2) as swarm:
        policy = RestartPolicy(delay=0)
        spec = TaskSpec(container_spec=ContainerSpec(image="host"), restart_policy=policy)
        await swarm.set_availability("w2", Availability.DRAIN)
        await swarm.create("web", 6, spec, labels=EVEN)
        await settle(swarm, 6)
        ill = swarm.agents["w2"]
        ill.never_starts = lambda _task: True
        seen = Least(swarm)
        await swarm.set_availability("w2", Availability.ACTIVE)
        await asyncio.sleep(120)
        assert seen.running == 6
        assert len(seen.new) == 1
        ill.never_starts = well
        await asyncio.sleep(240)
        await swarm.until(lambda: swarm.running_on("web").count("w2") == 2)


def well(_task: Task) -> bool:
    """Return that nothing fails."""
    return False


async def wish(swarm: Lab) -> None:
    """Ask for one rebalance, as the API does."""
    await swarm.store.modify(
        swarm.store.services, "web", lambda web: rebalancing(web, web, virtual_now())
    )


def status_of(swarm: Lab) -> tuple[str, str]:
    """Return state and message of the service's update."""
    status = given(swarm.store.services["web"].update_status, UpdateStatus())
    return given(status.state, ""), given(status.message, "")


@virtual
async def test_a_service_is_rebalanced_once_when_an_operator_says_so() -> None:
    """The fewest tasks move, never fewer than wanted run, and a node that joins later gets none."""
    async with lab(workers=4) as swarm:
        await swarm.set_availability("w3", Availability.DRAIN)
        await swarm.set_availability("w4", Availability.DRAIN)
        await swarm.create("web", 9)
        await settle(swarm, 9)
        await swarm.set_availability("w3", Availability.ACTIVE)
        assert Counter(swarm.running_on("web")) == {"m1": 3, "w1": 3, "w2": 3}
        seen = Least(swarm)
        await wish(swarm)
        assert status_of(swarm) == ("updating", "rebalancing")
        await swarm.until(lambda: status_of(swarm) == ("completed", "rebalanced"), within_s=30)
        assert sorted(Counter(swarm.running_on("web")).values()) == [2, 2, 2, 3]
        assert len(seen.new) == 2
        assert seen.running == 9
        await swarm.set_availability("w4", Availability.ACTIVE)
        await asyncio.sleep(5)
        assert len(seen.new) == 2


@virtual
async def test_a_wish_to_rebalance_waits_for_tasks_that_do_not_run_but_not_for_ever() -> None:
    """A new leader knows of it; after the progress deadline it is given up."""
    async with lab(managers=3, workers=1) as swarm:
        here = Placement(constraints=["node.hostname==w1"])
        spec = TaskSpec(container_spec=ContainerSpec(image="host"), placement=here)
        await swarm.create("web", 2, spec)
        await settle(swarm, 2)
        await swarm.agents["w1"].power_off()
        await swarm.until(lambda: not swarm.running_on("web"), within_s=30)
        await wish(swarm)
        swarm.lead("m2")
        await asyncio.sleep(500)
        assert status_of(swarm) == ("updating", "rebalancing")
        await asyncio.sleep(150)
        state, message = status_of(swarm)
        assert state == "completed"
        assert "given up" in message


@virtual
async def test_a_new_spec_ends_a_rebalance() -> None:
    """The update goes on as if none had been wanted."""
    async with lab(workers=2) as swarm:
        await swarm.set_availability("w2", Availability.DRAIN)
        await swarm.create("web", 6)
        await settle(swarm, 6)
        await swarm.set_availability("w2", Availability.ACTIVE)
        await wish(swarm)
        config = UpdateConfig(parallelism=0, monitor=10**8)
        new = TaskSpec(container_spec=ContainerSpec(image="host", args=["2"]))
        await swarm.change(
            "web", lambda spec: replace(spec, task_template=new, update_config=config)
        )
        await swarm.until(lambda: status_of(swarm) == ("completed", "update completed"), 30)
        assert not rebalance.wished(swarm.store.services["web"])
        await settle(swarm, 6)
