"""Updates that fail or stall in a whole swarm: what counts, what is borne, and what follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.update_survey import UpdateSurvey
from swarmops.model.base import given
from swarmops.model.service import (
    Placement,
    RestartPolicy,
    Service,
    ServiceInternal,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateStatus,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import NodeTable
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual
from tests.unit.manager.updating import (
    SECOND,
    break_new,
    keep_history,
    running,
    status,
    template,
    update,
    update_with,
    with_old,
)


def first_fails(swarm: Lab) -> list[str]:
    """Let the first task of the new spec fail on whatever node; return a list that will name it."""
    doomed: list[str] = []

    def first_new(task: Task) -> bool:
        if task.spec == template("new") and not doomed:
            doomed.append(task.id)
        return task.id in doomed

    for agent in swarm.agents.values():
        agent.fails = first_new
    return doomed


@virtual
async def test_a_ratio_of_failures_is_borne() -> None:
    """With a ratio of 1 nothing is too much: all places get the new spec in the end."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        doomed = first_fails(swarm)
        await update(swarm, "new", parallelism=2, max_failure_ratio=1.0)
        await swarm.until(lambda: status(swarm).state == "completed", within_s=30)
        assert doomed
        assert len(running(swarm, "new")) == 4


@pytest.mark.parametrize("config", [{"failure_action": "continue"}, {"max_failure_ratio": 1.0}])
def test_places_that_are_not_restarted_do_not_hold_up_an_update(config: dict[str, object]) -> None:
    """Failures that the update bears end their places' part in it, though nothing runs there."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=3) as swarm:
            once = replace(template("old"), restart_policy=RestartPolicy(condition="none"))
            await swarm.create("web", 2, once)
            tasks = swarm.store.tasks
            await swarm.until(
                lambda: (
                    sum(t.status.state is TaskState.RUNNING for t in tasks.by_service("web")) == 2
                )
            )
            for agent in swarm.agents.values():
                agent.fails = lambda task: task.spec.container_spec != once.container_spec
            wanted = UpdateConfig(parallelism=1, monitor=SECOND, **config)  # type: ignore[arg-type]
            new = replace(once, container_spec=template("new").container_spec)
            await swarm.change(
                "web", lambda spec: replace(spec, task_template=new, update_config=wanted)
            )
            await swarm.until(lambda: status(swarm).state == "completed", within_s=10)
            failed = [t for t in tasks.by_service("web") if t.status.state is TaskState.FAILED]
            assert sorted(given(task.slot, 0) for task in failed) == [1, 2]

    run()


@virtual
async def test_a_new_spec_ends_a_paused_update() -> None:
    """Paused on a bad spec, the service goes on as soon as it gets a good one."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        break_new(swarm)
        with structlog.testing.capture_logs() as logs:
            await update(swarm, "new", parallelism=1, delay=SECOND)
            await swarm.until(lambda: status(swarm).state == "paused")
        (told,) = [entry for entry in logs if entry.get("state") == "paused"]
        assert told["service"] in swarm.store.services
        assert told["reason"] == status(swarm).message
        await asyncio.sleep(5)
        assert status(swarm).state == "paused"
        assert len(running(swarm, "old")) == 3
        await update(swarm, "good", parallelism=0)
        await swarm.until(lambda: len(running(swarm, "good")) == 4, within_s=20)
        await swarm.until(lambda: status(swarm).state == "completed", within_s=20)


@virtual
async def test_start_first_does_not_hammer_a_spec_that_fails() -> None:
    """Beside its old task a place tries the new one again only after the restart delay."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm, 1)
        for agent in swarm.agents.values():
            agent.never_starts = lambda task: task.spec == template("new")
        await update(swarm, "new", parallelism=1, order="start-first", failure_action="continue")
        before = sum(len(agent.started) for agent in swarm.agents.values())
        await asyncio.sleep(10)
        tries = sum(len(agent.started) for agent in swarm.agents.values()) - before
        assert 5 <= tries <= 10
        assert len(running(swarm, "old")) == 1


@pytest.mark.parametrize(
    ("policy", "tries"),
    [
        (RestartPolicy(delay=SECOND, max_attempts=2), 3),
        (RestartPolicy(delay=SECOND, condition="none"), 1),
    ],
    ids=["two attempts", "none"],
)
def test_start_first_asks_the_restart_policy_how_often_to_try(
    policy: RestartPolicy, tries: int
) -> None:
    """Then the place keeps its old task, the update goes on, ends, and does not begin again."""

    @virtual
    async def run() -> None:
        async with lab(managers=2, workers=2) as swarm:
            old = replace(template("old"), restart_policy=policy)
            new = replace(old, container_spec=template("new").container_spec)
            await swarm.create("web", 2, old)
            await swarm.until(lambda: len(swarm.running_on("web")) == 2)
            for agent in swarm.agents.values():
                agent.never_starts = lambda task: task.spec == new
            config = UpdateConfig(
                parallelism=1, order="start-first", failure_action="continue", monitor=SECOND
            )
            await swarm.change(
                "web", lambda spec: replace(spec, task_template=new, update_config=config)
            )
            await swarm.until(lambda: status(swarm).state == "completed", within_s=30)
            ended = status(swarm)
            swarm.lead("m2")  # it looks at everything
            await asyncio.sleep(30)
            assert status(swarm) == ended
            tasks = list(swarm.store.tasks.by_service("web"))
            assert sorted(given(t.slot, 0) for t in tasks if t.spec == new) == sorted(
                [1, 2] * tries
            )
            kept = [t for t in tasks if t.desired_state is TaskState.RUNNING]
            assert [t.spec for t in kept] == [old, old]

    run()


@pytest.mark.parametrize(("ratio", "paused"), [(0.24, True), (0.25, False)])
def test_a_ratio_is_borne_up_to_itself(ratio: float, paused: bool) -> None:  # noqa: FBT001
    """One failure of four places is a quarter: borne at 0.25, too much below."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=3) as swarm:
            await with_old(swarm)
            doomed = first_fails(swarm)
            await update(swarm, "new", parallelism=1, monitor=SECOND, max_failure_ratio=ratio)
            wanted = "paused" if paused else "completed"
            await swarm.until(lambda: status(swarm).state == wanted, within_s=30)
            assert doomed

    run()


