"""The scheduler: gives tasks that wait their nodes, and tells the others why they wait.

A control loop. Waiting tasks of one service and spec are equal to it: they are placed as a group,
from one ranking of the fit nodes, at logarithmic cost a task. A group that comes in single tasks,
as in an update, has its ranking kept; only with preferences, affinity or a node where the service
fails again and again, each of its turns costs a look at every node. It alone writes the node of
tasks, and their status while they are NEW or PENDING and have the addresses that the ``allocator``
gives; it never moves a task that has a node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from swarmops.manager import extensions, filters, placing
from swarmops.manager.faults import Faults
from swarmops.manager.load import NodeLoad, burden_of
from swarmops.manager.loop import Step
from swarmops.manager.ranking import Loads
from swarmops.manager.rankings import Group, Rankings, may_take_more
from swarmops.model.base import given
from swarmops.model.node import Node
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import Event, Store
from swarmops.store.networking import lacks_addresses

WORK_PER_STEP = 4_000
"""Nodes looked at and tasks placed, after which a step begins no other group."""
PLACED_PER_STEP = 500
LOOKS_PER_TASK = 20
"""So many nodes are looked at in the time that it takes to place a task."""


Placed = tuple[str, NodeLoad]
"""A task, and the node that bears it until the step's end."""


