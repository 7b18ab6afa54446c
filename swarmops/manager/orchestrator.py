"""The orchestrator: gives every service the tasks that its spec asks for.

A control loop. A key is a service, or one place of it: most changes concern one place, whose tasks
``restarts`` tends; a change of the service, or of the nodes of a global one, concerns the whole:
``replicated`` or ``global_`` say which places there shall be, ``updates`` which get the new spec.
It alone makes tasks and writes their desired state.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import UNSET

from swarmops.manager import global_, jobs, rebalance, replicated, restarts, updates
from swarmops.manager.loop import Step
from swarmops.manager.places import (
    Places,
    by_place,
    is_job,
    live,
    may_run,
    new_task,
    run_of,
    service_run,
    service_version,
    stopping,
    unfit,
    wanted_state,
)
from swarmops.manager.restarts import PlaceStep
from swarmops.model.base import given
from swarmops.model.defaults import mode_name, replicas
from swarmops.model.node import Node, NodeInternal
from swarmops.model.service import Service, UpdateStatus
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, place_of

Key = tuple[str, str]
"""A service's ID and one of its places; an empty place is the whole service."""

Version = tuple[int, int]
"""Of a service's spec, and the run of a job."""
CREATED_PER_STEP = 500
_IN_PROGRESS = ("updating", "rollback_started")


