"""Rolling updates in a whole swarm: order, pace, failure, rollback."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from msgspec import UNSET
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
    RestartPolicy,
    Service,
    ServiceInternal,
    ServiceMode,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
    UpdateConfig,
    UpdateStatus,
)
from swarmops.model.swarm import OrchestrationConfig
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import NodeTable, Transaction
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual

SECOND = 1_000_000_000


def template(arg: str) -> TaskSpec:
    """Return a task template that is told apart by an argument."""
    return TaskSpec(
        container_spec=ContainerSpec(image="host", args=[arg]),
        restart_policy=RestartPolicy(delay=SECOND),
    )


async def update(swarm: Lab, arg: str, **config: object) -> None:
    """Update service ``web`` as the API does."""
    wanted = UpdateConfig(**config)  # type: ignore[arg-type]

    def change(spec: ServiceSpec) -> ServiceSpec:
        return replace(
            spec, task_template=template(arg), update_config=wanted, rollback_config=wanted
        )

    await swarm.change("web", change)


def status(swarm: Lab) -> UpdateStatus:
    """Return what the service says of its update."""
    return given(swarm.store.services["web"].update_status, UpdateStatus())


def running(swarm: Lab, arg: str) -> list[Task]:
    """Return the running tasks with this argument."""
    return [
        task
        for task in swarm.store.tasks.by_service("web")
        if task.status.state is TaskState.RUNNING
        and task.desired_state is TaskState.RUNNING
        and task.spec == template(arg)
    ]


async def with_old(swarm: Lab, replicas: int = 4) -> None:
    """Run the service with argument ``old``."""
    await swarm.create("web", replicas, template("old"))
    await swarm.until(lambda: len(running(swarm, "old")) == replicas)


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


def break_new(swarm: Lab) -> None:
    """Let every task with argument ``new`` fail as soon as it runs."""
    for agent in swarm.agents.values():
        agent.fails = lambda task: task.spec == template("new")


@virtual
async def test_a_failed_update_rolls_back() -> None:
    """The old spec is the spec again, all tasks are of it, and there is no way back left."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        break_new(swarm)
        await update(swarm, "new", parallelism=1, delay=SECOND, failure_action="rollback")
        await swarm.until(lambda: status(swarm).state == "rollback_started")
        assert "due to failure or early termination of task" in str(status(swarm).message)
        await swarm.until(lambda: status(swarm).state == "rollback_completed", within_s=30)
        assert len(running(swarm, "old")) == 4
        service = swarm.store.services["web"]
        assert service.spec.task_template == template("old")
        assert given(service.previous_spec, None) is None


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


@virtual
async def test_a_manual_rollback_goes_through_the_same_machinery() -> None:
    """Specs swapped and ``rollback_started``, as the API writes them: it ends completed."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        await update(swarm, "new", parallelism=0)
        await swarm.until(lambda: status(swarm).state == "completed", within_s=20)
        await roll_back(swarm)
        await swarm.until(lambda: status(swarm).state == "rollback_completed", within_s=20)
        assert len(running(swarm, "old")) == 4


async def roll_back(swarm: Lab) -> None:
    """Roll service ``web`` back as the API does."""

    def back(service: Service) -> Service:
        previous = given(service.previous_spec, service.spec)
        said = UpdateStatus(state="rollback_started", message="manually requested rollback")
        return replace(service, spec=previous, previous_spec=service.spec, update_status=said)

    await swarm.store.modify(swarm.store.services, "web", back)


async def updated(swarm: Lab, forward: UpdateConfig, backward: UpdateConfig) -> None:
    """Run four tasks with argument ``new``, from a spec that says how to come and how to return."""
    old = replace(template("old"), force_update=1)
    await with_old(swarm)
    for each in (old, template("new")):
        await swarm.change(
            "web",
            lambda spec, each=each: replace(  # type: ignore[misc]
                spec, task_template=each, update_config=forward, rollback_config=backward
            ),
        )
        await swarm.until(lambda: status(swarm).state == "completed", within_s=60)


@virtual
async def test_a_rollback_keeps_the_bounds_of_its_own_config() -> None:
    """There one at a time and stop-first, back all at once and start-first."""
    async with lab(managers=1, workers=3) as swarm:
        seen: set[int] = set()

        def ended(state: str) -> bool:
            tasks = swarm.store.tasks.by_service("web")
            seen.add(sum(t.status.state is TaskState.RUNNING for t in tasks))
            return status(swarm).state == state

        forward = UpdateConfig(parallelism=1, monitor=SECOND)
        await updated(swarm, forward, UpdateConfig(parallelism=0, order="start-first"))
        await roll_back(swarm)
        took_s = await swarm.until(lambda: ended("rollback_completed"), within_s=20)
        assert (min(seen), max(seen) > 5) == (4, True)
        assert took_s > 5, "the monitor is its own, too: by default 5 s"


@pytest.mark.parametrize(
    ("forward", "backward", "doomed", "state"),
    [
        ({"failure_action": "continue"}, {}, 99, "rollback_paused"),
        ({}, {"failure_action": "continue"}, 4, "rollback_completed"),
        ({}, {"max_failure_ratio": 0.25}, 1, "rollback_completed"),
        ({"max_failure_ratio": 0.25}, {}, 1, "rollback_paused"),
    ],
)
def test_what_a_rollback_does_about_failures_says_its_own_config(
    forward: dict[str, object], backward: dict[str, object], doomed: int, state: str
) -> None:
    """Its action and its ratio, where the update's would have decided otherwise."""
    there, back = (
        UpdateConfig(parallelism=1, monitor=SECOND, **each)  # type: ignore[arg-type]
        for each in (forward, backward)
    )

    @virtual
    async def run() -> None:
        failed: set[str] = set()

        def fails(task: Task) -> bool:
            if task.spec != template("new") and len(failed) < doomed:
                failed.add(task.id)
            return task.id in failed

        async with lab(managers=1, workers=3) as swarm:
            await updated(swarm, there, back)
            for agent in swarm.agents.values():
                agent.fails = fails
            await roll_back(swarm)
            ends = ("rollback_paused", "rollback_completed")
            await swarm.until(lambda: status(swarm).state in ends, within_s=60)
            assert status(swarm).state == state
            assert failed

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


