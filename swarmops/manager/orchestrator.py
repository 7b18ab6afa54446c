"""The orchestrator: gives every service the tasks that its spec asks for.

A control loop. A key is a service, or one place of it: most changes concern one place, whose tasks
``restarts`` tends; a change of the service, or of the nodes of a global one, concerns the whole,
which ``service_look`` looks at, over several steps where it is large. During an update each change
of a task matters to the whole, but only its own place is looked at again. It alone makes tasks and
writes their desired state.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import UNSET

from swarmops.manager import global_, jobs, rebalance, restarts
from swarmops.manager.look import Key, Turn
from swarmops.manager.loop import Step
from swarmops.manager.places import is_job, live, stranded, unfit
from swarmops.manager.restarts import PlaceStep
from swarmops.manager.service_look import CHANGED, ServiceLook
from swarmops.manager.update_survey import updating
from swarmops.model.base import given
from swarmops.model.defaults import mode_name
from swarmops.model.node import Node, NodeInternal
from swarmops.model.service import Service
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, place_of

MORE = "more"
"""In a place's stead: go on with the look at the service that was begun."""
_WHOLE = frozenset({"", MORE, CHANGED})


class Orchestrator:
    """The loop; between steps it remembers only what it is looking at."""

    tables = ("services", "tasks", "nodes")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._looks: dict[str, ServiceLook] = {}
        self._once_more: set[str] = set()
        """Services that something happened to while they were looked at."""
        self._standing: dict[str, ServiceLook] = {}
        """Looks at services under update that stand by."""
        self._news: dict[str, dict[str, None]] = {}
        """Places of such services in which something changed since."""
        self._minding: dict[str, None] = {}
        """Services whose tasks may move whenever a node changes."""

    def reset(self, store: Store) -> Iterator[Key | None]:
        """Yield every service, and every place but those where nothing can be to do."""
        self._looks.clear()
        self._once_more.clear()
        self._standing.clear()
        self._news.clear()
        services = list(store.services)
        self._minding = {each.id: None for each in services if _minds_nodes(each)}
        for service in services:
            yield service.id, ""
        # Whatever becomes of a node after this is observed.
        fit = {node.id for node in store.nodes if not unfit(node)}
        for task in list(store.tasks):
            place = place_of(task)
            lost = task.node_id is not UNSET and task.node_id not in fit
            well = not lost and _is_well(store, task, place)
            yield None if well else (task.service_id, place)
            if task.service_id not in store.services:
                yield task.service_id, ""

    def observe(self, store: Store, event: Event) -> Iterable[Key]:
        """Return the places, or services, that a change concerns."""
        old, new = event.old, event.new
        if isinstance(old, Node) or isinstance(new, Node):
            return self._node_changed(store, _as_node(old), _as_node(new))
        if isinstance(old, Task) or isinstance(new, Task):
            return self._task_changed(store, _as_task(old), _as_task(new))
        changed = new or old
        if changed is None:
            return ()
        self._standing.pop(changed.id, None)
        self._minding.pop(changed.id, None)
        if isinstance(new, Service) and _minds_nodes(new):
            self._minding[new.id] = None
        return [(changed.id, "")]

    def _node_changed(self, store: Store, old: Node | None, new: Node | None) -> Iterable[Key]:
        changed = new or old
        if changed is None or not _matters(old, new):
            return
        # Which task differs from a spec depends on its node.
        self._standing.clear()
        for look in self._looks.values():
            look.stands_by = False
        if unfit(new):
            for task in list(store.tasks.by_node(changed.id)):
                yield task.service_id, place_of(task)
        for service_id in list(self._minding):
            yield service_id, ""

    def _task_changed(self, store: Store, old: Task | None, new: Task | None) -> Iterable[Key]:
        """Return the place of a task that went, or changed one of its states and isn't well."""
        task = new or old
        if task is None or not task.service_id:
            return
        if old is not None and new is not None and _same(old, new):
            return
        place = place_of(task)
        if new is None or stranded(new, store.nodes) or not _is_well(store, new, place):
            yield task.service_id, place
        service = store.services.get(task.service_id)
        if service is not None and is_job(service):
            if new is None or new.status.state.terminal:
                yield task.service_id, ""
        elif service is None or (new is None and live(task)):
            yield task.service_id, ""
        elif updating(service) and not rebalance.wished(service):
            self._news.setdefault(service.id, {})[place] = None
            yield service.id, CHANGED
        elif updating(service) or rebalance.wanted(service):
            yield service.id, ""

    def step(self, store: Store, keys: Sequence[Key], now: datetime) -> Step[Key]:
        """Give these services and places what they lack, and take what is too much."""
        step: Step[Key] = Step()
        turn = Turn(step, now)
        written = set()
        whole: dict[str, set[str]] = {}
        for service_id, place in keys:
            if place in _WHOLE:
                whole.setdefault(service_id, set()).add(place)
        for service_id, asked in whole.items():
            before = len(step.tx)
            self._look(store, service_id, asked, turn)
            if len(step.tx) > before:
                written.add(service_id)
        for service_id, place in keys:
            service = store.services.get(service_id)
            if place in _WHOLE or service is None:
                continue
            if service_id in written:
                step.again.append((service_id, place))
            else:
                self._place(store, service, place, step, now)
        return step

    def _look(self, store: Store, service_id: str, asked: set[str], turn: Turn) -> None:
        """Go on looking at a service, or begin if that was asked for."""
        look = self._looks.get(service_id)
        if look is not None and "" in asked:
            self._once_more.add(service_id)
        if turn.over:
            again = asked - {MORE} if look is None else {MORE}
            turn.step.again.extend((service_id, each) for each in again)
            return
        if look is None:
            look = self._begin(store, service_id, asked)
            if look is None:
                return
            self._looks[service_id] = look
        if not look.go_on(turn):
            turn.step.again.append((service_id, MORE))
            return
        del self._looks[service_id]
        if service_id in self._once_more or (look.changed and not look.stands_by):
            self._once_more.discard(service_id)
            turn.step.again.append((service_id, ""))
        elif look.stands_by:
            self._standing[service_id] = look
            if look.changed or service_id in self._news:
                turn.step.again.append((service_id, CHANGED))

    def _begin(self, store: Store, service_id: str, asked: set[str]) -> ServiceLook | None:
        """Begin to look at all of a service, or at what changed if a look at all stands by."""
        if not asked & {"", CHANGED}:
            return None
        look = self._standing.pop(service_id, None)
        news = self._news.pop(service_id, {})
        if look is None or "" in asked:
            return ServiceLook(store, service_id, self._rng)
        look.glance(news)
        return look

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


def _is_well(store: Store, task: Task, place: str) -> bool:
    """Whether a task that isn't stranded runs, or soon will, alone in its place, as it shall."""
    return (
        task.desired_state is TaskState.RUNNING
        and not task.status.state.terminal
        and store.tasks.stands_alone(task, place)
    )


def _minds_nodes(service: Service) -> bool:
    return _is_global(service) or rebalance.wanted(service)


def _is_global(service: Service) -> bool:
    return mode_name(service.spec).startswith("global")


def _same(old: Task, new: Task) -> bool:
    return (
        old.status.state is new.status.state
        and old.desired_state is new.desired_state
        and old.node_id == new.node_id
    )


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
