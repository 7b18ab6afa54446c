"""Global services: on which nodes there shall be a task. Pure.

One on each node that fulfils the constraints and is neither drained nor down. A paused node, or one
that was not heard of yet, keeps its task but gets no new one.
"""

from __future__ import annotations

from swarmops.errors import InputError
from swarmops.manager import constraints
from swarmops.manager.filters import available
from swarmops.manager.places import unfit
from swarmops.model.base import given
from swarmops.model.defaults import placement, task_spec
from swarmops.model.node import Node
from swarmops.model.service import Service


def keeps(service: Service, node: Node | None) -> bool:
    """Whether the node may keep the service's task."""
    if node is None or unfit(node):
        return False
    try:
        wanted = constraints.parse(given(placement(task_spec(service.spec)).constraints, []))
    except InputError:
        return False
    return constraints.matches(wanted, node)


def wants(service: Service, node: Node | None) -> bool:
    """Whether a node that has no task of the service shall get one."""
    return takes_new(node) and keeps(service, node)


def takes_new(node: Node | None) -> bool:
    """Whether a node gets new tasks, an update's too."""
    return node is not None and available(node)
