"""Rebalancing: which task of a settled service would stand better on another node. Pure.

Only for services that ask for it, always by their label or once by an operator's wish. One task
moves at a time, to a node that fulfils everything, and only where that makes the service more even
by two: so the fewest tasks move, none moves back, and it ends. The new task starts before the old
one stops; ``restarts`` sees to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from swarmops.manager import extensions, filters
from swarmops.manager.constraints import label_value
from swarmops.manager.extensions import PROGRESS_DEADLINE_S
from swarmops.manager.faults import WINDOW
from swarmops.manager.load import NodeLoad, burden_of
from swarmops.manager.places import Places, live
from swarmops.model.base import given
from swarmops.model.defaults import placement, replicas, task_spec
from swarmops.model.node import Node
from swarmops.model.service import Service, ServiceInternal, SpreadOver, UpdateStatus
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import Store

ENDED = "rebalanced"
GIVEN_UP = "rebalancing given up: not all tasks run"

Path = tuple[str, ...]
"""Where a node stands: its value of each spread preference, then its ID."""


def wished(service: Service) -> bool:
    """Whether an operator wants the service rebalanced now."""
    internal = given(service.internal, ServiceInternal())
    return internal.rebalance != 0 and internal.rebalance == internal.spec_version


def wanted(service: Service) -> bool:
    """Whether tasks of the service shall move, now or always."""
    return wished(service) or extensions.read(service.spec).rebalance


def fulfilled(
    service: Service, places: Places, now: datetime
) -> Generator[None, None, Service | None]:
    """Return the service whose wish is over, once no task moves any more; None before that.

    It is given up where not all tasks run, after the progress deadline. Yields as ``next_move``.
    """
    status = given(service.update_status, UpdateStatus())
    began = given(status.started_at, now)
    message = ENDED
    running = yield from _running(service, places)
    if running is None:
        if now < give_up_at(service, now) or _moving(places):
            return None
        message = GIVEN_UP
    ended = UpdateStatus(state="completed", started_at=began, completed_at=now, message=message)
    internal = replace(given(service.internal, ServiceInternal()), rebalance=0)
    return replace(service, update_status=ended, internal=internal)


def give_up_at(service: Service, now: datetime) -> datetime:
    """Return until when tasks that don't run are waited for."""
    began = given(given(service.update_status, UpdateStatus()).started_at, now)
    deadline_s = extensions.read(service.spec).progress_deadline_s or PROGRESS_DEADLINE_S
    return began + timedelta(seconds=deadline_s)


def _moving(places: Places) -> bool:
    return any(
        live(task) and given(task.internal, TaskInternal()).moves
        for tasks in places.values()
        if sum(map(live, tasks)) > 1
        for task in tasks
    )


def next_move(
    service: Service, places: Places, store: Store, now: datetime
) -> Generator[None, None, tuple[str, str] | None]:
    """Return a place and the node that its task shall move to; None if all is well.

    Yields after each part of the work, so that the caller can do other things in between.
    """
    running = yield from _running(service, places)
    if not running:
        return None
    spread_over = spreads(service)
    paths: dict[str, Path] = {}
    for node in list(store.nodes):
        paths[node.id] = _path(node, spread_over)
        yield
    tasks_at: Counter[Path] = Counter()
    for task in running.values():
        path = paths.get(given(task.node_id, ""), ())
        tasks_at.update(path[:depth] for depth in range(1, len(path) + 1))
        yield
    fit = yield from _fit(service, running, places, store, now)
    found = _uneven([paths[node_id] for node_id in fit if node_id in paths], tasks_at)
    if found is None:
        return None
    crowded, target = found
    place = min(
        (slot for slot, task in running.items() if paths.get(str(task.node_id)) == crowded),
        key=lambda slot: (running[slot].created_at, slot),
    )
    return place, target[-1]


