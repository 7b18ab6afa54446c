"""Drain nodes and wait, bounded, until nothing runs there any more.

Called by ``swarmops node drain``. The swarm moves the tasks; this says what it still waits for,
and in the end which of the tasks that had to go have found no new place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from swarmops.errors import SwarmopsError
from swarmops.fleet.access import Swarm
from swarmops.fleet.names import find_node, host_of
from swarmops.fleet.oneoff import through_changes
from swarmops.fleet.rows import natural, task_label
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.base import given
from swarmops.model.node import Availability, Node, NodeSpec, NodeState
from swarmops.model.task import Task, TaskState

DRAIN_S = 120.0
NAMED_MAX = 5
"""Tasks that a sentence names; of the others it says how many they are."""


class Drained(msgspec.Struct, frozen=True):
    """What became of one node."""

    name: str
    changed: bool
    """Whether it was not drained before."""
    warnings: list[str]


def drain(
    swarm: Swarm,
    names: Sequence[str],
    patience: Patience | None,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Drained]:
    """Drain nodes, all at once; wait until their tasks have ended unless ``patience`` is None.

    ``say`` is told whenever what is left has changed. Raises ApiError where the swarm refuses,
    SwarmopsError with what still runs when time is up.
    """
    nodes = swarm.client.nodes()
    chosen = {name: find_node(nodes, name, swarm.hosts) for name in names}
    changed = {name: swarm.client.change_node(node.id, _drained) for name, node in chosen.items()}
    if patience is None:
        return [Drained(name, changed[name], []) for name in names]
    told = ""

    def left() -> str:
        nonlocal told
        texts = [_left(swarm, node) for node in chosen.values() if not _is_down(node)]
        text = "; ".join(each for each in texts if each)
        if text and text != told:
            say(text)
        told = text
        return text

    remaining = wait_until(left, patience)
    if remaining:
        raise SwarmopsError(f"after {patience.bound_s:g} s {remaining}; the swarm goes on draining")
    homeless = _homeless(swarm, chosen.values())
    return [
        Drained(name, changed[name], [*_of_the_down(name, node), *homeless.get(node.id, ())])
        for name, node in chosen.items()
    ]


def _drained(spec: NodeSpec) -> NodeSpec:
    return msgspec.structs.replace(spec, availability=Availability.DRAIN)


def _is_down(node: Node) -> bool:
    return node.status.state is NodeState.DOWN


def _of_the_down(name: str, node: Node) -> list[str]:
    if not _is_down(node):
        return []
    return [f"{name} is down: what it did last is not known, its tasks are replaced elsewhere"]


def _left(swarm: Swarm, node: Node) -> str:
    """Say what has not ended on a node, empty if nothing."""

    def look() -> str:
        tasks = [task for task in swarm.client.tasks({"node": [node.id]}) if _is_at_work(task)]
        if not tasks:
            return ""
        labels = _labels(swarm, tasks)
        told = [f"{labels[task.id]} ({task.status.state.value})" for task in tasks]
        waits = _replacement(swarm, tasks, labels)
        return f"{host_of(node)} still has {_listed(told)}{waits}"

    return through_changes(swarm, node.id, look)


def _is_at_work(task: Task) -> bool:
    state = task.status.state
    return not state.terminal and state.rank >= TaskState.ASSIGNED.rank


def _replacement(swarm: Swarm, tasks: Sequence[Task], labels: Mapping[str, str]) -> str:
    """Say of one task that stays until its replacement runs why that doesn't."""
    places = {(task.service_id, task.slot): labels[task.id] for task in tasks}
    for task in _unplaced(swarm, tasks):
        label = places.get((task.service_id, task.slot))
        if label:
            return f"; {label} waits for its replacement: {given(task.status.err, '')}"
    return ""


def _homeless(swarm: Swarm, nodes: Iterable[Node]) -> dict[str, list[str]]:
    """Return a sentence a node about what ran there last and has no other node yet."""
    found = {}
    for node in nodes:
        ended = swarm.client.tasks({"node": [node.id]})
        places = {(task.service_id, task.slot) for task in ended}
        waiting = [
            task for task in _unplaced(swarm, ended) if (task.service_id, task.slot) in places
        ]
        labels = _labels(swarm, waiting)
        told = [f"{labels[task.id]} runs nowhere: {given(task.status.err, '')}" for task in waiting]
        if told:
            found[node.id] = [_listed(told)]
    return found


def _unplaced(swarm: Swarm, tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks of the same services that no node takes."""
    services = sorted({task.service_id for task in tasks if task.service_id})
    if not services:
        return []
    listed = swarm.client.tasks({"service": services, "desired-state": ["running", "ready"]})
    return [
        task
        for task in listed
        if task.status.state is TaskState.PENDING and given(task.status.err, "")
    ]


def _labels(swarm: Swarm, tasks: Iterable[Task]) -> dict[str, str]:
    services = {one.id: given(one.spec.name, one.id) for one in swarm.client.services()}
    return {task.id: task_label(task, services, {}) for task in tasks}


def _listed(texts: Sequence[str]) -> str:
    ordered = sorted(texts, key=natural)
    more = len(ordered) - NAMED_MAX
    text = ", ".join(ordered[:NAMED_MAX])
    return f"{text} and {more} more" if more > 0 else text
