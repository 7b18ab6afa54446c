"""The scheduler's filters: each is set for a group of equal tasks, checks nodes, explains itself.

Pure. ``set_for`` returns the filters that apply; a node is fit when all say so. Texts are Docker's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from swarmops.errors import InputError
from swarmops.manager import constraints, extensions
from swarmops.manager.load import NodeLoad, host_ports, reservations
from swarmops.model.base import given
from swarmops.model.defaults import PROCESS_IMAGE, container_spec, image, placement
from swarmops.model.node import Availability, Node, NodeState
from swarmops.model.service import Platform, Service, TaskSpec
from swarmops.model.task import Task

PROCESS_EXECUTOR = frozenset({"process"})
_BUILT_IN = frozenset({"", "local", "none"})
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Filter(Protocol):
    """One reason why a node may be unfit, set for one group of tasks."""

    changing: bool
    """Whether placing a task of the group may make a fit node unfit."""

    def check(self, load: NodeLoad) -> bool:
        """Whether the node passes."""
        ...

    def explain(self, count: int) -> str:
        """Say why ``count`` nodes did not pass."""
        ...


def set_for(
    task: Task, service: Service | None, ids_of: Callable[[str], str] = lambda _name: ""
) -> list[Filter]:
    """Return the filters that apply to this task, in Docker's order, and then ours.

    ``ids_of`` gives the ID of the service with a name, empty where there is none.
    """
    wanted = placement(task.spec)
    filters: list[Filter] = [Ready()]
    if needs := reservations(task):
        filters.append(Enough(needs))
    filters.append(Executor(image(task.spec)))
    if drivers := _drivers(task.spec):
        filters.append(Drivers(drivers))
    if expressions := given(wanted.constraints, []):
        filters.append(Constraints(expressions))
    if platforms := given(wanted.platforms, []):
        filters.append(OnPlatform(platforms))
    if ports := host_ports(task):
        filters.append(HostPorts(ports))
    if (most := given(wanted.max_replicas, 0)) > 0:
        filters.append(MaxReplicas(task.service_id, most))
    if service is not None and (terms := extensions.read(service.spec).affinity):
        filters.append(Affinity([(ids_of(term.value), term.equal) for term in terms]))
    return filters


def available(node: Node) -> bool:
    """Whether the node takes new tasks."""
    return node.status.state is NodeState.READY and node.spec.availability is Availability.ACTIVE


class Ready:
    """The node answers and is active."""

    changing = False

    def check(self, load: NodeLoad) -> bool:
        """Whether the node takes new tasks."""
        return available(load.node)

    def explain(self, count: int) -> str:
        """Docker's words."""
        return f"{count} {_nodes(count)} not available for new tasks"


class Enough:
    """What the task reserves is free."""

    changing = True

    def __init__(self, needs: dict[str, int]) -> None:
        self._needs = needs

    def check(self, load: NodeLoad) -> bool:
        """Whether every reservation fits."""
        offered, reserved = load.offered, load.reserved
        for kind, amount in self._needs.items():
            if offered.get(kind, 0) - reserved.get(kind, 0) < amount:
                return False
        return True

    def explain(self, count: int) -> str:
        """Docker's words."""
        return f"insufficient resources on {count} {_nodes(count)}"


class Executor:
    """The node can run this kind of task: image ``host`` as a process, others by anything else."""

    changing = False

    def __init__(self, image_name: str) -> None:
        self._as_process = image_name == PROCESS_IMAGE

    def check(self, load: NodeLoad) -> bool:
        """Whether the node's engine says that it has a fitting executor."""
        return self.fits(load.executors)

    def fits(self, executors: Collection[str]) -> bool:
        """Whether one of these executors, by name, may take the image."""
        if self._as_process:
            return not PROCESS_EXECUTOR.isdisjoint(executors)
        return not PROCESS_EXECUTOR.issuperset(executors)

    def explain(self, count: int) -> str:
        """Ours: an engine of Docker's always has its executor."""
        lacking = "executor for processes" if self._as_process else "container engine"
        return f"no {lacking} on {count} {_nodes(count)}"


