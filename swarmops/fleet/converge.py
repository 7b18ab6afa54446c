"""What a swarm still lacks until it is as its specs say: nodes that answer, tasks that run.

``missing_*`` are pure functions that say it in a phrase, empty when nothing is missing; the waits
around them look at the API again and again, bounded. Called by apply and ``swarmops service …``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from swarmops.client import Client
from swarmops.fleet.names import host_of
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.node import Node, NodeState, Reachability, Role
from swarmops.model.service import Service, UpdateStatus
from swarmops.model.task import Task, TaskState

SERVICE_PATIENCE = Patience(bound_s=60, period_s=0.15)
_JOBS = ("replicated-job", "global-job")


def missing_nodes(nodes: Iterable[Node], hosts: Collection[str]) -> list[str]:
    """Say of each of the hosts' nodes that is not ready, or not yet in its role, what it lacks."""
    found = {host_of(node): node for node in nodes if node.status.state is not NodeState.DOWN}
    lacks = {host: _node_lack(found.get(host)) for host in hosts}
    return [f"{host} {lack}" for host, lack in lacks.items() if lack]


def _node_lack(node: Node | None) -> str:
    if node is None:
        return "is no node that answers"
    if node.status.state is not NodeState.READY:
        return f"is {node.status.state.value}"
    status = given(node.manager_status, None)
    if node.spec.role is Role.WORKER:
        return "" if status is None else "is not demoted yet"
    if status is None:
        return "is not promoted yet"
    return "" if status.reachability is Reachability.REACHABLE else "is unreachable as a manager"


def missing_tasks(service: Service, tasks: Sequence[Task], wanted: int) -> str:
    """Say how many tasks of a service don't run yet, and why the first of them does not.

    ``tasks`` are those made from the service's current spec.
    """
    done = TaskState.COMPLETE if defaults.mode_name(service.spec) in _JOBS else TaskState.RUNNING
    there = [task for task in tasks if task.status.state is done and _counts(task, done)]
    if len(there) == wanted or (done is TaskState.COMPLETE and len(there) > wanted):
        return ""
    name = given(service.spec.name, service.id)
    verb = "run" if done is TaskState.RUNNING else "are complete"
    text = f"{name}: {len(there)} of {wanted} tasks {verb}"
    reason = _reason(name, tasks, done)
    return f"{text}; {reason}" if reason else text


def taken_back(services: Iterable[Service]) -> list[str]:
    """Say which services' last update failed and was taken back: all runs, but as it was before."""
    found = []
    for service in services:
        status = given(service.update_status, None) or UpdateStatus()
        if given(status.state, "").startswith("rollback_"):
            name = given(service.spec.name, service.id)
            found.append(
                f"{name}: the swarm took its update back ({given(status.message, '')}): see"
                f" 'swarmops service ps {name}', and correct the playbook"
            )
    return found


def _counts(task: Task, done: TaskState) -> bool:
    return done is TaskState.COMPLETE or task.desired_state is TaskState.RUNNING


def _reason(name: str, tasks: Sequence[Task], done: TaskState) -> str:
    """Return what keeps a task: a waiting task's own error, else how the last one ended."""
    newest = sorted(tasks, key=lambda task: task.status.timestamp, reverse=True)
    waiting = [task for task in newest if not task.status.state.terminal]
    ended = [task for task in newest if task.status.state in {TaskState.FAILED, TaskState.REJECTED}]
    told = [task for task in waiting if given(task.status.err, "")]
    for task in [*told, *ended, *(task for task in waiting if task.status.state is not done)]:
        text = given(task.status.err, "") or given(task.status.message, "")
        slot = given(task.slot, 0)
        label = f"{name}.{slot}" if slot else name
        return f"{label} is {task.status.state.value}{': ' + text if text else ''}"
    return ""


def services_lack(client: Client, names: Collection[str]) -> list[str]:
    """Ask the API what the named services lack; one that is not there lacks nothing."""
    services = [one for one in client.services(status=True) if one.spec.name in names]
    if not services:
        return []
    ids = [service.id for service in services]
    down = {node.id for node in client.nodes() if node.status.state is NodeState.DOWN}
    listed = client.tasks({"service": ids, "_up-to-date": ["true"]})
    # A task on a lost node is still told as it was last heard of.
    tasks = [task for task in listed if task.node_id not in down]
    lacks = [
        missing_tasks(one, [task for task in tasks if task.service_id == one.id], _wanted(one))
        for one in services
    ]
    return [lack for lack in lacks if lack]


def wait_for_services(
    client: Client, names: Collection[str], patience: Patience = SERVICE_PATIENCE
) -> str:
    """Wait until the services' tasks run; return what is still missing, empty if nothing is."""
    return wait_until(lambda: "; ".join(services_lack(client, names)), patience)


def _wanted(service: Service) -> int:
    mode = defaults.mode_name(service.spec)
    if mode == "replicated":
        return defaults.replicas(service.spec)
    if mode == "replicated-job":
        return defaults.total_completions(service.spec)
    status = given(service.service_status, None)
    # What a global job still has to do does not count what it has done.
    return status.desired_tasks + status.completed_tasks if status else 0
