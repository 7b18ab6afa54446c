"""What an executor is given: one task as this node shall run it, templates filled in.

Pure: made from the task and the node's facts by the runner, read by every executor. Says which
signal stops the task and how long it may take, so that no executor reads defaults by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.agent.task_files import Dependencies, TaskFile, task_files
from swarmops.errors import InputError
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import ContainerSpec, PortConfig, Resources, TaskSpec
from swarmops.model.task import Task, TaskInternal, task_name
from swarmops.model.templates import Functions, expand, expand_container

STOP_SIGNAL = "SIGTERM"
NOTHING_HELD = Dependencies()
_NO_INTERNAL = TaskInternal()


class NodeFacts(msgspec.Struct, frozen=True):
    """What tasks may learn of the node they run on."""

    id: str
    hostname: str
    addr: str
    os: str = "linux"
    architecture: str = ""


class Work(msgspec.Struct, frozen=True):
    """A task on its node; ``container`` has its templates filled in."""

    task: Task
    node: NodeFacts
    container: ContainerSpec
    registry_auth: str = ""
    """What the registry wants to see when the image is pulled, as clients send it to the API."""
    files: Sequence[TaskFile] = ()
    """Its secrets and configs; only there for preparing and starting it."""

    def __repr__(self) -> str:
        return f"Work({self.name})"

    @property
    def id(self) -> str:
        """The task's ID, by which every executor finds what it made for it."""
        return self.task.id

    @property
    def name(self) -> str:
        """Docker's name of the task."""
        return task_name(self.task)

    @property
    def service_name(self) -> str:
        """The service's name, empty for a task that doesn't say."""
        return given(self.task.internal, _NO_INTERNAL).service_name

    @property
    def slot(self) -> str:
        """The task's slot as text, empty for a task of a global service."""
        return "" if self.task.slot is UNSET else str(self.task.slot)

    @property
    def ports(self) -> list[PortConfig]:
        """What the task publishes."""
        return given(self.task.internal, _NO_INTERNAL).ports

    @property
    def image(self) -> str:
        """The image's name as the spec says it."""
        return given(self.container.image, "")

    @property
    def stop_signal(self) -> str:
        """The signal that asks the task to end."""
        return given(self.container.stop_signal, "") or STOP_SIGNAL

    @property
    def stop_grace_s(self) -> float:
        """How long the task may take to end before it is killed."""
        return defaults.stop_grace_s(self.task.spec)

    @property
    def labels(self) -> dict[str, str]:
        """The container's labels: the spec's, and the swarm's as Docker names them."""
        return given(self.container.labels, {}) | {
            "com.docker.swarm.node.id": self.node.id,
            "com.docker.swarm.service.id": self.task.service_id,
            "com.docker.swarm.service.name": self.service_name,
            "com.docker.swarm.task": "",
            "com.docker.swarm.task.id": self.task.id,
            "com.docker.swarm.task.name": self.name,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The spec's environment over what swarmops tells every task."""
        told = {
            "SWARMOPS_NODE_ADDR": self.node.addr,
            "SWARMOPS_NODE_ID": self.node.id,
            "SWARMOPS_NODE_HOSTNAME": self.node.hostname,
            "SWARMOPS_SERVICE_NAME": self.service_name,
            "SWARMOPS_SERVICE_ID": self.task.service_id,
            "SWARMOPS_TASK_ID": self.task.id,
            "SWARMOPS_TASK_NAME": self.name,
            "SWARMOPS_TASK_SLOT": self.slot,
        }
        told |= generic_resources(self.task)
        pairs = (entry.partition("=") for entry in given(self.container.env, []))
        return told | {name: value for name, eq, value in pairs if eq}


def make_work(task: Task, node: NodeFacts, held: Dependencies = NOTHING_HELD) -> Work:
    """Fill in the task's templates, and give it its secrets and configs out of those held.

    Raises ``InputError`` if one of them is wrong or missing.
    """
    spec = defaults.container_spec(task.spec)
    values = _values(task, node)
    labels = given(task.internal, _NO_INTERNAL).service_labels

    def fill(text: str, functions: Functions) -> str:
        return expand(text, values, labels, functions)

    try:
        container = expand_container(spec, values, labels)
    except ValueError as error:
        raise InputError(str(error)) from None
    auth = held.registry_auths.get(task.id, "")
    work = Work(task=task, node=node, container=container, registry_auth=auth)
    if not spec.secrets and not spec.configs:  # absent, null and empty are all false
        return work
    return replace(work, files=task_files(container, held, work.environment, fill))


def plain_work(task: Task, node: NodeFacts) -> Work:
    """Return the work as the spec says it, for verbs that only take away: stop and remove."""
    return Work(task=task, node=node, container=defaults.container_spec(task.spec))


def limits(spec: TaskSpec) -> tuple[int, int, int]:
    """Return the most a task may use: NanoCPUs, bytes of memory, processes; 0 is no limit."""
    resources = given(spec.resources, None)
    limit = given(resources.limits, None) if resources else None
    if limit is None:
        return 0, 0, 0
    return given(limit.nano_cpus, 0), given(limit.memory_bytes, 0), given(limit.pids, 0)


def reserved_memory_bytes(spec: TaskSpec) -> int:
    """Return the memory that is kept for the task; 0 is none."""
    resources = given(spec.resources, None)
    reserved = given(resources.reservations, Resources()) if resources else Resources()
    return given(reserved.memory_bytes, 0)


def generic_resources(task: Task) -> dict[str, str]:
    """Return the variables that name the generic resources given to the task, as Docker's do."""
    found: dict[str, list[str]] = {}
    for each in given(task.assigned_generic_resources, []):
        if named := given(each.named_resource_spec, None):
            found.setdefault(named.kind, []).append(named.value)
        elif counted := given(each.discrete_resource_spec, None):
            found.setdefault(counted.kind, []).append(str(counted.value))
    return {f"DOCKER_RESOURCE_{kind.upper()}": ",".join(all_) for kind, all_ in found.items()}


def _values(task: Task, node: NodeFacts) -> dict[str, str]:
    name = task_name(task)
    internal = given(task.internal, _NO_INTERNAL)
    return {
        ".Node.ID": node.id,
        ".Node.Hostname": node.hostname,
        ".Node.Platform.OS": node.os,
        ".Node.Platform.Architecture": node.architecture,
        ".Service.ID": task.service_id,
        ".Service.Name": internal.service_name,
        ".Task.ID": task.id,
        ".Task.Name": name,
        ".Task.Slot": "" if task.slot is UNSET else str(task.slot),
    }