class Drivers:
    """The node's engine has the volume and log drivers that the task names.

    A node that says nothing of drivers of a kind passes: its engine will say what it thinks.
    """

    changing = False

    def __init__(self, drivers: Sequence[tuple[str, str]]) -> None:
        self._drivers = drivers

    def check(self, load: NodeLoad) -> bool:
        """Whether it has them all."""
        return all(
            kind not in load.plugins or name in load.plugins[kind] for kind, name in self._drivers
        )

    def explain(self, count: int) -> str:
        """Docker's words."""
        return f"missing plugin on {count} {_nodes(count)}"


class Constraints:
    """Every placement constraint holds. Malformed ones hold nowhere: the API refuses them."""

    changing = False

    def __init__(self, expressions: Sequence[str]) -> None:
        try:
            self._parsed: tuple[constraints.Constraint, ...] | None = constraints.parse(expressions)
        except InputError:
            self._parsed = None

    def check(self, load: NodeLoad) -> bool:
        """Whether the node fulfils them all."""
        return self._parsed is not None and constraints.matches(self._parsed, load.node)

    def explain(self, count: int) -> str:
        """Docker's words."""
        return f"scheduling constraints not satisfied on {count} {_nodes(count)}"


class OnPlatform:
    """The node is one of the platforms that the image runs on."""

    changing = False

    def __init__(self, platforms: Iterable[Platform]) -> None:
        self._wanted = [_platform(platform) for platform in platforms]

    def check(self, load: NodeLoad) -> bool:
        """Whether architecture and system fit; an empty wish fits any."""
        arch, system = _platform(given(load.node.description.platform, Platform()))
        return any(
            wanted_arch in ("", arch) and wanted_os in ("", system)
            for wanted_arch, wanted_os in self._wanted
        )

    def explain(self, count: int) -> str:
        """Docker's words."""
        return f"unsupported platform on {count} {_nodes(count)}"


class HostPorts:
    """The ports that the task takes on its node are free there."""

    changing = True

    def __init__(self, ports: Sequence[tuple[str, int]]) -> None:
        self._ports = ports

    def check(self, load: NodeLoad) -> bool:
        """Whether no task on the node has one of them."""
        return not any(load.ports[port] for port in self._ports)

    def explain(self, count: int) -> str:
        """Docker's words."""
        return f"host-mode port already in use on {count} {_nodes(count)}"


class MaxReplicas:
    """The node has not yet as many tasks of the service as it may have."""

    changing = True

    def __init__(self, service_id: str, most: int) -> None:
        self._service_id = service_id
        self._most = most

    def check(self, load: NodeLoad) -> bool:
        """Whether one more is allowed."""
        return load.active_of.get(self._service_id, 0) < self._most

    def explain(self, count: int) -> str:
        """Docker's words."""
        del count
        return "max replicas per node limit exceed"


class Affinity:
    """Other services have a task on the node, or must not have one."""

    changing = True

    def __init__(self, terms: Sequence[tuple[str, bool]]) -> None:
        self._terms = terms

    def check(self, load: NodeLoad) -> bool:
        """Whether each service is there, or is not, as wanted."""
        return all((service_id in load.active_of) is wanted for service_id, wanted in self._terms)

    def explain(self, count: int) -> str:
        """Not Docker's, but in its manner."""
        return f"service affinity not satisfied on {count} {_nodes(count)}"


def explain(unfit: Sequence[tuple[Filter, int]]) -> str:
    """Return Docker's sentence for a task that has no node; the commonest reason first."""
    reasons = [
        each.explain(count) for each, count in sorted(unfit, key=lambda pair: -pair[1]) if count > 0
    ]
    return f"no suitable node ({'; '.join(reasons)})" if reasons else "no suitable node"


def _drivers(spec: TaskSpec) -> list[tuple[str, str]]:
    """Return kind and name of the drivers that a task names, but for those that are built in."""
    if image(spec) == PROCESS_IMAGE:
        return []
    log = given(spec.log_driver, None)
    named = [("Log", given(log.name, ""))] if log else []
    for mount in given(container_spec(spec).mounts, None) or []:
        options = given(mount.volume_options, None)
        driver = given(options.driver_config, None) if options else None
        named += [("Volume", given(driver.name, ""))] if driver else []
    return [(kind, name) for kind, name in named if name not in _BUILT_IN]


def _nodes(count: int) -> str:
    return "node" if count == 1 else "nodes"


def _platform(platform: Platform) -> tuple[str, str]:
    arch = given(platform.architecture, "").lower()
    return _ARCHITECTURES.get(arch, arch), given(platform.os, "").lower()
