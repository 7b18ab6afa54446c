"""How often places were restarted: never more than their policy says, and no less.

Counted here from each task that is made, whatever is still kept of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from swarmops.manager.places import live, moved_by, run_of, spec_version
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS
from swarmops.model.service import RestartPolicy
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, place_of

Key = tuple[str, str]
"""A service and one of its places."""
Version = tuple[int, int]
"""The version of the spec, and the run of a job."""


class Attempts:
    """Looks at every entry of the log."""

    def __init__(self) -> None:
        self._made: dict[Key, dict[Version, list[datetime]]] = {}
        self._left: dict[Key, Version] = {}
        """Of which version the task was that a place was last left by."""

    def check(self, store: Store, event: Event) -> None:
        """Count a task that was made, and assert that it might be."""
        old, new = event.old, event.new
        task = new or old
        if not isinstance(task, Task):
            return
        key = (task.service_id, place_of(task))
        if new is None or task.desired_state is TaskState.REMOVE:
            rest = list(store.tasks.by_place(*key))
            if not rest or (new is not None and not any(map(live, rest))):
                # The place was given up: what comes there now is no restart.
                self._made.pop(key, None)
                self._left.pop(key, None)
            return
        if isinstance(old, Task) and live(old) and not live(task):
            self._left[key] = _version(task)
        if old is not None or moved_by(task):
            return
        made = self._made.setdefault(key, {}).setdefault(_version(task), [])
        made.append(task.created_at)
        beside = [each for each in store.tasks.by_place(*key) if each.id != task.id and live(each)]
        most, window = _limit(task)
        # A start-first update's old task that is lost, after the new one was given up beside it, is
        # replaced by its own policy.
        for_another = self._left.get(key, _version(task)) != _version(task)
        if most is None or beside or for_another:
            return
        since = task.created_at - window if window else datetime.min.replace(tzinfo=made[0].tzinfo)
        restarts = sum(each > since for each in made[1:])
        assert restarts <= most, (
            f"place {key} was restarted {restarts} times, and {most} are allowed"
        )

    def are_over(self, task: Task) -> bool:
        """Whether the policy lets the newest task of a place be the last."""
        condition = given(_policy(task).condition, "any")
        if condition == "none":
            return True  # of a move too, which is no attempt
        if condition == "on-failure" and task.status.state is TaskState.COMPLETE:
            return True
        most, _ = _limit(task)
        made = self._made.get((task.service_id, place_of(task)), {}).get(_version(task), [])
        return most is not None and len(made) > most


def _version(task: Task) -> Version:
    return spec_version(task), run_of(task)


def _policy(task: Task) -> RestartPolicy:
    return given(task.spec.restart_policy, RestartPolicy())


def _limit(task: Task) -> tuple[int | None, timedelta]:
    """Return how many restarts there may be, None for any number, and within what time."""
    policy = _policy(task)
    if given(policy.condition, "any") == "none":
        return 0, timedelta()
    window = timedelta(seconds=given(policy.window, 0) / NANOSECONDS)
    return given(policy.max_attempts, 0) or None, window
