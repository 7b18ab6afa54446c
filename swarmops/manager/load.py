"""What each node carries: the scheduler's memo, kept from the store's events.

A task holds its node's resources and ports while it is assigned and has not ended; it counts for
spreading while it is also wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import lru_cache

import msgspec
from msgspec import UNSET

from swarmops.model.base import given
from swarmops.model.node import EngineDescription, Node
from swarmops.model.service import (
    DiscreteGenericResource,
    GenericResource,
    NamedGenericResource,
    Resources,
)
from swarmops.model.task import Task, TaskState

Amounts = dict[str, int]
"""``cpu`` in NanoCPUs, ``memory`` in bytes, generic resources by their kind in units."""
HostPort = tuple[str, int]

CPU = "cpu"
MEMORY = "memory"
GENERIC = "generic:"
Unit = tuple[str, str]
"""Kind and name of one unit of a generic resource."""


class NodeLoad:
    """One node and what it carries."""

    __slots__ = (
        "active",
        "active_of",
        "executors",
        "named",
        "node",
        "offered",
        "plugins",
        "ports",
        "reserved",
        "taken",
        "tasks",
    )

    def __init__(self, node: Node) -> None:
        self.reserved: Counter[str] = Counter()
        self.ports: Counter[HostPort] = Counter()
        self.active = 0
        """Tasks that count for spreading."""
        self.active_of: dict[str, int] = {}
        """The same by service."""
        self.tasks: dict[str, Burden] = {}
        self.taken: set[Unit] = set()
        """Named units of generic resources that tasks here have."""
        self.see(node)

    def see(self, node: Node) -> None:
        """Take note of the node's present object."""
        self.node = node
        self.offered = amounts(given(node.description.resources, None))
        self.named = named_units(given(node.description.resources, None))
        engine = given(node.description.engine, EngineDescription())
        self.plugins: dict[str, set[str]] = {}
        """Names of what the node's engine has, by its type."""
        for plugin in given(engine.plugins, []):
            self.plugins.setdefault(plugin.type, set()).add(plugin.name)
        self.executors = frozenset(self.plugins.get("Executor", ()))

    def add(self, task_id: str, burden: Burden) -> None:
        """Put a task on the node, in place of what it weighed before."""
        self.remove(task_id)
        self.tasks[task_id] = burden
        self._count(burden, 1)

    def remove(self, task_id: str) -> Burden | None:
        """Take a task off the node."""
        burden = self.tasks.pop(task_id, None)
        if burden is not None:
            self._count(burden, -1)
        return burden

    def _count(self, burden: Burden, sign: int) -> None:
        for kind, amount in burden.reserved.items():
            self.reserved[kind] += sign * amount
        for port in burden.ports:
            self.ports[port] += sign
        if burden.units and sign > 0:
            self.taken.update(burden.units)
        elif burden.units:
            self.taken.difference_update(burden.units)
        if burden.active:
            self.active += sign
            count = self.active_of.get(burden.service_id, 0) + sign
            if count:
                self.active_of[burden.service_id] = count
            else:
                del self.active_of[burden.service_id]

    def choose(self, needs: Amounts) -> list[GenericResource]:
        """Return what a task gets of the generic resources that it needs: names, or numbers."""
        chosen: list[GenericResource] = []
        for need, amount in needs.items():
            if not need.startswith(GENERIC):
                continue
            kind = need.removeprefix(GENERIC)
            names = [unit for unit in self.named if unit[0] == kind]
            free = [value for unit, value in names if (unit, value) not in self.taken]
            if names:
                units = [NamedGenericResource(kind=kind, value=value) for value in free[:amount]]
                chosen += [GenericResource(named_resource_spec=unit) for unit in units]
            else:
                counted = DiscreteGenericResource(kind=kind, value=amount)
                chosen.append(GenericResource(discrete_resource_spec=counted))
        return chosen

    def free(self, kind: str) -> int:
        """Return how much of a resource is left; negative if too much was reserved."""
        return self.offered.get(kind, 0) - self.reserved[kind]


class Burden(msgspec.Struct, frozen=True, gc=False):
    """What one task takes of its node."""

    service_id: str
    active: bool
    reserved: Amounts
    ports: tuple[HostPort, ...]
    units: tuple[Unit, ...] = ()


_NOTHING: Amounts = {}


def burden_of(task: Task) -> Burden | None:
    """Return what the task takes of its node, None if nothing."""
    state = task.status.state
    if task.node_id is UNSET or not TaskState.ASSIGNED.rank <= state.rank <= TaskState.RUNNING.rank:
        return None
    active = task.desired_state.rank <= TaskState.COMPLETE.rank
    reserved, ports = reservations(task), host_ports(task)
    units = units_of(given(task.assigned_generic_resources, ()))
    if reserved or ports or units:
        return Burden(task.service_id, active, reserved, ports, units)
    return _of_service(task.service_id, active=active)


@lru_cache(maxsize=4096)
def _of_service(service_id: str, *, active: bool) -> Burden:
    """Return what a task takes that only counts, which is one for all of its service."""
    return Burden(service_id, active, _NOTHING, ())


def units_of(resources: Collection[GenericResource]) -> tuple[Unit, ...]:
    """Return the named units among generic resources."""
    if not resources:
        return ()
    named = (given(each.named_resource_spec, None) for each in resources)
    return tuple((each.kind, each.value) for each in named if each is not None)


def named_units(resources: Resources | None) -> tuple[Unit, ...]:
    """Return the named units that a node offers, in its order."""
    return units_of(given(resources.generic_resources, [])) if resources is not None else ()


def reservations(task: Task) -> Amounts:
    """Return what the task's spec reserves."""
    needs = given(task.spec.resources, None)
    return _NOTHING if needs is None else amounts(given(needs.reservations, None))


def amounts(resources: Resources | None) -> Amounts:
    """Return the resources that are given and not 0, by name."""
    if resources is None:
        return _NOTHING
    found = {CPU: given(resources.nano_cpus, 0), MEMORY: given(resources.memory_bytes, 0)}
    for generic in given(resources.generic_resources, ()):
        kind, units = _generic(generic)
        found[GENERIC + kind] = found.get(GENERIC + kind, 0) + units
    return {kind: amount for kind, amount in found.items() if amount}


def _generic(resource: GenericResource) -> tuple[str, int]:
    named = given(resource.named_resource_spec, None)
    if named is not None:
        return named.kind, 1
    counted = given(resource.discrete_resource_spec, None)
    return (counted.kind, counted.value) if counted is not None else ("", 0)


def host_ports(task: Task) -> tuple[HostPort, ...]:
    """Return the ports that the task takes on its node, until it has ended.

    Whatever its service wants by now, or even if that is gone.
    """
    internal = given(task.internal, None)
    if internal is None or not internal.ports:
        return ()
    return tuple(
        (given(port.protocol, "tcp"), given(port.published_port, 0))
        for port in internal.ports
        if given(port.publish_mode, "ingress") == "host" and given(port.published_port, 0)
    )
