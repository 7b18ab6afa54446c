"""Restart backoff, and what labels ask for beyond Docker."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.errors import InputError
from swarmops.manager import extensions, jobs, restarts
from swarmops.model.base import given
from swarmops.model.service import (
    ContainerSpec,
    ReplicatedJobMode,
    RestartPolicy,
    Service,
    ServiceInternal,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import NodeTable
from tests.sim.manager_lab import lab
from tests.sim.virtual_loop import virtual

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NO_TIMES = ["", "soon", "10", "-1s", "106752d", "9" * 90 + "s", "1" * 100_000]
"""Also those after which there is no date: whatever adds them to one would fail for good."""
NO_SCHEDULES = ["* * * *", "0 0 31 2 *", "9" * 900 + " * * * *", "9" * 5000 + " * * * *"]
LABELS = {"swarmops.restart.backoff": "2.0", "swarmops.restart.backoff-max": "60s"}


def template(delay_s: float) -> TaskSpec:
    """Return a task template with this restart delay."""
    policy = RestartPolicy(delay=int(delay_s * 1e9))
    return TaskSpec(container_spec=ContainerSpec(image="host"), restart_policy=policy)


def delays(labels: dict[str, str], delay_s: float, ran_s: list[float], *, job: bool) -> list[float]:
    """Return the delay of each restart of a task that fails after so many seconds each time.

    Only the last task of the place is kept, as with a history limit of 1.
    """
    mode = ServiceMode(replicated_job=ReplicatedJobMode()) if job else UNSET
    tend = jobs.tend if job else restarts.tend
    service = Service(
        id="web",
        spec=ServiceSpec(name="web", task_template=template(delay_s), labels=labels, mode=mode),
        internal=ServiceInternal(spec_version=1),
    )
    task = Task(id="a", service_id="web", slot=1, spec=template(delay_s), created_at=NOW)
    task = replace(task, internal=TaskInternal(spec_version=1))
    now, found = NOW, []
    for each_s in ran_s:
        internal = given(task.internal, TaskInternal())
        began = given(internal.restart_after, now)
        now = began + timedelta(seconds=each_s)
        failed = replace(
            task,
            status=TaskStatus(state=TaskState.FAILED),
            internal=replace(internal, running_at=began, ended_at=now),
        )
        step = tend(service, "1", [failed], NodeTable(), now=now, rng=random.Random(1))
        task = replace(step.create[0], created_at=now)
        after = given(given(task.internal, TaskInternal()).restart_after, now)
        found.append((after - now).total_seconds())
    return found


@pytest.mark.parametrize("job", [False, True], ids=["service", "job"])
@pytest.mark.parametrize(
    ("labels", "delay_s", "ran_s", "wanted"),
    [
        ({}, 5, [1] * 4, [5, 5, 5, 5]),
        (LABELS, 5, [1] * 7, [5, 10, 20, 40, 60, 60, 60]),
        (LABELS, 0, [1] * 5, [1, 2, 4, 8, 16]),
        (LABELS, 90, [1] * 3, [90, 90, 90]),
        (LABELS, 5, [1, 1, 1, 61, 1], [5, 10, 20, 5, 10]),
        (LABELS, 5, [1, 1, 59], [5, 10, 20]),
        ({"swarmops.restart.backoff": "3"}, 100, [1] * 3, [100, 300, 300]),
        ({"swarmops.restart.backoff": "much"}, 5, [1] * 3, [5, 5, 5]),
    ],
    ids=["Docker", "grows", "from 1 s", "never less", "anew", "still ill", "default cap", "wrong"],
)
def test_delays_grow_to_their_cap(
    labels: dict[str, str], delay_s: float, ran_s: list[float], wanted: list[float], *, job: bool
) -> None:
    """By the factor each time; a task that ran longer than the cap begins anew."""
    assert delays({**labels}, delay_s, ran_s, job=job) == pytest.approx(wanted)


@virtual
async def test_a_crashing_service_of_a_swarm_is_restarted_ever_later_by_every_leader() -> None:
    """The pauses between starts double, though the leader changes between them."""
    async with lab(managers=3, workers=1) as swarm:
        starts: list[datetime] = []

        def note(_data: bytes) -> None:
            for task in swarm.store.tasks:
                at = given(task.internal, TaskInternal()).running_at
                if isinstance(at, datetime) and at not in starts:
                    starts.append(at)

        swarm.log.on_entry = note
        for agent in swarm.agents.values():
            agent.fails = lambda _task: True
        await swarm.create("web", 1, template(1), labels=LABELS)
        for leader in ("m2", "m3", "m1", "m2"):
            count = len(starts)
            await swarm.until(lambda count=count: len(starts) > count, within_s=40)  # type: ignore[misc]
            swarm.lead(leader)
        pauses = [(b - a).total_seconds() for a, b in pairwise(starts)]
        assert pauses[:3] == pytest.approx([1, 2, 4], abs=0.3)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("swarmops.update.progress-deadline", ["10m", "1h30m", "0", "1.5s"], NO_TIMES),
        ("swarmops.restart.backoff", ["1", "2.0"], ["0.5", "two", "nan", "101"]),
        ("swarmops.restart.backoff-max", ["60s", "5m", "106751d"], NO_TIMES),
        ("swarmops.rebalance", ["true", "false"], ["yes", "True"]),
        ("swarmops.affinity", ["service==db", "service==db, service!=web"], ["db", "node==x"]),
        ("swarmops.anti-affinity", ["service==db"], ["service"]),
        ("swarmops.schedule", ["*/5 * * * *", "@daily", "0 0 * * MON"], NO_SCHEDULES),
        ("swarmops.schedule.overlap", ["forbid", "replace"], ["allow"]),
        ("swarmops.schedule.starting-deadline", ["1h", "1s"], ["0", "900ms", *NO_TIMES]),
    ],
)
def test_labels_are_checked_with_their_names(name: str, good: list[str], bad: list[str]) -> None:
    """What means nothing is refused where it is checked, and absent where it is read."""
    for text in good:
        extensions.check({name: text})
    for text in bad:
        with pytest.raises(InputError, match=name):
            extensions.check({name: text})
        assert extensions.read(ServiceSpec(labels={name: text})) == extensions.Extensions()
