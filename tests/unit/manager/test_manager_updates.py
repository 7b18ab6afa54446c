"""Rolling updates in a whole swarm: order, pace, and which tasks they touch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import pytest
from msgspec.structs import replace

from swarmops.manager.update_survey import UpdateSurvey
from swarmops.model.base import given
from swarmops.model.node import Availability
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    Placement,
    PlacementPreference,
    ReplicatedMode,
    ServiceMode,
    SpreadOver,
    TaskSpec,
    UpdateConfig,
    UpdateStatus,
)
from swarmops.model.task import Task, TaskInternal, TaskState
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual
from tests.unit.manager.updating import (
    SECOND,
    keep_history,
    running,
    status,
    template,
    update,
    update_with,
    with_old,
)


def starts(swarm: Lab) -> list[datetime]:
    """Return when the new tasks began to run, in order."""
    moments = [given(t.internal, TaskInternal()).running_at for t in running(swarm, "new")]
    return sorted(moment for moment in moments if isinstance(moment, datetime))


@pytest.mark.parametrize(
    ("config", "least", "most"),
    [
        ({"parallelism": 1}, 3, 4),
        ({"parallelism": 2}, 2, 4),
        ({"parallelism": 1, "order": "start-first"}, 4, 5),
        ({"parallelism": 0, "order": "start-first"}, 4, 8),
    ],
)
def test_an_update_keeps_its_bounds(config: dict[str, object], least: int, most: int) -> None:
    """Never fewer and never more tasks run than parallelism and order say."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=3) as swarm:
            await with_old(swarm)
            for agent in swarm.agents.values():
                agent.stop_s = 0.0  # parallelism counts starts: it waits for no old task's end
            await update(swarm, "new", **config)
            seen: set[int] = set()

            def done() -> bool:
                tasks = swarm.store.tasks.by_service("web")
                seen.add(sum(t.status.state is TaskState.RUNNING for t in tasks))
                return status(swarm).state == "completed"

            await swarm.until(done, within_s=20)
            assert len(running(swarm, "new")) == 4
            assert status(swarm).message == "update completed"
            assert min(seen) >= least
            assert max(seen) <= most

    run()


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_an_update_looks_at_what_changed_not_at_the_whole(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place of 60 is judged as often as something happens in it, however many others."""
    judged: Counter[str] = Counter()
    add = UpdateSurvey.add

    def counted(self: UpdateSurvey, place: str, tasks: Sequence[Task], now: datetime) -> None:
        judged[place] += 1
        add(self, place, tasks, now)

    monkeypatch.setattr(UpdateSurvey, "add", counted)

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=3) as swarm:
            await with_old(swarm, 60)
            judged.clear()
            await update(swarm, "new", parallelism=5, order=order, monitor=SECOND)
            await swarm.until(lambda: status(swarm).state == "completed", within_s=60)
            assert len(running(swarm, "new")) == 60

    run()
    assert len(judged) == 60
    assert max(judged.values()) <= 25


@virtual
async def test_services_that_change_at_once_are_all_updated() -> None:
    """What one service needs does not hide that another has a new spec."""
    async with lab(managers=1, workers=3) as swarm:
        await swarm.create("other", 1, template("old"))
        await with_old(swarm, 2)
        more = ServiceMode(replicated=ReplicatedMode(replicas=5))
        await asyncio.gather(
            swarm.change("other", lambda spec: replace(spec, mode=more)),
            update(swarm, "new", parallelism=0, monitor=SECOND),
        )
        await swarm.until(lambda: status(swarm).state == "completed", within_s=10)
        assert len(running(swarm, "new")) == 2
        assert len(swarm.store.tasks.by_service("other")) == 5


@virtual
async def test_the_delay_lies_between_two_places() -> None:
    """With a delay of 2 s each new task starts 2 s after the one before it."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm, 3)
        await update(swarm, "new", parallelism=1, delay=2 * SECOND)
        await swarm.until(lambda: len(running(swarm, "new")) == 3, within_s=20)
        first, second, third = starts(swarm)
        assert 2 <= (second - first).total_seconds() < 2.5
        assert 2 <= (third - second).total_seconds() < 2.5
        assert status(swarm).state == "updating"
        took_s = await swarm.until(lambda: status(swarm).state == "completed", within_s=20)
        assert 4 < took_s < 6


@virtual
async def test_an_update_keeps_its_pace_where_no_history_is_kept() -> None:
    """A place whose old task is deleted already is still one that is being updated."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        await keep_history(swarm, 0)
        for agent in swarm.agents.values():
            agent.stop_s, agent.step_s = 0.0, 0.2
        await update(swarm, "new", parallelism=1, monitor=SECOND)
        least = 4

        def done() -> bool:
            nonlocal least
            tasks = swarm.store.tasks.by_service("web")
            least = min(least, sum(task.status.state is TaskState.RUNNING for task in tasks))
            return status(swarm).state == "completed"

        await swarm.until(done, within_s=30)
        assert least == 3
        await swarm.until(lambda: len(swarm.store.tasks.by_service("web")) == 4)


@virtual
async def test_scaling_is_no_update() -> None:
    """No task that stays is touched, and no progress is written."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        before = {task.id for task in swarm.store.tasks}
        mode = swarm.store.services["web"].spec.mode
        assert mode
        bigger = replace(mode, replicated=replace(mode.replicated, replicas=6))  # type: ignore[type-var]
        await swarm.change("web", lambda spec: replace(spec, mode=bigger))
        await swarm.until(lambda: len(running(swarm, "old")) == 6)
        assert before < {task.id for task in swarm.store.tasks}
        assert status(swarm) == UpdateStatus()


@virtual
async def test_an_update_goes_on_when_a_new_tasks_node_dies() -> None:
    """Start-first: the old task holds the place, and the place gets another new one elsewhere."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm, 1)
        for agent in swarm.agents.values():
            agent.step_s = 1.0
        await update(swarm, "new", parallelism=1, order="start-first")
        await swarm.until(lambda: len(swarm.store.tasks) == 2)
        new = next(task for task in swarm.store.tasks if task.spec == template("new"))
        await swarm.until(lambda: bool(swarm.store.tasks[new.id].node_id))
        await swarm.agents[str(swarm.store.tasks[new.id].node_id)].power_off()
        await swarm.until(lambda: len(running(swarm, "new")) == 1, within_s=15)
        await swarm.until(lambda: status(swarm).state == "completed", within_s=15)


@virtual
async def test_a_third_spec_while_the_second_starts_leaves_two_tasks_at_most() -> None:
    """Start-first: what runs stays, what only started for the outdated spec goes."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm, 1)
        for agent in swarm.agents.values():
            agent.step_s = 0.5
        await update(swarm, "new", order="start-first")
        await swarm.until(lambda: len(swarm.store.tasks) == 2)
        await update(swarm, "newer", order="start-first")
        most = 0

        def done() -> bool:
            nonlocal most
            wanted = [t for t in swarm.store.tasks if t.desired_state is TaskState.RUNNING]
            most = max(most, len(wanted))
            return len(running(swarm, "newer")) == 1

        await swarm.until(done)
        assert most == 2


@virtual
async def test_another_placement_moves_only_tasks_whose_node_does_not_fulfil_it() -> None:
    """As in Docker the others stay, of the old spec, and the update ends."""
    async with lab(workers=3) as swarm:
        await with_old(swarm, 4)
        there = {task.id: str(task.node_id) for task in running(swarm, "old")}
        elsewhere = Placement(constraints=["node.hostname!=w1"])
        await update_with(
            swarm, lambda spec: replace(spec, placement=elsewhere), parallelism=1, monitor=1
        )
        await swarm.until(lambda: status(swarm).state == "completed", within_s=20)
        await swarm.until(lambda: len(swarm.running_on("web")) == 4)
        assert "w1" not in swarm.running_on("web")
        stayed = {t.id for t in swarm.store.tasks if t.desired_state is TaskState.RUNNING}
        assert {task_id for task_id, node in there.items() if node != "w1"} < stayed


@virtual
async def test_a_placement_that_all_nodes_fulfil_is_no_update() -> None:
    """No task is touched, and no progress is written."""
    async with lab(workers=3) as swarm:
        await with_old(swarm, 4)
        before = {task.id for task in swarm.store.tasks}
        spread = [PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone"))]
        wanted = Placement(constraints=["node.hostname!=none"], preferences=spread)
        await update_with(swarm, lambda spec: replace(spec, placement=wanted))
        await asyncio.sleep(5)
        assert {task.id for task in swarm.store.tasks} == before
        assert status(swarm) == UpdateStatus()


@virtual
async def test_an_update_leaves_a_global_services_task_on_a_paused_node_alone() -> None:
    """It could not be replaced there; when the node is active again, it is updated, as Docker's."""
    async with lab(workers=2) as swarm:
        config = UpdateConfig(parallelism=0, monitor=10**8)
        await swarm.create("all", mode=ServiceMode(global_=GlobalMode()), update_config=config)
        await swarm.until(lambda: swarm.running_on("all") == ["m1", "w1", "w2"])
        await swarm.set_availability("w1", Availability.PAUSE)
        new = TaskSpec(container_spec=ContainerSpec(image="host", args=["2"]))
        await swarm.change("all", lambda spec: replace(spec, task_template=new))
        await asyncio.sleep(5)
        assert swarm.running_on("all") == ["m1", "w1", "w2"]
        [kept] = swarm.agents["w1"].running()
        assert kept.spec != new
        assert given(swarm.store.services["all"].update_status, UpdateStatus()).state == "completed"
        await swarm.set_availability("w1", Availability.ACTIVE)
        await swarm.until(lambda: [t.spec for t in swarm.agents["w1"].running()] == [new])
