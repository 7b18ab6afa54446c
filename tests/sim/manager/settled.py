"""What must hold of a swarm once it settled: everything is as it was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from swarmops.manager import global_
from swarmops.manager.jobs import totals
from swarmops.manager.places import is_job, made, run_of, service_run
from swarmops.model.base import given
from swarmops.model.defaults import (
    mode_name,
    replicas,
    restart_max_attempts,
    task_spec,
)
from swarmops.model.node import Availability, NodeInternal, NodeState, Role
from swarmops.model.service import Service, UpdateStatus
from swarmops.model.task import Task, TaskState
from swarmops.store import Store, place_of
from tests.sim.manager.invariants import live
from tests.sim.manager.machines import content
from tests.sim.manager.room import fits_nowhere, overloaded, takes_new, zones_of
from tests.sim.manager.specs import zone

if TYPE_CHECKING:
    from tests.sim.manager.swarm import Swarm

_IN_PROGRESS = {"updating", "rollback_started"}


def lacks(swarm: Swarm) -> Iterator[str]:
    """Say what keeps the swarm from being settled."""
    store = swarm.store
    for service in store.services:
        state = given(given(service.update_status, UpdateStatus()).state, "")
        if state in _IN_PROGRESS:
            yield f"{service.id} is {state}"
        check = _of_job if is_job(service) else _of_service
        yield from check(swarm, service)
        yield from _of_history(swarm, service)
    for task in store.tasks:
        yield from _of_task(store, task)
    for node in store.nodes:
        if takes_new(node) and overloaded(store, node):
            yield f"more is reserved on {node.id} than it has"
    yield from _of_agents(swarm)
    yield from _of_managers(swarm)


def _of_task(store: Store, task: Task) -> Iterator[str]:
    service = store.services.get(task.service_id)
    if service is None:
        yield f"task {task.id} outlived its service"
    bound = given(task.node_id, "")
    node = store.nodes.get(bound)
    if not live(task):
        if bound and node is None and not task.status.state.terminal:
            yield f"task {task.id} is {task.status.state} on {bound}, which is removed"
    elif node is None:
        if bound or not fits_nowhere(store, task):
            yield f"task {task.id} is live on {bound or 'no node'}"
    elif node.status.state is not NodeState.READY or node.spec.availability is Availability.DRAIN:
        yield f"task {task.id} is live on {bound}, {node.status.state}"
    elif takes_new(node) and service is not None and task.spec == service.spec.task_template:
        zones = zones_of(task_spec(service.spec))
        if any(zone(node.spec) != each for each in zones):
            yield f"task {task.id} is on {bound}, and not in zone {zones}"


def _of_service(swarm: Swarm, service: Service) -> Iterator[str]:
    store, paused = swarm.store, _paused(swarm)
    by_place: dict[str, list[Task]] = {}
    for task in sorted(store.tasks.by_service(service.id), key=made):
        by_place.setdefault(place_of(task), []).append(task)
    wanted = [task for tasks in by_place.values() for task in tasks if live(task)]
    stuck = {task.id for task in wanted if fits_nowhere(store, task)}
    # One may be there beside another that waits: of an update that starts first, and stands.
    counts = Counter(place_of(task) for task in wanted if task.id not in stuck)
    if max(counts.values(), default=0) > 1:
        yield f"{service.id} has two live tasks in a place"
    is_global = mode_name(service.spec) == "global"
    if is_global:  # there, all wait until the node is active again
        wanted = [task for task in wanted if task.node_id not in paused]
    idle = [task for task in wanted if task.status.state is not TaskState.RUNNING]
    if waiting := [task for task in idle if task.id not in stuck]:
        yield f"{service.id} has tasks that don't run: {waiting[0].status}"
    places = {place for place, tasks in by_place.items() if _in_use(swarm, tasks)}
    if is_global:
        nodes = {node.id for node in store.nodes if global_.keeps(service, node)}
        here = {place for place in places if place in nodes or any(map(live, by_place[place]))}
        if not nodes - paused <= here <= nodes:
            yield f"{service.id} is on {sorted(here)} instead of {sorted(nodes)}"
    elif len(places) != replicas(service.spec):
        yield f"{service.id} has {len(places)} of {replicas(service.spec)} tasks"
    state = given(given(service.update_status, UpdateStatus()).state, "")
    if not state.endswith("paused"):
        old = [task for task in wanted if task.spec != service.spec.task_template]
        if old and not stuck:
            yield f"{service.id} has {len(old)} tasks of another spec"


def _of_history(swarm: Swarm, service: Service) -> Iterator[str]:
    """Say which places keep more than the limit, or than their attempts, though they could not."""
    places: dict[str, list[Task]] = {}
    for task in sorted(swarm.store.tasks.by_service(service.id), key=made):
        places.setdefault(place_of(task), []).append(task)
    for place, tasks in places.items():
        attempts = restart_max_attempts(tasks[-1].spec)
        most = attempts + 1 if attempts else swarm.history_limit
        spare = [task for task in tasks[:-1] if not live(task) and task.status.state.terminal]
        if attempts:  # what still stops takes no attempt's place
            spare = spare[most:]
        if is_job(service):  # what completed in the present run tells that the place is done
            complete = TaskState.COMPLETE
            run = service_run(service)
            spare = [t for t in spare if t.status.state is not complete or run_of(t) != run]
        if spare and len(tasks) > most:
            yield f"{service.id} keeps {len(tasks)} tasks in {place}, {spare[0].id} among them"


def _in_use(swarm: Swarm, tasks: Sequence[Task]) -> bool:
    """Whether a place has a task, or is left without one by the restart policy."""
    if any(map(live, tasks)):
        return True
    newest = tasks[-1]
    gave_up = swarm.watching.attempts.are_over(newest)
    return newest.desired_state is not TaskState.REMOVE and gave_up


def _paused(swarm: Swarm) -> set[str]:
    nodes = swarm.store.nodes
    return {node.id for node in nodes if node.spec.availability is Availability.PAUSE}


def _of_job(swarm: Swarm, service: Service) -> Iterator[str]:
    tasks = swarm.store.tasks.by_service(service.id)
    paused = _paused(swarm)
    at_work = [task for task in tasks if live(task) and task.node_id not in paused]
    if waiting := [task for task in at_work if fits_nowhere(swarm.store, task)]:
        at_work = [task for task in at_work if task not in waiting]
        if not at_work:
            return
    if at_work:
        yield f"{service.id} is at work: {at_work[0].status}"
        return
    mine = [task for task in tasks if run_of(task) == service_run(service)]
    complete = [task for task in mine if task.status.state is TaskState.COMPLETE]
    newest = {place_of(task): task for task in sorted(mine, key=made)}
    over = swarm.watching.attempts.are_over
    done = {place_of(task) for task in complete}
    done |= {place for place, task in newest.items() if over(task)}
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
    voters = {member.node_id for member in leader.raft.status().voters}
    for node in leader.store.nodes:
        role = given(node.internal, NodeInternal()).role
        should = node.spec.role is Role.MANAGER
        if not (role is node.spec.role and should is (node.id in voters)):
            yield f"{node.id} is wanted as {node.spec.role}, is {role}, voters are {voters}"
        if should is not bool(given(node.manager_status, None)):
            yield f"{node.id} is {role}, and shows {node.manager_status}"
    for machine in swarm.machines.values():
        loops = machine.manager.running_loops if machine.is_running else frozenset()
        if machine is leader and not loops:
            yield f"{machine.name} leads without loops"
        if machine is not leader and loops:
            yield f"{machine.name} does not lead, and runs {sorted(loops)}"
        if machine.is_running and content(machine.store) != content(leader.store):
            yield f"{machine.name} has another state than the leader"
