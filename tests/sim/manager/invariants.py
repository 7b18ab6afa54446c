"""What must hold of a swarm after every entry of the log, and all the time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from swarmops.manager.places import moved_by, run_of, spec_version
from swarmops.model.base import given
from swarmops.model.node import Node, NodeInternal, NodeState, Role
from swarmops.model.service import Service, UpdateConfig
from swarmops.model.task import Task, TaskState
from swarmops.store import Event, Store, Watch, place_of
from tests.sim.manager.attempts import Attempts
from tests.sim.manager.room import Room
from tests.sim.virtual_loop import virtual_now

if TYPE_CHECKING:
    from tests.sim.manager.machines import Machine
    from tests.sim.manager.swarm import Swarm

ASKED_FOR = timedelta(seconds=5)
"""A request is answered, or given up, within this."""
LOOPS_GRACE_S = 1.5
"""A leader that hears no majority is none any more after 1 s; until then it can't write either."""


def live(task: Task) -> bool:
    """Whether the task is wanted; a completed one has done what it was wanted for.

    A job's that ended otherwise stays as it is: the next run, or attempt, takes its place.
    """
    wanted = task.desired_state.rank <= TaskState.COMPLETE.rank
    ended = task.desired_state is TaskState.COMPLETE and task.status.state.terminal
    return wanted and not ended and task.status.state is not TaskState.COMPLETE


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
        """Nodes that were ever held for dead, or removed by force."""
        self._room = Room()
        self.attempts = Attempts()
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
                _check_gone(store, event)
                self._learn(event)
                self.attempts.check(store, event)
            self._room.check(store, events, virtual_now())
            places = {(t.service_id, place_of(t)): None for e in events if (t := _task(e))}
            for service_id, place in places:
                most = 2 if service_id in self._start_first else 1
                _check_place(list(store.tasks.by_place(service_id, place)), most)
            for event in events:
                self._check_alone(store, event)
        except AssertionError as error:
            error.add_note(f"after entry {index}, seen on {machine.name}")
            self.broken = error

    def _learn(self, event: Event) -> None:
        new = event.new
        if isinstance(new, Service) and _starts_first(new):
            self._start_first.add(new.id)
        if isinstance(new, Node) and new.status.state is NodeState.DOWN:
            self._fell.add(new.id)
        if isinstance(event.old, Node) and new is None:
            self._fell.add(event.old.id)

    def _check_alone(self, store: Store, event: Event) -> None:
        """Assert that a task that begins to run does so when the one before it has stopped.

        One on a node that was held for dead may run on: nobody could know. One that was rejected,
        for its node no longer meets its constraints, runs until its agent hears of it, as Docker's.
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
                and not _rejected(store, other.id)
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
                self._check_roles(machine)
                if machine.leads or not machine.is_running or not machine.manager.running_loops:
                    self._deposed_s.pop(name, None)
                    continue
                since_s = self._deposed_s.setdefault(name, clock.time())
                assert clock.time() - since_s <= LOOPS_GRACE_S, (
                    f"{name} does not lead, and runs {sorted(machine.manager.running_loops)}"
                )
            await asyncio.sleep(0.1)

    def _check_roles(self, machine: Machine) -> None:
        """Assert that nobody votes whose node has not the role, as far as the leader knows."""
        if not machine.leads or machine is not self._swarm.leader:
            return
        for member in machine.raft.status().voters:
            node = machine.store.nodes.get(member.node_id)
            role = given(node.internal, NodeInternal()).role if node is not None else None
            assert role is Role.MANAGER, f"{member.node_id} votes, and has the role {role}"


def _rejected(store: Store, task_id: str) -> bool:
    task = store.tasks.get(task_id)
    return task is not None and task.status.state is TaskState.REJECTED


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


def _check_gone(store: Store, event: Event) -> None:
    """Assert that a node takes its tasks with it when it is removed.

    But for those that it was given meanwhile, which are given up soon.
    """
    if isinstance(event.old, Node) and event.new is None:
        known = virtual_now() - ASKED_FOR
        here = [task for task in store.tasks.by_node(event.old.id) if task.updated_at < known]
        left = [task.id for task in here if not task.status.state.terminal]
        assert not left, f"{event.old.id} was removed, and {left} not given up"


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