class Orchestrator:
    """The loop; between steps it remembers only which slots it is about to fill."""

    tables = ("services", "tasks", "nodes")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._filling: dict[str, tuple[Version, list[str]]] = {}
        """Service: its version, and free places, the next one last."""

    def reset(self, store: Store) -> Iterable[Key]:
        """Return every service and every place."""
        yield from ((service.id, "") for service in store.services)
        yield from {(task.service_id, place_of(task)) for task in store.tasks if task.service_id}
        yield from {
            (task.service_id, "") for task in store.tasks if task.service_id not in store.services
        }

    def observe(self, store: Store, event: Event) -> Iterable[Key]:
        """Return the places, or services, that a change concerns."""
        old, new = event.old, event.new
        if isinstance(old, Node) or isinstance(new, Node):
            return self._node_changed(store, _as_node(old), _as_node(new))
        if isinstance(old, Task) or isinstance(new, Task):
            return _task_changed(store, _as_task(old), _as_task(new))
        changed = new or old
        return [(changed.id, "")] if changed is not None else ()

    def _node_changed(self, store: Store, old: Node | None, new: Node | None) -> Iterable[Key]:
        changed = new or old
        if changed is None or not _matters(old, new):
            return
        if unfit(new):
            yield from {
                (task.service_id, place_of(task)) for task in store.tasks.by_node(changed.id)
            }
        for service in store.services:
            if _is_global(service) or rebalance.wanted(service):
                yield service.id, ""

    def step(self, store: Store, keys: Sequence[Key], now: datetime) -> Step[Key]:
        """Give these services and places what they lack, and take what is too much."""
        step: Step[Key] = Step()
        whole = dict.fromkeys(service_id for service_id, place in keys if not place)
        for service_id in whole:
            service = store.services.get(service_id)
            if len(step.tx) >= CREATED_PER_STEP:
                step.again.append((service_id, ""))
            elif service is None:
                self._filling.pop(service_id, None)
                _remove(store.tasks.by_service(service_id), step)
            else:
                self._service(store, service, step, now)
        for service_id, place in keys:
            service = store.services.get(service_id)
            if place and service_id in whole:
                step.again.append((service_id, place))
            elif place and service is not None:
                self._place(store, service, place, step, now)
        return step

    def _place(
        self, store: Store, service: Service, place: str, step: Step[Key], now: datetime
    ) -> None:
        tasks = store.tasks.by_place(service.id, place)
        if not tasks:
            return
        keep = not _is_global(service) or global_.keeps(service, store.nodes.get(place))
        tend = jobs.tend if is_job(service) else restarts.tend
        found = tend(service, place, tuple(tasks), store.nodes, now=now, rng=self._rng, keep=keep)
        _write(step, (service.id, place), found)

    def _service(self, store: Store, service: Service, step: Step[Key], now: datetime) -> None:
        """Compare the places that are with the ones that shall be."""
        if self._go_on_filling(store, service, step, now):
            step.again.append((service.id, ""))
            return
        places = by_place(store.tasks.by_service(service.id))
        if is_job(service):
            self._job(store, service, places, step, now)
            return
        if mode_name(service.spec) == "global":
            kept = self._global(store, service, places, step, now)
        else:
            kept = self._replicated(store, service, places, step, now)
        if len(step.tx) >= CREATED_PER_STEP:
            step.again.append((service.id, ""))
            return
        update = updates.UpdateStep()
        if not rebalance.wished(service) or updates.outdated(service, kept, store.nodes):
            update = updates.plan(service, kept, now, store.nodes)
        for place in update.replace:
            self._update_place(store, service, place, kept[place], update, step, now)
        if update.service is not None:
            step.tx.put(update.service)
        if update.wake is not None:
            step.wake[service.id, ""] = update.wake
        if rebalance.wanted(service):
            self._rebalance(store, service, kept, step, now)
        replaced = set(update.replace)
        step.again.extend(
            (service.id, place)
            for place, tasks in kept.items()
            if place not in replaced and _needs_tending(store, tasks)
        )

    def _replicated(
        self, store: Store, service: Service, places: Places, step: Step[Key], now: datetime
    ) -> Places:
        """Add or remove slots; return those that stay."""
        used = {slot: tasks for slot, tasks in places.items() if replicated.in_use(tasks, now)}
        wanted = replicas(service.spec)
        free = replicated.free_slots(used, wanted - len(used))
        self._filling[service.id] = (_version(service), free[::-1])
        self._go_on_filling(store, service, step, now)
        gone = replicated.victims(service, used, max(len(used) - wanted, 0))
        for slot in gone:
            _remove(used.pop(slot), step)
        for slot, tasks in places.items():
            if slot not in used and int(slot) > wanted:
                _remove(tasks, step)
        return used

    def _global(
        self, store: Store, service: Service, places: Places, step: Step[Key], now: datetime
    ) -> Places:
        """Add tasks for nodes that lack them, shut down those of nodes that don't qualify."""
        used: Places = {}
        for node_id, tasks in places.items():
            if global_.keeps(service, store.nodes.get(node_id)):
                if replicated.in_use(tasks, now):
                    used[node_id] = tasks
                continue
            for task in tasks:
                if live(task):
                    step.tx.patch_task(task.id, desired_state=TaskState.SHUTDOWN)
        for node_id in global_.new_places(service, store.nodes, used)[:CREATED_PER_STEP]:
            self._fill(store, service, node_id, step, now)
        return used

    def _job(
        self, store: Store, service: Service, places: Places, step: Step[Key], now: datetime
    ) -> None:
        """Begin what may begin of a job's present run; its places go on by themselves."""
        if _is_global(service):
            for node_id, tasks in places.items():
                keep = global_.keeps(service, store.nodes.get(node_id))
                if not keep or jobs.needs_tending(service, tasks, now):
                    step.again.append((service.id, node_id))
            begun = [p for p, tasks in places.items() if jobs.state(service, tasks, now) != "open"]
            free = global_.new_places(service, store.nodes, begun)
        else:
            found = jobs.plan(service, places, now)
            step.again.extend((service.id, slot) for slot in found.tend)
            for slot in found.surplus:
                _remove(places[slot], step)
            free = found.free
        self._filling[service.id] = (_version(service), free[::-1])
        if self._go_on_filling(store, service, step, now) and service.id in self._filling:
            step.again.append((service.id, ""))

    def _go_on_filling(
        self, store: Store, service: Service, step: Step[Key], now: datetime
    ) -> bool:
        """Fill some of the slots that were found free; return whether any was left to fill."""
        version, free = self._filling.pop(service.id, ((0, 0), []))
        if version != _version(service) or not free:
            return False
        for _ in range(min(len(free), CREATED_PER_STEP)):
            slot = free.pop()
            if not _begun(service, store.tasks.by_place(service.id, slot)):
                self._fill(store, service, slot, step, now)
        if free:
            self._filling[service.id] = (version, free)
        return True

    def _fill(
        self, store: Store, service: Service, place: str, step: Step[Key], now: datetime
    ) -> None:
        """Put a task into a place that has none; it waits for a former one that still stops."""
        tasks = store.tasks.by_place(service.id, place)
        busy = stopping(tasks, store.nodes)
        if is_job(service):
            busy = any(may_run(task, store.nodes) for task in tasks)
        desired = TaskState.READY if busy else wanted_state(service)
        step.tx.put(new_task(service, place, self._rng, now, desired=desired))

    def _rebalance(
        self, store: Store, service: Service, places: Places, step: Step[Key], now: datetime
    ) -> None:
        """Let one task of a service that has nothing else to do move to a better node."""
        wished = rebalance.wished(service)
        if _is_global(service) or len(step.tx) or (_in_update(service) and not wished):
            return
        found = rebalance.next_move(service, places, store, now)
        if found is None and wished:
            ended = rebalance.fulfilled(service, places, now)
            if ended is not None:
                step.tx.put(ended)
            else:
                step.wake[service.id, ""] = rebalance.give_up_at(service, now)
            return
        if found is None:
            if (later := rebalance.retry_at(places, now)) is not None:
                step.wake[service.id, ""] = later
            return
        place, node_id = found
        [old] = [task for task in places[place] if live(task)]
        step.tx.put(new_task(service, place, self._rng, now, node_id=node_id, moves=old.id))

    def _update_place(  # noqa: PLR0917 - the parts of one decision
        self,
        store: Store,
        service: Service,
        place: str,
        tasks: Sequence[Task],
        update: updates.UpdateStep,
        step: Step[Key],
        now: datetime,
    ) -> None:
        """Put a task of the new spec into the place: after the old one stops, or before."""
        wanted = [task for task in tasks if live(task)]
        staying = [restarts.most_advanced(wanted)] if wanted and update.start_first else []
        for task in wanted:
            if task not in staying:
                step.tx.patch_task(task.id, desired_state=TaskState.SHUTDOWN)
        busy = not staying and any(may_run(task, store.nodes) for task in tasks)
        desired = TaskState.READY if busy else TaskState.RUNNING
        step.tx.put(new_task(service, place, self._rng, now, desired=desired))


