"""Jobs in a whole swarm: runs, slots, concurrency, failures, moves, and the cron schedule."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from swarmops.manager import jobs
from swarmops.manager.places import run_of
from swarmops.manager.scheduled_jobs import ScheduledJobs
from swarmops.model.base import given
from swarmops.model.node import Availability, Node
from swarmops.model.object import ObjectVersion
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    JobStatus,
    ReplicatedJobMode,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Store, Transaction
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual, virtual_now

SECOND = 1_000_000_000
EACH = ServiceMode(global_job=GlobalMode())


def mode(concurrent: int, total: int) -> ServiceMode:
    """Return the mode of a replicated job."""
    job = ReplicatedJobMode(max_concurrent=concurrent, total_completions=total)
    return ServiceMode(replicated_job=job)


def template(**policy: object) -> TaskSpec:
    """Return a task template with a restart policy."""
    return TaskSpec(
        container_spec=ContainerSpec(image="host"),
        restart_policy=RestartPolicy(**{"delay": SECOND, **policy}),  # type: ignore[arg-type]
    )


def of_run(swarm: Lab, run: int = 0) -> list[Task]:
    """Return the job's tasks of one run."""
    return [task for task in swarm.store.tasks.by_service("job") if run_of(task) == run]


def done(swarm: Lab, run: int = 0) -> list[Task]:
    """Return the completed tasks of one run."""
    return [task for task in of_run(swarm, run) if task.status.state is TaskState.COMPLETE]


def active(swarm: Lab, run: int = 0) -> list[Task]:
    """Return the tasks of one run that are wanted and have not ended."""
    return [
        task
        for task in of_run(swarm, run)
        if not task.status.state.terminal
        and task.desired_state in {TaskState.READY, TaskState.COMPLETE}
    ]


def all_complete(swarm: Lab, after_s: float = 0.0) -> None:
    """Let every task end well, at the earliest so long after it was made."""
    least = timedelta(seconds=after_s)
    for agent in swarm.agents.values():
        agent.completes = lambda task: virtual_now() - task.created_at >= least


@virtual
async def test_a_replicated_job_keeps_its_concurrency_and_completes_as_often_as_wanted() -> None:
    """Ten completions, three at once: slots 0 to 9, each once, desired Complete."""
    async with lab(workers=3) as swarm:
        all_complete(swarm, after_s=0.5)
        most = 0

        def watch(_data: bytes) -> None:
            nonlocal most
            most = max(most, len(active(swarm)))

        swarm.log.on_entry = watch
        await swarm.create("job", spec=template(), mode=mode(3, 10))
        await swarm.until(lambda: len(done(swarm)) == 10)
        await asyncio.sleep(5)
        tasks = of_run(swarm)
        assert sorted(str(task.slot) for task in tasks) == [str(slot) for slot in range(10)]
        assert {task.desired_state for task in tasks} == {TaskState.COMPLETE}
        assert most == 3


@pytest.mark.parametrize(
    ("policy", "tries"),
    [
        ({"condition": "any", "max_attempts": 2}, 3),
        ({"condition": "on-failure", "max_attempts": 1}, 2),
        ({"condition": "none"}, 1),
    ],
)
@pytest.mark.parametrize("wanted", [mode(1, 1), EACH], ids=["replicated", "global"])
def test_a_failing_job_is_tried_as_often_as_its_policy_says(
    wanted: ServiceMode, policy: dict[str, object], tries: int
) -> None:
    """In each place; a place whose attempts are spent is not begun anew."""

    @virtual
    async def run() -> None:
        async with lab(workers=2) as swarm:
            for agent in swarm.agents.values():
                agent.fails = lambda _task: True
            await swarm.create("job", spec=template(**policy), mode=wanted)
            await asyncio.sleep(30)
            places = Counter(given(t.slot, None) or t.node_id for t in of_run(swarm))
            assert set(places.values()) == {tries}
            assert not active(swarm)

    run()


