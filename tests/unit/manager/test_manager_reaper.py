"""What the reaper deletes of one place, and what it keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import UNSET

from swarmops.manager.reaper import Reaper
from swarmops.model.service import RestartPolicy, Service, TaskSpec
from swarmops.model.swarm import Cluster, OrchestrationConfig, SwarmSpec
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Store, Transaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def kept(kinds: str, *, limit: int | None = None, max_attempts: int = 0) -> str:
    """Return which tasks of a slot stay, the oldest first; all but the last shall not run.

    ``f`` failed, ``m`` moved another and ended, ``o`` is of the spec before, as is ``s``, which
    still runs on a node that has not stopped it.
    """
    store = Store(now=lambda: NOW)
    orchestration = OrchestrationConfig(
        task_history_retention_limit=UNSET if limit is None else limit
    )
    tx = Transaction()
    tx.put(Cluster(id="c", spec=SwarmSpec(orchestration=orchestration)))
    tx.put(Service(id="web"))
    store.apply(1, tx.encode(NOW))
    spec = TaskSpec(restart_policy=RestartPolicy(max_attempts=max_attempts))
    for number, kind in enumerate(kinds):
        last = number == len(kinds) - 1
        tx = Transaction()
        task = Task(
            id=f"{number:02}{kind}",
            service_id="web",
            slot=1,
            spec=spec,
            status=TaskStatus(state=TaskState.RUNNING if last or kind == "s" else TaskState.FAILED),
            desired_state=TaskState.RUNNING if last else TaskState.SHUTDOWN,
            internal=TaskInternal(
                spec_version=1 if kind in "os" else 2, moves="before" if kind == "m" else ""
            ),
        )
        tx.put(task)
        store.apply(store.applied + 1, tx.encode(NOW + timedelta(seconds=number)))
    step = Reaper().step(store, [("web", "1")], NOW)
    store.apply(store.applied + 1, step.tx.encode(NOW))
    return "".join(task_id[-1] for task_id in sorted(task.id for task in store.tasks))


@pytest.mark.parametrize(
    ("kinds", "limit", "stay"),
    [
        ("fffffff", None, 5),
        ("fffffff", 2, 2),
        ("fffffff", 1, 1),
        ("fffffff", 0, 1),
        ("fffffff", -1, 7),
        ("f", 0, 1),
    ],
)
def test_the_history_limit_counts_the_live_task(kinds: str, limit: int | None, stay: int) -> None:
    """A negative limit keeps everything; 0 keeps what the next decision is read from."""
    assert len(kept(kinds, limit=limit)) == stay


@pytest.mark.parametrize(
    ("kinds", "max_attempts", "stay"),
    [
        ("fffffff", 7, "fffffff"),
        ("ffffffff", 7, "ffffffff"),
        ("fffffffff", 7, "ffffffff"),
        ("ffff", 2, "fff"),
        ("ffmmf", 2, "fff"),
        ("fofomf", 3, "ffmf"),
        ("mff", 2, "mff"),
        ("sff", 1, "sff"),
        ("sfff", 1, "sff"),
    ],
)
def test_what_counts_as_an_attempt_is_kept(kinds: str, max_attempts: int, stay: str) -> None:
    """Whatever the limit: else the attempts would never be used up. Other history goes first."""
    assert kept(kinds, limit=1, max_attempts=max_attempts) == stay
