"""Health of tasks: the rules, the process executor's probes, and what a runner makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from swarmops.agent.executors.base import ExecutorContext, TaskError, UnhealthyError
from swarmops.agent.executors.health import Health, Probe, observed, pause_s, probe_of
from swarmops.agent.executors.process import ProcessExecutor
from swarmops.agent.work import Work
from swarmops.model.service import ContainerSpec, HealthConfig

MakeWork = Callable[..., Work]
MS = 1_000_000
S = 1_000 * MS


@pytest.fixture
async def executor(context: ExecutorContext) -> AsyncIterator[ProcessExecutor]:
    """Return an executor whose tasks are all gone afterwards."""
    made = ProcessExecutor(context)
    yield made
    await made.reattach([])
    await made.close()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HealthConfig(), None),
        (HealthConfig(test=[]), None),
        (HealthConfig(test=["NONE"]), None),
        (HealthConfig(test=["CMD", "a", "b"]), Probe(argv=["a", "b"])),
        (HealthConfig(test=["CMD-SHELL", "a b"]), Probe(argv=["/bin/sh", "-c", "a b"])),
        (
            HealthConfig(test=["CMD", "a"], interval=S, timeout=2 * S, start_period=3 * S,
                         start_interval=4 * S, retries=5),
            Probe(argv=["a"], interval_s=1, timeout_s=2, start_period_s=3, start_interval_s=4,
                  retries=5),
        ),
        (HealthConfig(test=["CMD", "a"], interval=0, retries=0), Probe(argv=["a"])),
    ],
)  # fmt: skip
def test_a_test_has_dockers_forms_and_defaults(config: HealthConfig, expected: Probe | None):
    """CMD, CMD-SHELL and NONE; 30 s, 30 s, no start period, 5 s, 3 retries."""
    assert probe_of(ContainerSpec(healthcheck=config)) == expected


def test_an_unknown_kind_of_test_is_named():
    """The error says which there are."""
    with pytest.raises(TaskError, match='Unknown healthcheck type "HTTP": use CMD'):
        probe_of(ContainerSpec(healthcheck=HealthConfig(test=["HTTP", "x"])))


def test_failures_count_after_the_start_period_only():
    """Until a probe succeeds, failures in the start period are forgiven; then retries decide."""
    probe = Probe(argv=["x"], start_period_s=10, retries=2)
    health = observed(Health(), probe, 9, ok=False)
    assert health == Health()
    health = observed(health, probe, 10, ok=False)
    assert (health.failures, health.unhealthy) == (1, False)
    assert observed(health, probe, 11, ok=False).unhealthy
    assert observed(health, probe, 11, ok=True) == Health(up=True)


def test_a_success_ends_the_start_period():
    """After it failures count, however young the task is, and the usual interval holds."""
    probe = Probe(argv=["x"], start_period_s=10, start_interval_s=1, interval_s=5, retries=1)
    assert pause_s(Health(), probe, 3) == 1
    assert pause_s(Health(), probe, 10) == 5
    assert pause_s(Health(up=True), probe, 3) == 5
    assert observed(Health(up=True), probe, 3, ok=False).unhealthy


def test_a_success_between_failures_starts_the_count_anew():
    """Only consecutive failures count."""
    probe = Probe(argv=["x"], retries=2)
    health = Health(up=True)
    for ok in (False, True, False):
        health = observed(health, probe, 1, ok=ok)
    assert not health.unhealthy


async def started(executor: ProcessExecutor, work: Work) -> Work:
    """Start the task."""
    await executor.prepare(work)
    await executor.start(work)
    return work


async def test_a_process_is_healthy_once_its_test_succeeds(
    executor: ProcessExecutor, work: MakeWork
):
    """The test runs in the task's directory and environment."""
    test = HealthConfig(test=["CMD-SHELL", 'test -f "$READY"'], interval=50 * MS, retries=1000)
    script = 'sleep 0.5; touch "$READY"; sleep 60'
    task = work(command=["sh", "-c", script], healthcheck=test, env=["READY=it is"])
    await started(executor, task)
    healthy = asyncio.create_task(executor.healthy(task))
    done, _ = await asyncio.wait([healthy], timeout=0.3)
    assert not done
    assert await asyncio.wait_for(healthy, 20) is None


async def test_an_unhealthy_process_is_told_of_and_runs_on(
    executor: ProcessExecutor, work: MakeWork
):
    """At the start as well as later; who waited stops it, and then hears how it ended."""
    test = HealthConfig(test=["CMD", "false"], interval=50 * MS, retries=2)
    script = "trap 'exit 9' TERM; while :; do sleep 0.05; done"
    task = await started(executor, work(command=["sh", "-c", script], healthcheck=test))
    with pytest.raises(UnhealthyError, match="unhealthy task"):
        await asyncio.wait_for(executor.healthy(task), 20)
    assert (await executor.stop(task, "SIGTERM", 20)).exit_code == 9
    assert (await asyncio.wait_for(executor.wait(task), 20)).code == 9
    later = HealthConfig(test=["CMD-SHELL", "test ! -f sick"], interval=50 * MS, retries=2)
    script = "trap '' TERM; sleep 0.5; touch sick; while :; do sleep 0.05; done"
    task = await started(executor, work(command=["sh", "-c", script], healthcheck=later))
    assert await asyncio.wait_for(executor.healthy(task), 20) is None
    with pytest.raises(UnhealthyError, match="unhealthy task"):
        await asyncio.wait_for(executor.wait(task), 20)
    assert (await executor.stop(task, "SIGTERM", 0.1)).exit_code == 137


async def test_a_test_that_hangs_has_failed(executor: ProcessExecutor, work: MakeWork):
    """It is killed with its children after the timeout."""
    test = HealthConfig(
        test=["CMD-SHELL", "echo $$ >> pids; sleep 60"],
        interval=20 * MS,
        timeout=200 * MS,
        retries=2,
    )
    task = await started(executor, work(command=["sleep", "60"], healthcheck=test))
    with pytest.raises(UnhealthyError):
        await asyncio.wait_for(executor.healthy(task), 20)


async def test_a_process_that_ends_ends_the_wait_for_health(
    executor: ProcessExecutor, work: MakeWork
):
    """Its own exit code is what is told."""
    test = HealthConfig(test=["CMD", "false"], interval=60 * S)
    task = await started(executor, work(command=["sh", "-c", "exit 4"], healthcheck=test))
    end = await asyncio.wait_for(executor.healthy(task), 20)
    assert end is not None
    assert (end.code, end.error) == (4, "")