@virtual
async def test_any_does_not_repeat_what_completed() -> None:
    """Docker's default policy, for a job, restarts failures only."""
    async with lab(workers=2) as swarm:
        all_complete(swarm)
        await swarm.create("job", spec=template(condition="any", delay=0), mode=EACH)
        await swarm.until(lambda: len(done(swarm)) == 3)
        await asyncio.sleep(10)
        assert len(of_run(swarm)) == 3


@pytest.mark.parametrize("wanted", [mode(4, 4), EACH], ids=["replicated", "global"])
def test_an_update_begins_another_run_and_ends_the_former(wanted: ServiceMode) -> None:
    """Tasks of the former run that were at work go; those that had completed stay as history."""

    @virtual
    async def run() -> None:
        async with lab(workers=3) as swarm:
            slow = swarm.agents["w1"]
            all_complete(swarm)
            slow.completes = lambda task: run_of(task) > 0
            await swarm.create("job", spec=template(), mode=wanted)
            await swarm.until(lambda: len(done(swarm)) == 3 and len(slow.running()) == 1)
            await swarm.run_again("job")
            await swarm.until(lambda: len(done(swarm, 1)) == 4)
            await swarm.until(lambda: not active(swarm) and not slow.running())
            assert len(done(swarm)) == 3

    run()


@virtual
async def test_history_of_many_runs_is_bounded_and_no_run_repeats() -> None:
    """Each slot keeps its limit; forgetting a run's end does not begin it again."""
    async with lab(workers=2) as swarm:
        all_complete(swarm)
        await swarm.create("job", spec=template(), mode=mode(2, 2))
        for run in range(1, 9):
            await swarm.until(lambda run=run: len(done(swarm, run - 1)) == 2)  # type: ignore[misc]
            await swarm.run_again("job")
        await swarm.until(lambda: len(done(swarm, 8)) == 2)
        await asyncio.sleep(10)
        slots = Counter(task.slot for task in swarm.store.tasks.by_service("job"))
        assert slots == {0: 5, 1: 5}


@pytest.mark.parametrize("how", ["drained", "down"])
def test_a_jobs_task_moves_when_its_node_is_drained_or_dies(how: str) -> None:
    """Docker's would stay where it is; and it completes once."""

    @virtual
    async def run() -> None:
        async with lab(workers=2) as swarm:
            await swarm.set_availability("m1", Availability.DRAIN)
            await swarm.create("job", spec=template(), mode=mode(1, 1))
            await swarm.until(lambda: any(agent.running() for agent in swarm.agents.values()))
            first = str(active(swarm)[0].node_id)
            if how == "drained":
                await swarm.set_availability(first, Availability.DRAIN)
            else:
                await swarm.agents[first].power_off()
            other = {"w1": "w2", "w2": "w1"}[first]
            await swarm.until(lambda: bool(swarm.agents[other].running()), within_s=15)
            all_complete(swarm)
            await swarm.until(lambda: len(done(swarm)) == 1)
            await asyncio.sleep(5)
            assert len(of_run(swarm)) == 2

    run()


@virtual
async def test_a_global_job_runs_on_nodes_that_come_later_and_once_on_each() -> None:
    """A new node gets its task; a drained one gets it when it is active again."""
    async with lab(workers=2) as swarm:
        all_complete(swarm)
        await swarm.set_availability("w2", Availability.DRAIN)
        await swarm.create("job", spec=template(), mode=EACH)
        await swarm.until(lambda: len(done(swarm)) == 2)
        tx = Transaction()
        tx.put(Node(id="w3"))
        await swarm.store.commit(tx)
        swarm.power_on("w3").completes = lambda _task: True
        await swarm.set_availability("w2", Availability.ACTIVE)
        await swarm.until(lambda: len(done(swarm)) == 4)
        swarm.lead(None)
        swarm.lead("m1")
        await asyncio.sleep(5)
        assert Counter(task.node_id for task in of_run(swarm)) == {
            "m1": 1,
            "w1": 1,
            "w2": 1,
            "w3": 1,
        }