class Scheduler:
    """The loop with its memo: the nodes' loads, the waiting groups, the recent failures."""

    tables = ("nodes", "services", "tasks")

    def __init__(self) -> None:
        self._loads: dict[str, NodeLoad] = {}
        self._waiting: defaultdict[Group, dict[str, None]] = defaultdict(dict)
        self._faults = Faults()
        self._rankings = Rankings()
        self._told: dict[Group, tuple[str, int]] = {}
        """Why groups wait whose tasks are being told, and how many, the first ones, were."""
        self._sociable: dict[Group, None] = {}
        """Waiting groups that may be placed once another service's task is."""

    @property
    def looked(self) -> int:
        """How many nodes it has looked at so far."""
        return self._rankings.looked

    def reset(self, store: Store) -> Iterator[Group | None]:
        """Weigh every node anew."""
        tasks = list(store.tasks)
        self._loads = {}
        self._waiting.clear()
        self._rankings = Rankings()
        self._told.clear()
        self._sociable.clear()
        self._faults = Faults()
        for node in list(store.nodes):
            self._loads[node.id] = NodeLoad(node)
            yield None
        for task in tasks:
            if _waits(task):
                self._task_changed(store, None, task)
            else:
                self._bear(task)
            yield None
        yield from list(self._waiting)

    def observe(self, store: Store, event: Event) -> Iterable[Group]:
        """Keep the memo; return the groups that may be placed now."""
        old, new = event.old, event.new
        if event.table == "nodes":
            return self._node_changed(_as_node(old), _as_node(new))
        if isinstance(old, Task) or isinstance(new, Task):
            return self._task_changed(store, _as_task(old), _as_task(new))
        changed = new or old
        groups = [group for group in self._waiting if changed and group[0] == changed.id]
        if changed is not None:
            self._rankings.forget(changed.id)
        for group in groups:
            if isinstance(new, Service) and extensions.read(new.spec).affinity:
                self._sociable[group] = None
        return groups

    def _node_changed(self, old: Node | None, new: Node | None) -> Iterable[Group]:
        if old is None or new is None or may_take_more(old, new):
            self._rankings.clear()
        if new is None:
            self._loads.pop(old.id if old else "", None)
            return list(self._waiting)
        load = self._loads.get(new.id)
        if load is None:
            self._loads[new.id] = NodeLoad(new)
        else:
            load.see(new)
        return list(self._waiting) if old is None or may_take_more(old, new) else ()

    def _task_changed(self, store: Store, old: Task | None, new: Task | None) -> Iterable[Group]:
        if old is not None and new is not None and _goes_on(old, new):
            return ()
        groups: list[Group] = []
        if old is not None and _waits(old) and (new is None or not _waits(new)):
            self._forget(old)
        if new is not None and _waits(new):
            group = _group(new)
            if group not in self._waiting:
                service = store.services.get(new.service_id)
                if service is not None and extensions.read(service.spec).affinity:
                    self._sociable[group] = None
            self._waiting[group][new.id] = None
            if old is None or not _waits(old):
                groups.append(group)
        if self._reweigh(old, new):
            groups.extend(self._waiting)
        elif self._sociable and new is not None and new.status.state is TaskState.ASSIGNED:
            groups.extend(self._sociable)
        if new is not None and (old is None or not old.status.state.terminal):
            self._faults.note(new)
        return groups

    def _bear(self, task: Task) -> None:
        """Weigh a task that nothing was known of, and that doesn't wait."""
        burden = burden_of(task)
        load = self._loads.get(given(task.node_id, "")) if burden else None
        if load is not None and burden is not None:
            load.add(task.id, burden)
        self._faults.note(task)

    def _reweigh(self, old: Task | None, new: Task | None) -> bool:
        """Return whether something became free."""
        task = new or old
        load = self._loads.get(given(task.node_id, "")) if task else None
        if task is None or load is None:
            return False
        burden = burden_of(new) if new else None
        self._rankings.changed(load.node.id)
        if burden is None:
            return load.remove(task.id) is not None
        before = load.tasks.get(task.id)
        load.add(task.id, burden)
        return before is not None and before.active and not burden.active

    def _forget(self, task: Task) -> None:
        group = _group(task)
        self._waiting[group].pop(task.id, None)
        self._told.pop(group, None)
        if not self._waiting[group]:
            del self._waiting[group]
            self._sociable.pop(group, None)

    def step(self, store: Store, keys: Sequence[Group], now: datetime) -> Step[Group]:
        """Place these groups, as far as one step's work goes."""
        step: Step[Group] = Step()
        work = 0
        placed: list[Placed] = []
        for group in keys:
            if work >= WORK_PER_STEP or len(step.tx) >= PLACED_PER_STEP:
                step.again.append(group)
                continue
            tasks = list(islice(self._tasks(store, group), PLACED_PER_STEP))
            if tasks:
                work += self._place(store, group, tasks, step, placed, now)
        # Until here the loads bore it, so that no group got what another one had been given.
        for task_id, load in placed:
            load.remove(task_id)
            self._rankings.changed(load.node.id)
        return step

    def _tasks(self, store: Store, group: Group) -> Iterator[Task]:
        """Yield the group's tasks that still wait, the longest waiting first."""
        for task_id in self._waiting.get(group, ()):
            task = store.tasks.get(task_id)
            if task is not None and _waits(task):
                yield task

    def _place(  # noqa: PLR0917 - a group, and the step that it is part of
        self,
        store: Store,
        group: Group,
        tasks: list[Task],
        step: Step[Group],
        placed: list[Placed],
        now: datetime,
    ) -> int:
        """Decide about one group; return how much work it was."""
        service_id, _, node_id = group
        service = store.services.get(service_id)

        def id_of(name: str) -> str:
            named = store.services.named(name)
            return named.id if named is not None else ""

        checks = filters.set_for(tasks[0], service, id_of)
        loads: Loads = self._loads
        if node_id:
            loads = {node_id: self._loads[node_id]} if node_id in self._loads else {}
        looked = self._rankings.looked
        ranking = self._rankings.of(group, tasks[0], loads, checks, self._faults, now)
        # Where nodes had to be looked at, fewer tasks are placed in the same time.
        less = (self._rankings.looked - looked) // LOOKS_PER_TASK
        tasks = tasks[: max(PLACED_PER_STEP - less, PLACED_PER_STEP // 2)]
        tried = placing.assign(tasks, ranking, step.tx, now)
        for _, load in tried:
            self._rankings.changed(load.node.id)
        placed.extend(tried)
        if len(tried) < len(tasks):
            why = placing.reason(checks, loads.values())
            self._rankings.looked += len(loads)
            self._explain(store, group, len(tried), why, step, now)
        elif len(self._waiting[group]) > len(tasks):
            step.again.append(group)
        return self._rankings.looked - looked + len(tasks)

    def _explain(  # noqa: PLR0917 - a group, and what was found out about it
        self, store: Store, group: Group, placed: int, why: str, step: Step[Group], now: datetime
    ) -> None:
        """Write the reason on some of the group's tasks that wait, on the others in later steps."""
        waiting = self._waiting[group]
        told, end = self._told.get(group, ("", 0))
        begin = max(placed, end if told == why else 0)
        found = map(store.tasks.get, islice(waiting, begin, begin + PLACED_PER_STEP))
        placing.explain([each for each in found if each and _waits(each)], why, step.tx, now)
        self._told.pop(group, None)
        if begin + PLACED_PER_STEP < len(waiting):
            self._told[group] = why, begin + PLACED_PER_STEP
            step.again.append(group)


def _waits(task: Task) -> bool:
    return (
        task.status.state in (TaskState.NEW, TaskState.PENDING)
        and task.desired_state.rank <= TaskState.COMPLETE.rank
        and not lacks_addresses(task)
    )


def _goes_on(old: Task, new: Task) -> bool:
    """Whether a task's change is nothing to the scheduler: it went on where it is, as wanted."""
    return (
        old.status.state.rank >= TaskState.ASSIGNED.rank
        and new.status.state.rank <= TaskState.RUNNING.rank
        and old.desired_state is new.desired_state
        and old.node_id == new.node_id
        and old.assigned_generic_resources == new.assigned_generic_resources
    )


def _group(task: Task) -> Group:
    version = given(task.internal, TaskInternal()).spec_version
    return task.service_id, version, given(task.node_id, "")


def _as_task(obj: object) -> Task | None:
    return obj if isinstance(obj, Task) else None


def _as_node(obj: object) -> Node | None:
    return obj if isinstance(obj, Node) else None