async def keep_history(swarm: Lab, limit: int) -> None:
    """Set the swarm's history limit."""
    cluster = swarm.store.cluster
    assert cluster is not None
    orchestration = OrchestrationConfig(task_history_retention_limit=limit)
    tx = Transaction()
    tx.put(replace(cluster, spec=replace(cluster.spec, orchestration=orchestration)))
    await swarm.store.commit(tx)


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
async def test_an_update_remembers_its_failures_where_no_history_is_kept() -> None:
    """Half of the tasks may fail: with the third it stands still, however often they failed."""
    async with lab(managers=1, workers=3) as swarm:
        await with_old(swarm)
        await keep_history(swarm, 1)
        break_new(swarm)
        await update(swarm, "new", parallelism=1, delay=3 * SECOND, max_failure_ratio=0.5)
        await swarm.until(lambda: status(swarm).state == "paused", within_s=30)
        assert len(running(swarm, "old")) == 1


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


async def update_with(swarm: Lab, change: Callable[[TaskSpec], TaskSpec], **config: object) -> None:
    """Update what service ``web`` runs, with this config."""
    wanted = UpdateConfig(**config)  # type: ignore[arg-type]

    def both(spec: ServiceSpec) -> ServiceSpec:
        template = given(spec.task_template, TaskSpec())
        return replace(
            spec, task_template=change(template), update_config=wanted, rollback_config=wanted
        )

    await swarm.change("web", both)


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
async def test_an_automatic_rollback_brings_the_former_registry_credentials_back() -> None:
    """They belong to the spec that is run again."""
    async with lab(workers=3) as swarm:
        await with_old(swarm, 3)

        def sign(service: Service) -> Service:
            internal = given(service.internal, ServiceInternal())
            signed = replace(internal, registry_auth="new", previous_registry_auth="old")
            return replace(service, internal=signed)

        await swarm.store.modify(swarm.store.services, "web", sign)
        break_new(swarm)
        await update(swarm, "new", parallelism=1, failure_action="rollback")
        await swarm.until(lambda: status(swarm).state == "rollback_completed", within_s=60)
        internal = given(swarm.store.services["web"].internal, ServiceInternal())
        assert internal.registry_auth == "old"


@virtual
async def test_by_default_an_update_may_stand_still_for_ten_minutes() -> None:
    """Then it pauses, which is the default failure action."""
    async with lab(workers=3) as swarm:
        await with_old(swarm, 3)
        await update_with(swarm, nowhere)
        took_s = await swarm.until(lambda: status(swarm).state == "paused", within_s=700)
        assert 595 < took_s < 605


@virtual
async def test_a_stalled_rollback_pauses() -> None:
    """There is no further way back."""
    async with lab(workers=3) as swarm:
        labels = {"swarmops.update.progress-deadline": "20s"}
        await swarm.create("web", 2, template("old"), labels=labels)
        await swarm.until(lambda: len(running(swarm, "old")) == 2)
        await update(swarm, "new", parallelism=0, monitor=1)
        await swarm.until(lambda: status(swarm).state == "completed")
        for node_id in ("m1", "w1", "w2", "w3"):
            await swarm.set_availability(node_id, Availability.PAUSE)

        def back(service: Service) -> Service:
            previous = given(service.previous_spec, service.spec)
            said = UpdateStatus(state="rollback_started", message="manually requested rollback")
            return replace(service, spec=previous, previous_spec=service.spec, update_status=said)

        await swarm.store.modify(swarm.store.services, "web", back)
        await swarm.until(lambda: status(swarm).state == "rollback_paused", within_s=30)
        assert str(status(swarm).message).startswith("rollback paused due to no progress")


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