def _task_changed(store: Store, old: Task | None, new: Task | None) -> Iterable[Key]:
    """Return the place of a task that came, went, or changed one of its states."""
    task = new or old
    if task is None or not task.service_id:
        return
    if old is not None and new is not None:
        same = (
            old.status.state is new.status.state
            and old.desired_state is new.desired_state
            and old.node_id == new.node_id
        )
        if same:
            return
    yield task.service_id, place_of(task)
    service = store.services.get(task.service_id)
    if service is not None and is_job(service):
        if new is None or new.status.state.terminal:
            yield task.service_id, ""
        return
    if service is None or (new is None and live(task)) or _is_watched(service):
        yield task.service_id, ""


def _is_global(service: Service) -> bool:
    return mode_name(service.spec).startswith("global")


def _version(service: Service) -> Version:
    return service_version(service), service_run(service)


def _begun(service: Service, tasks: Iterable[Task]) -> bool:
    """Whether a place that was free has got its task meanwhile."""
    run = service_run(service)
    return any(live(task) and (run_of(task) == run or not is_job(service)) for task in tasks)


def _is_watched(service: Service) -> bool:
    """Whether every change of a task concerns the service as a whole."""
    return _updating(service) or rebalance.wanted(service)


def _in_update(service: Service) -> bool:
    """Whether an update is going on, or stands still and waits for someone."""
    state = given(given(service.update_status, UpdateStatus()).state, "completed")
    return not state.endswith("completed")


def _updating(service: Service) -> bool:
    status = given(service.update_status, UpdateStatus())
    return given(status.state, "") in _IN_PROGRESS


def _needs_tending(store: Store, tasks: Sequence[Task]) -> bool:
    """Whether a place may have something to do besides what its own changes tell."""
    return any(
        live(task)
        and (
            task.status.state.terminal
            or task.desired_state is TaskState.READY
            or (task.node_id is not UNSET and unfit(store.nodes.get(task.node_id)))
        )
        for task in tasks
    )


def _remove(tasks: Iterable[Task], step: Step[Key]) -> None:
    for task in tasks:
        if task.desired_state is not TaskState.REMOVE:
            step.tx.patch_task(task.id, desired_state=TaskState.REMOVE)


def _write(step: Step[Key], key: Key, found: PlaceStep) -> None:
    for task_id, state in found.desire:
        step.tx.patch_task(task_id, desired_state=state)
    for task in found.create:
        step.tx.put(task)
    if found.wake is not None:
        step.wake[key] = found.wake


def _matters(old: Node | None, new: Node | None) -> bool:
    """Whether a node's change may move tasks."""
    if old is None or new is None:
        return True
    roles = [given(node.internal, NodeInternal()).role for node in (old, new)]
    return (
        old.spec != new.spec
        or old.status.state is not new.status.state
        or roles[0] is not roles[1]
        or (old.description is not new.description and old.description != new.description)
    )


def _as_task(obj: object) -> Task | None:
    return obj if isinstance(obj, Task) else None


def _as_node(obj: object) -> Node | None:
    return obj if isinstance(obj, Node) else None
