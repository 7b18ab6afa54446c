"""What the reaper deletes of one place, and what it keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.reaper import Reaper
from swarmops.model.service import (
    RestartPolicy,
    Service,
    TaskSpec,
    UpdateStatus,
)
from swarmops.model.swarm import Cluster, OrchestrationConfig, SwarmSpec
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.store import Event, Store, Transaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def kept(
    kinds: str, *, limit: int | None = None, max_attempts: int = 0, update: str = "completed"
) -> str:
    """Return which tasks of a slot stay, the oldest first; all but the last shall not run.

    ``f`` failed, ``w`` after an hour of running well, ``m`` moved another and ended, ``o`` is of
    the spec before, as is ``s``, which still runs on a node that has not stopped it.
    """
    store = Store(now=lambda: NOW)
    orchestration = OrchestrationConfig(
        task_history_retention_limit=UNSET if limit is None else limit
    )
    tx = Transaction()
    tx.put(Cluster(id="c", spec=SwarmSpec(orchestration=orchestration)))
    store.apply(1, tx.encode(NOW))
    tx = Transaction()
    tx.put(Service(id="web", update_status=UpdateStatus(state=update)))
    store.apply(2, tx.encode(NOW))  # the version of its spec, then
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
                spec_version=1 if kind in "os" else 2,
                moves="before" if kind == "m" else "",
                running_at=NOW - timedelta(hours=1) if kind == "w" else UNSET,
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


@pytest.mark.parametrize(
    ("kinds", "limit", "stay"),
    [
        ("oof", 0, "of"),
        ("oofff", 1, "off"),
        ("oofffffffffff", 5, "offff"),
        ("omf", 0, "omf"),
        ("owfff", 0, "owf"),
    ],
)
@pytest.mark.parametrize("state", ["updating", "rollback_started"])
def test_what_an_update_goes_by_is_kept_until_it_ends(
    kinds: str, limit: int, stay: str, state: str
) -> None:
    """Of each place the last task of the spec before, and the first new one that ended."""
    assert kept(kinds, limit=limit, update=state) == stay
    assert len(kept(kinds, limit=limit, update="paused")) == max(limit, 1)


def test_the_end_of_an_update_is_when_its_history_goes() -> None:
    """Then the places of the service that have any are looked at."""
    store = Store(now=lambda: NOW)
    tx = Transaction()
    for slot, state in enumerate((TaskState.RUNNING, TaskState.SHUTDOWN), start=1):
        tx.put(Task(id=f"t{slot}", service_id="web", slot=slot, status=TaskStatus(state=state)))
    store.apply(1, tx.encode(NOW))
    going = Service(id="web", update_status=UpdateStatus(state="updating"))
    ended = replace(going, update_status=UpdateStatus(state="completed"))

    def looked_at(old: Service, new: Service) -> list[tuple[str, str]]:
        event = Event(table="services", kind="update", old=old, new=new, index=2)
        return [key for key in Reaper().observe(store, event) if key is not None]

    assert looked_at(going, ended) == [("web", "2")]
    assert looked_at(ended, going) == looked_at(ended, ended) == []
