"""Rollbacks in a whole swarm, automatic and by hand: whose config they keep, and how they end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from swarmops.model.base import given
from swarmops.model.node import Availability
from swarmops.model.service import Service, ServiceInternal, UpdateConfig, UpdateStatus
from swarmops.model.task import Task, TaskState
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual
from tests.unit.manager.updating import (
    SECOND,
    break_new,
    running,
    status,
    template,
    update,
    with_old,
)


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