@virtual
async def test_a_new_leader_repeats_nothing() -> None:
    """What had completed stays completed, what was running goes on."""
    async with lab(managers=3, workers=2) as swarm:
        slow = swarm.agents["w1"]
        all_complete(swarm)
        slow.completes = lambda _task: False
        await swarm.create("job", spec=template(), mode=mode(10, 10))
        await swarm.until(lambda: len(done(swarm)) == 8)
        before = {task.id for task in of_run(swarm)}
        swarm.lead("m2")
        await asyncio.sleep(5)
        assert {task.id for task in of_run(swarm)} == before
        all_complete(swarm)
        await swarm.until(lambda: len(done(swarm)) == 10)


async def scheduled(swarm: Lab, **labels: str) -> None:
    """Create a job for every tenth minute, just after such a minute."""
    now = virtual_now()
    past = timedelta(minutes=now.minute % 10, seconds=now.second, microseconds=now.microsecond)
    await asyncio.sleep((timedelta(minutes=10, seconds=5) - past).total_seconds())
    named = {f"swarmops.schedule{name}": value for name, value in labels.items()}
    labels = {"swarmops.schedule": "*/10 * * * *", **named}
    await swarm.create("job", spec=template(), mode=mode(1, 1), labels=labels)


def run_number(swarm: Lab) -> int:
    """Return the number of the job's present run."""
    return given(swarm.store.services["job"].job_status, JobStatus()).job_iteration.index


@pytest.mark.slow
@virtual
async def test_a_scheduled_job_runs_at_its_creation_and_at_each_of_its_times() -> None:
    """Once for each time, within a second of it."""
    async with lab(workers=2) as swarm:
        all_complete(swarm)
        await scheduled(swarm)
        await swarm.until(lambda: len(done(swarm)) == 1)
        took_s = await swarm.until(lambda: run_number(swarm) == 1, within_s=600)
        assert 590 < took_s <= 596
        await swarm.until(lambda: len(done(swarm, 1)) == 1)
        took_s = await swarm.until(lambda: run_number(swarm) == 2, within_s=700)
        assert 598 < took_s < 601
        await swarm.until(lambda: len(done(swarm, 2)) == 1)


@pytest.mark.slow
@virtual
async def test_a_time_during_a_run_waits_for_its_end() -> None:
    """Two times passed while it ran: one run follows at once, not two."""
    async with lab(workers=2) as swarm:
        await scheduled(swarm)
        await asyncio.sleep(1300)
        assert run_number(swarm) == 0
        all_complete(swarm)
        await swarm.until(lambda: len(done(swarm, 1)) == 1)
        await asyncio.sleep(60)
        assert run_number(swarm) == 1


@pytest.mark.slow
@virtual
async def test_with_replace_a_time_ends_the_run_before_it() -> None:
    """The old run's task goes, the new one's starts."""
    async with lab(workers=2) as swarm:
        await scheduled(swarm, **{".overlap": "replace"})
        await swarm.until(lambda: len(active(swarm, 1)) == 1, within_s=600)
        await swarm.until(lambda: not active(swarm))


@pytest.mark.slow
@pytest.mark.parametrize(("away_s", "runs"), [(1800, 1), (600, 1), (30, 0)])
def test_of_the_times_missed_without_a_leader_the_latest_counts(away_s: float, runs: int) -> None:
    """It begins as soon as there is a leader again, once."""

    @virtual
    async def run() -> None:
        async with lab(workers=2) as swarm:
            all_complete(swarm)
            await scheduled(swarm)
            await swarm.until(lambda: len(done(swarm)) == 1)
            swarm.lead(None)
            await asyncio.sleep(away_s)
            swarm.lead("m1")
            await asyncio.sleep(10)
            assert run_number(swarm) == runs

    run()


