"""What tasks take of their nodes: invariants at each assignment, and why a task may wait.

Reckoned here anew from the store's tasks, without the scheduler's own sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from swarmops.manager.places import spec_version
from swarmops.model.base import given
from swarmops.model.defaults import placement
from swarmops.model.node import Availability, Node, NodeState
from swarmops.model.service import (
    GenericResource,
    ResourceRequirements,
    Resources,
    SpreadOver,
    TaskSpec,
)
from swarmops.model.task import Task, TaskInternal, TaskState
from swarmops.store import Event, Store
from tests.sim.manager.specs import described, zone

QUIET = timedelta(seconds=2)
"""Who decided on what was there so long ago, decided on what is there.

Counted from the decision, not from when it is applied: an entry may lie in the log for seconds
until another leader commits it, behind a change that whoever decided could not know.
"""


def holds(task: Task) -> bool:
    """Whether the task takes room on its node: from its assignment until it ended."""
    return TaskState.ASSIGNED.rank <= task.status.state.rank <= TaskState.RUNNING.rank


def counts(task: Task) -> bool:
    """Whether the task counts for spreading, and for the most that a node may have."""
    return holds(task) and task.desired_state.rank <= TaskState.COMPLETE.rank


def takes_new(node: Node) -> bool:
    """Whether the node gets new tasks."""
    return node.status.state is NodeState.READY and node.spec.availability is Availability.ACTIVE


class Room:
    """Looks at every entry of the log."""

    def __init__(self) -> None:
        self._stirred: dict[str, datetime] = {}
        """When tasks of a service that count became fewer, by its ID."""
        self._nodes_stirred: dict[str, datetime] = {}
        """When a node was seen to change in what the scheduler minds."""

    def check(self, store: Store, events: Sequence[Event], now: datetime) -> None:
        """Assert that what was assigned has its room."""
        for event in events:
            self._learn(event, now)
        assigned = [new for event in events if (new := _assigned(event)) is not None]
        for node_id in dict.fromkeys(given(task.node_id, "") for task in assigned):
            node = store.nodes.get(node_id)
            if node is not None:
                here = [task for task in store.tasks.by_node(node_id) if holds(task)]
                _check_ports(node_id, here)
                # One that changes just then may have less than who decided could know.
                decided = min(t.updated_at for t in assigned if t.node_id == node_id)
                if not _lately(self._nodes_stirred.get(node_id), decided):
                    _check_reserved(node, here)
                _check_replicas(node_id, here, assigned)
        for task in assigned:
            self._check_spread(store, task)

    def _learn(self, event: Event, now: datetime) -> None:
        old, new = event.old, event.new
        if isinstance(old, Node) or isinstance(new, Node):
            changed = new or old
            if changed is not None and _seen(old) != _seen(new):
                self._nodes_stirred[changed.id] = now
        elif isinstance(old, Task) and counts(old) and not (new and counts(new)):  # type: ignore[arg-type]
            self._stirred[old.service_id] = now

    def _check_spread(self, store: Store, task: Task) -> None:
        """Assert that a task went to the zone that had the fewest of its service.

        Only where that is all that decides, and nothing moved that the scheduler might not know.
        """
        moments = (self._stirred.get(task.service_id), *self._nodes_stirred.values())
        if not spreads_freely(task) or any(_lately(moment, task.updated_at) for moment in moments):
            return
        fit = {node.id: zone(node.spec) for node in store.nodes if takes_new(node)}
        tasks = store.tasks.by_service(task.service_id)
        of_zone = Counter(dict.fromkeys(fit.values(), 0))
        of_zone.update(
            fit[str(each.node_id)] for each in tasks if each.node_id in fit and counts(each)
        )
        chosen = fit.get(str(task.node_id))
        if chosen is not None:
            least = min(of_zone.values())
            assert of_zone[chosen] <= least + 1, (
                f"task {task.id} went to zone {chosen!r}, and there are {dict(of_zone)}"
            )


def spreads_freely(task: Task) -> bool:
    """Whether nothing but the zones decides where the task goes."""
    wanted = placement(task.spec)
    spread = [given(each.spread, SpreadOver()) for each in given(wanted.preferences, []) or []]
    bound = bool(given(wanted.constraints, [])) or given(wanted.max_replicas, 0) > 0
    at_will = bool(task.slot) and not given(task.internal, TaskInternal()).moves
    return bool(spread) and at_will and not bound and not needs_of(task) and not ports_of(task)


def _assigned(event: Event) -> Task | None:
    """Return the task that got its node by this change."""
    old, new = event.old, event.new
    if not isinstance(new, Task) or not holds(new):
        return None
    return None if isinstance(old, Task) and holds(old) else new


def _lately(moment: datetime | None, decided: datetime) -> bool:
    return moment is not None and decided - moment < QUIET


def _seen(node: object) -> object:
    """Return what the scheduler minds of a node."""
    return isinstance(node, Node) and (node.spec, node.status.state, node.description)


def _check_ports(node_id: str, here: Iterable[Task]) -> None:
    taken = Counter(port for task in here for port in ports_of(task))
    twice = [port for port, tasks in taken.items() if tasks > 1]
    assert not twice, f"port {twice} of {node_id} was given to two tasks"


def _check_reserved(node: Node, here: Sequence[Task]) -> None:
    reserved: Counter[str] = Counter()
    for task in here:
        reserved.update(needs_of(task))
    offered = amounts(described(node.description))
    over = {kind: each for kind, each in reserved.items() if each > offered[kind]}
    assert not over, f"{node.id} has {dict(offered)}, and {over} is reserved"
    units = Counter(unit for task in here for unit in _units_of(task))
    assert max(units.values(), default=0) <= 1, f"a unit of {node.id} was given twice: {units}"


def _check_replicas(node_id: str, here: Sequence[Task], assigned: Sequence[Task]) -> None:
    """Assert that of one spec no more are there than it allows: another may allow more."""
    of_spec = Counter((task.service_id, spec_version(task)) for task in here if counts(task))
    for task in assigned:
        most = given(placement(task.spec).max_replicas, 0)
        found = of_spec[task.service_id, spec_version(task)]
        if most and task.node_id == node_id and counts(task):
            assert found <= most, f"{node_id} has {found} tasks of {task.service_id}"


def ports_of(task: Task) -> list[tuple[str, int]]:
    """Return the ports that a task takes on its node."""
    ports = given(task.internal, TaskInternal()).ports
    return [
        (given(port.protocol, ""), given(port.published_port, 0))
        for port in ports
        if port.publish_mode == "host"
    ]


def needs_of(task: Task) -> Counter[str]:
    """Return what a task reserves."""
    needs = given(task.spec.resources, ResourceRequirements())
    return amounts(given(needs.reservations, None) or Resources())


def amounts(resources: Resources) -> Counter[str]:
    """Return how much there is of each resource."""
    found: Counter[str] = Counter(
        cpu=given(resources.nano_cpus, 0), memory=given(resources.memory_bytes, 0)
    )
    for each in given(resources.generic_resources, []) or []:
        if discrete := given(each.discrete_resource_spec, None):
            found[discrete.kind] += discrete.value
        elif named := given(each.named_resource_spec, None):
            found[named.kind] += 1
    return +found


def _units_of(task: Task) -> list[tuple[str, str]]:
    given_out: list[GenericResource] = given(task.assigned_generic_resources, [])
    named = (given(each.named_resource_spec, None) for each in given_out)
    return [(each.kind, each.value) for each in named if each is not None]


def overloaded(store: Store, node: Node) -> bool:
    """Whether more is reserved on a node than it has, since it came back with less."""
    here = (task for task in store.tasks.by_node(node.id) if counts(task))
    reserved: Counter[str] = Counter()
    for task in here:
        reserved.update(needs_of(task))
    offered = amounts(described(node.description))
    return any(each > offered[kind] for kind, each in reserved.items())


def fits_nowhere(store: Store, task: Task) -> bool:
    """Whether a task that waits says so, and no node has room for it indeed."""
    if task.status.state is not TaskState.PENDING or "no suitable node" not in given(
        task.status.err, ""
    ):
        return False
    bound = given(task.node_id, "")
    return not any(_has_room(store, node, task) for node in store.nodes if bound in {node.id, ""})


def _has_room(store: Store, node: Node, task: Task) -> bool:
    zones = zones_of(task.spec)
    if not takes_new(node) or any(zone(node.spec) != each for each in zones):
        return False
    here = [each for each in store.tasks.by_node(node.id) if holds(each)]
    reserved = needs_of(task)
    for each in here:
        reserved.update(needs_of(each))
    offered = amounts(described(node.description))
    if any(reserved[kind] > offered[kind] for kind in needs_of(task)):
        return False
    taken = {port for each in here for port in ports_of(each)}
    if not taken.isdisjoint(ports_of(task)):
        return False
    of_service = [each for each in here if each.service_id == task.service_id and counts(each)]
    most = given(placement(task.spec).max_replicas, 0)
    return not most or len(of_service) < most


def zones_of(spec: TaskSpec) -> list[str]:
    """Return the zones that a spec's constraints, which are of zones alone, want."""
    return [each.split("==")[-1] for each in given(placement(spec).constraints, None) or []]
