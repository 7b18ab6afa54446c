"""What must hold of a swarm: after every entry of the log, all the time, and once it settled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from swarmops.manager import global_
from swarmops.manager.jobs import totals
from swarmops.manager.places import is_job, moved_by, run_of, service_run, spec_version
from swarmops.model.base import given
from swarmops.model.defaults import mode_name, replicas
from swarmops.model.node import Availability, Node, NodeState
from swarmops.model.service import Service, UpdateConfig, UpdateStatus
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, Watch, place_of

if TYPE_CHECKING:
    from tests.sim.manager.machines import Machine
    from tests.sim.manager.swarm import Swarm

HISTORY_MAX = 5
LOOPS_GRACE_S = 1.5
"""A leader that hears no majority is none any more after 1 s; until then it can't write either."""
_IN_PROGRESS = {"updating", "rollback_started"}


def live(task: Task) -> bool:
    """Whether the task is wanted; a completed one has done what it was wanted for."""
    wanted = task.desired_state.rank <= TaskState.COMPLETE.rank
    return wanted and task.status.state is not TaskState.COMPLETE


class Watching:
    """Looks at every entry as soon as any manager has applied it."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._watches: dict[Store, Watch] = {}
        self._index = 0
        self._deposed_s: dict[str, float] = {}
        self._start_first: set[str] = set()
        """Services that ever asked for it."""
        self._fell: set[str] = set()
        """Nodes that were ever held for dead."""
        self.broken: AssertionError | None = None
        self.entries = 0

    def applied(self, machine: Machine, index: int) -> None:
        """Look at an entry, unless another manager showed it before."""
        store = machine.store
        watch = self._watches.get(store)
        if watch is None:
            self._watches[store] = store.watch("tasks", "services", "nodes", size=1_000_000)
            events: list[Event] = []
        else:
            events, _ = watch.take()
        if index <= self._index or self.broken:
            return
        self._index = index
        self.entries += 1
        try:
            for event in events:
                _check_forward(event)
                self._learn(event)
            places = {(t.service_id, place_of(t)): None for e in events if (t := _task(e))}
            for service_id, place in places:
                most = 2 if service_id in self._start_first else 1
                _check_place(list(store.tasks.by_place(service_id, place)), most)
            for event in events:
                self._check_alone(event)
        except AssertionError as error:
            error.add_note(f"after entry {index}, seen on {machine.name}")
            self.broken = error

    def _learn(self, event: Event) -> None:
        new = event.new
        if isinstance(new, Service) and _starts_first(new):
            self._start_first.add(new.id)
        if isinstance(new, Node) and new.status.state is NodeState.DOWN:
            self._fell.add(new.id)

    def _check_alone(self, event: Event) -> None:
        """Assert that a task that begins to run does so when the one before it has stopped.

        One on a node that was held for dead may run on: nobody could know.
        """
        old, new = event.old, event.new
        begins = (
            isinstance(new, Task)
            and new.status.state is TaskState.RUNNING
            and not (isinstance(old, Task) and old.status.state is TaskState.RUNNING)
        )
        if not begins or not isinstance(new, Task) or new.service_id in self._start_first:
            return
        for agent in self._swarm.agents.values():
            if agent.silent or agent.node_id in self._fell:
                continue
            beside = [
                other.id
                for other in agent.running()
                if other.id != new.id
                and (other.service_id, place_of(other)) == (new.service_id, place_of(new))
                and not (moved_by(new) or moved_by(other))
            ]
            assert not beside, (
                f"task {new.id} runs on {new.node_id} while {beside} does on {agent.node_id}"
            )

    async def loops(self) -> None:
        """Look for ever whether a manager that does not lead any more still runs loops."""
        clock = asyncio.get_running_loop()
        while True:
            for name, machine in self._swarm.machines.items():
                if machine.leads or not machine.is_running or not machine.manager.running_loops:
                    self._deposed_s.pop(name, None)
                    continue
                since_s = self._deposed_s.setdefault(name, clock.time())
                assert clock.time() - since_s <= LOOPS_GRACE_S, (
                    f"{name} does not lead, and runs {sorted(machine.manager.running_loops)}"
                )
            await asyncio.sleep(0.1)


def _task(event: Event) -> Task | None:
    changed = event.new or event.old
    return changed if isinstance(changed, Task) else None


def _check_forward(event: Event) -> None:
    """Assert that a task only ever moves on."""
    old, new = event.old, event.new
    if isinstance(old, Task) and isinstance(new, Task):
        assert new.status.state.rank >= old.status.state.rank, "a task's state went back"
        assert new.desired_state.rank >= old.desired_state.rank, "a wish for a task went back"
        assert not given(old.node_id, "") or new.node_id == old.node_id, "a task changed its node"


def _starts_first(service: Service) -> bool:
    configs = (service.spec.update_config, service.spec.rollback_config)
    return any(given(given(each, UpdateConfig()).order, "") == "start-first" for each in configs)


def _check_place(tasks: Sequence[Task], most: int) -> None:
    """Assert that a place has no more live tasks than its service's order, or a move, allows."""
    live_ones = [task for task in tasks if live(task)]
    ids = {task.id for task in live_ones}
    assert len(live_ones) <= 2, "more than start-first's two live in a slot"
    moving = any(moved_by(task) in ids for task in live_ones)
    assert len(live_ones) <= most or moving, "two live in a slot whose service is stop-first"
    versions = Counter(
        (spec_version(task), run_of(task)) for task in live_ones if moved_by(task) not in ids
    )
    assert max(versions.values(), default=0) <= 1, "two live tasks of one spec in a slot"