def retry_at(places: Places, now: datetime) -> datetime | None:
    """Return when a node on which a task failed lately may be moved to again."""
    ends = [_failed_at(task) for tasks in places.values() for task in tasks]
    return min((at + WINDOW for at in ends if at is not None and at > now - WINDOW), default=None)


def _failed_at(task: Task) -> datetime | None:
    if task.status.state not in {TaskState.FAILED, TaskState.REJECTED}:
        return None
    return given(given(task.internal, TaskInternal()).ended_at, None)


def spreads(service: Service) -> list[str]:
    """Return the labels that the service spreads over, the outermost first."""
    preferences = given(placement(task_spec(service.spec)).preferences, [])
    found = [given(each.spread, SpreadOver()).spread_descriptor for each in preferences]
    return [each for each in found if each]


def _running(service: Service, places: Places) -> Generator[None, None, dict[str, Task] | None]:
    """Return each place's one task, None unless every one runs and all are there."""
    found: dict[str, Task] = {}
    for place, tasks in places.items():
        wanted = [task for task in tasks if live(task)]
        if len(wanted) != 1 or wanted[0].status.state is not TaskState.RUNNING:
            return None
        found[place] = wanted[0]
        yield
    return found if len(found) == replicas(service.spec) else None


def _fit(
    service: Service, running: dict[str, Task], places: Places, store: Store, now: datetime
) -> Generator[None, None, list[str]]:
    """Return the nodes that could take one more task, but for those where one failed lately."""
    failed = {
        given(task.node_id, "")
        for tasks in places.values()
        for task in tasks
        if (at := _failed_at(task)) is not None and at > now - WINDOW
    }
    sample = replace(next(iter(running.values())), id="", spec=task_spec(service.spec))
    checks = filters.set_for(sample, service, lambda name: _id_of(store, name))
    mine = Counter(str(task.node_id) for task in running.values())
    most = max(mine.values(), default=0)
    even = not spreads(service)
    found = []
    for node in list(store.nodes):
        yield
        if node.id in failed or (even and mine[node.id] > most - 2):
            continue
        load = NodeLoad(node)
        if not all(each.check(load) for each in checks if not each.changing):
            continue
        for task in store.tasks.by_node(node.id):
            burden = burden_of(task)
            if burden is not None:
                load.add(task.id, burden)
        if all(each.check(load) for each in checks):
            found.append(node.id)
    return found


def _uneven(targets: Sequence[Path], tasks_at: Counter[Path]) -> tuple[Path, Path] | None:
    """Return the path of a node that has too many, and of one that has too few."""
    prefix: Path = ()
    while targets:
        depth = len(prefix) + 1
        target = min({path[:depth] for path in targets}, key=lambda path: (tasks_at[path], path))
        siblings = [path for path in tasks_at if path[:-1] == prefix and len(path) == depth]
        crowded = max(siblings, key=lambda path: (tasks_at[path], path), default=target)
        if tasks_at[crowded] - tasks_at[target] > 1:
            leaves = {path for path in tasks_at if path[:depth] == crowded}
            fullest = max(leaves, key=lambda path: (len(path), tasks_at[path], path))
            return fullest, _emptiest(targets, target, tasks_at)
        targets = [path for path in targets if path[:depth] == target]
        prefix = target
        if all(len(path) == depth for path in targets):
            return None
    return None


def _emptiest(targets: Sequence[Path], branch: Path, tasks_at: Counter[Path]) -> Path:
    """Return the node below a branch to which the scheduler would go, too."""
    while True:
        below = [path for path in targets if path[: len(branch)] == branch]
        if branch in below:
            return branch
        depth = len(branch) + 1
        branch = min({path[:depth] for path in below}, key=lambda path: (tasks_at[path], path))


def _path(node: Node, spread_over: Sequence[str]) -> Path:
    return (*(label_value(each, node) or "" for each in spread_over), node.id)


def _id_of(store: Store, name: str) -> str:
    named = store.services.named(name)
    return named.id if named is not None else ""