@pytest.mark.slow
@virtual
async def test_a_missed_time_beyond_the_starting_deadline_is_left_out() -> None:
    """With a deadline of one minute, one that is five minutes late does not begin."""
    async with lab(workers=2) as swarm:
        all_complete(swarm)
        await scheduled(swarm, **{".starting-deadline": "1m"})
        await swarm.until(lambda: len(done(swarm)) == 1)
        swarm.lead(None)
        await asyncio.sleep(900)
        swarm.lead("m1")
        await asyncio.sleep(10)
        assert run_number(swarm) == 0
        await swarm.until(lambda: run_number(swarm) == 1, within_s=400)


@pytest.mark.parametrize(
    ("last_h", "late_s", "begins"),
    [(-1, 1, True), (-1, 300, True), (0, 1, False), (2, 1, False), (9, 1, True), (9, 300, False)],
)
def test_a_clock_that_was_wrong_holds_up_no_schedule(
    last_h: int,
    late_s: int,
    begins: bool,  # noqa: FBT001
) -> None:
    """A last run hours ahead is none; one that is less far ahead is not repeated."""
    due = datetime(2026, 1, 1, 12, tzinfo=UTC)
    now = due + timedelta(seconds=late_s)
    service = Service(
        id="job",
        spec=ServiceSpec(
            name="job",
            task_template=template(),
            mode=mode(1, 1),
            labels={"swarmops.schedule": "0 * * * *"},
        ),
        job_status=JobStatus(last_execution=now + timedelta(hours=last_h)),
    )
    store = Store(now=lambda: due)
    tx = Transaction()
    tx.put(service)
    tx.put(
        Task(
            id="t1",
            service_id="job",
            slot=0,
            status=TaskStatus(state=TaskState.COMPLETE),
            job_iteration=ObjectVersion(index=0),
        )
    )
    store.apply(1, tx.encode(due))
    assert bool(len(ScheduledJobs().step(store, ["job"], now).tx)) is begins


def test_what_a_job_asks_for_is_docker_s_default_where_it_says_nothing() -> None:
    """One task; as many completions as may run at once."""
    from swarmops.model.service import Service, ServiceSpec

    bare = Service(id="j", spec=ServiceSpec(mode=ServiceMode(replicated_job=ReplicatedJobMode())))
    assert jobs.totals(bare) == (1, 1)
    three = ReplicatedJobMode(max_concurrent=3)
    some = Service(id="j", spec=ServiceSpec(mode=ServiceMode(replicated_job=three)))
    assert jobs.totals(some) == (3, 3)


@virtual
async def test_runs_that_follow_each_other_at_once_leave_no_task_of_the_former_ones() -> None:
    """With a run's task the one before it goes: no place ever has more than two that are wanted."""
    async with lab(workers=2) as swarm:
        most = 0

        def look(_data: bytes) -> None:
            nonlocal most
            wanted = [
                task.slot
                for task in swarm.store.tasks
                if task.desired_state is TaskState.COMPLETE and not task.status.state.terminal
            ]
            most = max(most, *Counter(wanted).values(), 0)

        await swarm.create("job", mode=mode(2, 2), spec=template())
        swarm.log.on_entry = look
        for _ in range(8):
            await swarm.run_again("job")
        await asyncio.sleep(2)
        assert most <= 2


def test_what_failed_as_the_next_run_began_is_history_like_the_rest() -> None:
    """Nobody wants it any more, so the history's limit holds for it, too."""
    spec = ServiceSpec(name="job", mode=mode(1, 1))
    second = JobStatus(job_iteration=ObjectVersion(index=2))
    service = Service(id="s", spec=spec, job_status=second)
    failed = Task(
        id="t",
        service_id="s",
        slot=0,
        status=TaskStatus(state=TaskState.FAILED),
        desired_state=TaskState.COMPLETE,
        job_iteration=ObjectVersion(index=1),
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert jobs.needs_tending(service, [failed], now)
    step = jobs.tend(service, "0", [failed], Store().nodes, now=now, rng=random.Random(1))
    assert step.desire == [("t", TaskState.SHUTDOWN)]
    gone = replace(failed, desired_state=TaskState.SHUTDOWN)
    assert not jobs.needs_tending(service, [gone], now)