@virtual
async def test_a_place_that_fails_again_counts_once_in_the_ratio() -> None:
    """What the restart policy brings, in time to be watched, is none of the update's failures."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        for agent in swarm.agents.values():
            agent.fails = lambda task: task.spec == template("new") and task.slot == 1
        await update(swarm, "new", parallelism=1, monitor=10 * SECOND, max_failure_ratio=0.25)
        await swarm.until(lambda: status(swarm).state == "completed", within_s=60)
        failed = [t for t in swarm.store.tasks if t.status.state is TaskState.FAILED]
        assert len(failed) > 1


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new_task(number: int, state: TaskState, ran_s: float | None) -> Task:
    """Return an ended task of the new spec, and for how long it ran."""
    ended_at = NOW + timedelta(minutes=number)
    began = UNSET if ran_s is None else ended_at - timedelta(seconds=ran_s)
    return Task(
        id=f"new{number}",
        service_id="web",
        slot=1,
        spec=template("new"),
        status=TaskStatus(state=state),
        desired_state=TaskState.SHUTDOWN,
        internal=TaskInternal(spec_version=2, running_at=began, ended_at=ended_at),
    )


@pytest.mark.parametrize(
    ("ends", "failed"),
    [
        ([(TaskState.FAILED, 1)], "new0"),
        ([(TaskState.FAILED, 6)], None),
        ([(TaskState.FAILED, 6), (TaskState.FAILED, 1)], None),
        ([(TaskState.FAILED, 1), (TaskState.FAILED, 6)], "new0"),
        ([(TaskState.SHUTDOWN, 1), (TaskState.REJECTED, None)], "new1"),
        ([(TaskState.SHUTDOWN, 6), (TaskState.FAILED, 1)], None),
        ([(TaskState.SHUTDOWN, 1), (TaskState.COMPLETE, 6), (TaskState.FAILED, 1)], None),
    ],
)
def test_an_update_goes_by_the_first_new_task_of_a_place_that_shows_how_it_does(
    ends: list[tuple[TaskState, float | None]], failed: str | None
) -> None:
    """One that failed before 5 s; what the restart policy brings later is none of its failures."""
    service = Service(
        id="web",
        spec=ServiceSpec(name="web", task_template=template("new")),
        internal=ServiceInternal(spec_version=2),
        update_status=UpdateStatus(state="updating"),
    )
    old = replace(
        new_task(-1, TaskState.SHUTDOWN, 99),
        id="old",
        spec=template("old"),
        internal=TaskInternal(spec_version=1),
    )
    news = [new_task(number, state, ran_s) for number, (state, ran_s) in enumerate(ends)]
    survey = UpdateSurvey(service, NodeTable())
    survey.add("1", [old, *news], NOW + timedelta(hours=1))
    assert [task.id for task in survey.failed.values()] == ([failed] if failed else [])


@virtual
async def test_an_update_remembers_its_failures_where_no_history_is_kept() -> None:
    """Half of the tasks may fail: with the third it stands still, however often they failed."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        await keep_history(swarm, 1)
        break_new(swarm)
        await update(swarm, "new", parallelism=1, delay=3 * SECOND, max_failure_ratio=0.5)
        await swarm.until(lambda: status(swarm).state == "paused", within_s=30)
        assert len(running(swarm, "old")) == 1


def nowhere(spec: TaskSpec) -> TaskSpec:
    """Return the template with a constraint that no node fulfils."""
    return replace(spec, placement=Placement(constraints=["node.labels.none==here"]))


@pytest.mark.parametrize(
    ("action", "state", "message"),
    [
        ("pause", "paused", "update paused due to no progress of task"),
        ("rollback", "rollback_completed", "rollback completed"),
        ("continue", "completed", "update completed"),
    ],
)
@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_a_task_that_finds_no_node_does_not_stall_its_update(
    action: str, state: str, message: str, order: str
) -> None:
    """After the progress deadline the failure action follows; Docker's waits for ever."""

    @virtual
    async def run() -> None:
        async with lab(workers=3) as swarm:
            labels = {"swarmops.update.progress-deadline": "30s"}
            await swarm.create("web", 3, template("old"), labels=labels)
            await swarm.until(lambda: len(running(swarm, "old")) == 3)
            config = {"failure_action": action, "parallelism": 1, "order": order}
            await update_with(swarm, nowhere, **config)
            await asyncio.sleep(29)
            assert status(swarm).state == "updating"
            bound_s = 100 if action == "continue" else 10
            await swarm.until(lambda: status(swarm).state == state, within_s=bound_s)
            assert str(status(swarm).message).startswith(message)
            assert len(running(swarm, "old")) == {
                ("pause", "stop-first"): 2,
                ("continue", "stop-first"): 0,
            }.get((action, order), 3)

    run()


@virtual
async def test_by_default_an_update_may_stand_still_for_ten_minutes() -> None:
    """Then it pauses, which is the default failure action."""
    async with lab(workers=3) as swarm:
        await with_old(swarm, 3)
        await update_with(swarm, nowhere)
        took_s = await swarm.until(lambda: status(swarm).state == "paused", within_s=700)
        assert 595 < took_s < 605