def lacks(swarm: Swarm) -> Iterator[str]:
    """Say what keeps the swarm from being settled."""
    store = swarm.store
    for service in store.services:
        state = given(given(service.update_status, UpdateStatus()).state, "")
        if state in _IN_PROGRESS:
            yield f"{service.id} is {state}"
        check = _of_job if is_job(service) else _of_service
        yield from check(swarm, service)
        counts = Counter(place_of(task) for task in store.tasks.by_service(service.id))
        if max(counts.values(), default=0) > HISTORY_MAX:
            yield f"{service.id} keeps {max(counts.values())} tasks in a place"
    for task in store.tasks:
        if task.service_id not in store.services:
            yield f"task {task.id} outlived its service"
        node = store.nodes.get(given(task.node_id, ""))
        if live(task) and not (
            node is not None
            and node.status.state is NodeState.READY
            and node.spec.availability is not Availability.DRAIN
        ):
            yield f"task {task.id} is live on {task.node_id}, {node and node.status.state}"
    yield from _of_agents(swarm)
    yield from _of_managers(swarm)


def _of_service(swarm: Swarm, service: Service) -> Iterator[str]:
    wanted = [task for task in swarm.store.tasks.by_service(service.id) if live(task)]
    places = Counter(map(place_of, wanted))
    if max(places.values(), default=0) > 1:
        yield f"{service.id} has two live tasks in a place"
    paused = _paused(swarm)
    if mode_name(service.spec) == "global":  # there, all wait until the node is active again
        wanted = [task for task in wanted if task.node_id not in paused]
    if waiting := [task for task in wanted if task.status.state is not TaskState.RUNNING]:
        yield f"{service.id} has tasks that don't run: {waiting[0].status}"
    if mode_name(service.spec) == "global":
        nodes = {node.id for node in swarm.store.nodes if global_.keeps(service, node)}
        if not nodes - paused <= set(places) <= nodes:
            yield f"{service.id} is on {sorted(places)} instead of {sorted(nodes)}"
    elif len(wanted) != replicas(service.spec):
        yield f"{service.id} has {len(wanted)} of {replicas(service.spec)} tasks"
    state = given(given(service.update_status, UpdateStatus()).state, "")
    if not state.endswith("paused"):
        old = [task for task in wanted if task.spec != service.spec.task_template]
        if old:
            yield f"{service.id} has {len(old)} tasks of another spec"


def _paused(swarm: Swarm) -> set[str]:
    nodes = swarm.store.nodes
    return {node.id for node in nodes if node.spec.availability is Availability.PAUSE}


def _of_job(swarm: Swarm, service: Service) -> Iterator[str]:
    tasks = swarm.store.tasks.by_service(service.id)
    paused = _paused(swarm)
    if at_work := [task for task in tasks if live(task) and task.node_id not in paused]:
        yield f"{service.id} is at work: {at_work[0].status}"
        return
    complete = [
        task
        for task in tasks
        if run_of(task) == service_run(service) and task.status.state is TaskState.COMPLETE
    ]
    done = {place_of(task) for task in complete}
    # A node that was held for dead may come back with a task done that was replaced meanwhile.
    expected = [task for task in complete if task.desired_state is TaskState.COMPLETE]
    if max(Counter(map(place_of, expected)).values(), default=0) > 1:
        yield f"{service.id} completed a place twice"
    if mode_name(service.spec) == "global-job":
        nodes = {node.id for node in swarm.store.nodes if global_.wants(service, node)}
        if not done >= nodes - paused:
            yield f"{service.id} is complete on {sorted(done)} of {sorted(nodes)}"
    elif done != {str(slot) for slot in range(totals(service)[1])}:
        yield f"{service.id} is complete in {sorted(done)} of {totals(service)[1]}"


def _of_agents(swarm: Swarm) -> Iterator[str]:
    for agent in swarm.agents.values():
        if agent.silent:
            node = swarm.store.nodes.get(agent.node_id)
            if node is None or node.status.state is not NodeState.DOWN:
                yield f"{agent.node_id} has no power, and is not down"
            continue
        running = {task.id for task in agent.running()}
        here = {
            task.id
            for task in swarm.store.tasks.by_node(agent.node_id)
            if live(task) and task.status.state.rank >= TaskState.ASSIGNED.rank
        }
        if running != here:
            yield f"{agent.node_id} runs {len(running)} tasks, {len(here)} are wanted"


def _of_managers(swarm: Swarm) -> Iterator[str]:
    leader = swarm.leader
    if leader is None:
        yield "nobody leads"
        return
    for machine in swarm.machines.values():
        loops = machine.manager.running_loops if machine.is_running else frozenset()
        if machine is leader and not loops:
            yield f"{machine.name} leads without loops"
        if machine is not leader and loops:
            yield f"{machine.name} does not lead, and runs {sorted(loops)}"
        if machine.is_running and content(machine.store) != content(leader.store):
            yield f"{machine.name} has another state than the leader"


def content(store: Store) -> list[tuple[str, int]]:
    """Return what tells a replica from another one, that is behind."""
    return sorted((each.id, each.version.index) for each in (*store.tasks, *store.services))
