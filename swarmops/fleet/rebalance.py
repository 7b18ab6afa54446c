"""Spread a service's tasks evenly, once: ask the swarm for it, wait, say what moved.

Called by ``swarmops service rebalance``. The swarm's orchestrator chooses what moves and where to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.access import Swarm
from swarmops.fleet.lists import find_service
from swarmops.fleet.names import host_of
from swarmops.fleet.oneoff import through_changes
from swarmops.fleet.rows import natural, running_tasks
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.base import given
from swarmops.model.service import Service, UpdateStatus
from swarmops.model.task import Task

REBALANCE_S = 600.0
_TRIES_MAX = 8
_OUT_OF_SEQUENCE = "update out of sequence"
_ENDED = "rebalanced"


class Rebalanced(msgspec.Struct, frozen=True):
    """What came of it: how many tasks moved, and how many run on each host now."""

    name: str
    moved: int
    tasks_on: dict[str, int]

    def sentence(self) -> str:
        """Say it."""
        hosts = sorted(self.tasks_on, key=natural)
        spread = ", ".join(f"{self.tasks_on[host]} on {host}" for host in hosts)
        tasks = "1 task" if self.moved == 1 else f"{self.moved} tasks"
        head = f"{tasks} moved" if self.moved else "it was even already"
        return f"{self.name}: {head}; {spread or 'nothing runs'}."


def begin(swarm: Swarm, name: str) -> Service:
    """Ask for it; return the service as it was before.

    Raises InputError for an unknown service, ApiError where the swarm refuses, SwarmopsError for
    an engine that can't.
    """
    for tries_left in reversed(range(_TRIES_MAX)):
        service = find_service(swarm.client.services(), name)
        try:
            swarm.client.rebalance_service(service)
        except ApiError as error:
            if _OUT_OF_SEQUENCE not in error.message or not tries_left:
                raise
            continue
        break
    if not _heard(swarm.client.service(service.id)):
        raise SwarmopsError(
            f"the engine behind {swarm.client.name} does not rebalance: "
            f"'docker service update --force {name}' places all its tasks anew"
        )
    return service


def rebalance(
    swarm: Swarm, name: str, patience: Patience, say: Callable[[str], None] = lambda _text: None
) -> Rebalanced:
    """Ask for it and wait until no task moves any more. Raises as ``begin``, and out of time."""
    before = {task.id for task in _running(swarm, find_service(swarm.client.services(), name))}
    service = begin(swarm, name)
    told = 0

    def left() -> str:
        nonlocal told
        there = swarm.client.service(service.id)
        status = given(there.update_status, UpdateStatus())
        moved = sum(task.id not in before for task in _running(swarm, there))
        if moved > told:
            say(f"{name}: {moved} moved")
            told = moved
        ended = status.state == "completed" or not _heard(there)
        return "" if ended else f"{moved} tasks moved so far"

    if lack := wait_until(lambda: through_changes(swarm, "", left), patience):
        raise SwarmopsError(
            f"{name} is not rebalanced after {patience.bound_s:g} s, {lack}; the swarm goes on"
        )
    there = swarm.client.service(service.id)
    message = given(given(there.update_status, UpdateStatus()).message, "")
    if message != _ENDED:
        raise SwarmopsError(f"{name}: {message or 'the service was changed meanwhile'}")
    running = _running(swarm, there)
    return Rebalanced(
        name=name,
        moved=sum(task.id not in before for task in running),
        tasks_on=_on_hosts(swarm, running),
    )


def _heard(service: Service) -> bool:
    """Whether the service's update status speaks of a rebalance."""
    status = given(service.update_status, UpdateStatus())
    return given(status.message, "").startswith("rebalanc")


def _running(swarm: Swarm, service: Service) -> list[Task]:
    return running_tasks(service, swarm.client.tasks({"service": [service.id]}))


def _on_hosts(swarm: Swarm, tasks: Iterable[Task]) -> dict[str, int]:
    hosts = {node.id: host_of(node) for node in swarm.client.nodes()}
    return dict(Counter(hosts.get(given(task.node_id, ""), "?") for task in tasks))
