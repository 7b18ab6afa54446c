"""Which networks a service and its tasks have to do with. Pure.

Asked by the API's border, which refuses to remove a network that is in use, and by the allocator.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.network import Network, is_ingress
from swarmops.model.service import Service, ServiceSpec, TaskSpec
from swarmops.model.task import Task, TaskState


def attached_to(spec: TaskSpec) -> list[str]:
    """Return the IDs of the networks that tasks of this spec join, each once."""
    wanted = given(spec.networks, None)
    return list(dict.fromkeys(given(one.target, "") for one in wanted)) if wanted else []


def networks_of(spec: ServiceSpec) -> list[str]:
    """Return the IDs of the networks that a service names."""
    return attached_to(defaults.task_spec(spec))


def needs_ingress(spec: ServiceSpec) -> bool:
    """Whether the service publishes ports on every node."""
    return any(
        (given(port.publish_mode, "") or "ingress") == "ingress" for port in defaults.ports(spec)
    )


def ingress_of(networks: Iterable[Network]) -> Network | None:
    """Return the network of published ports, if there is one."""
    return next((network for network in networks if is_ingress(network)), None)


def lacks_addresses(task: Task) -> bool:
    """Whether the task waits for its places in networks."""
    return bool(given(task.spec.networks, None)) and not given(task.networks_attachments, None)


def is_live(task: Task) -> bool:
    """Whether the task runs, or is yet to run."""
    return (
        task.desired_state.rank <= TaskState.COMPLETE.rank
        and task.status.state.rank <= TaskState.RUNNING.rank
    )


def task_in(network: Network, services: Iterable[Service], tasks: Iterable[Task]) -> str:
    """Return the ID of a task that is in the network, else nothing.

    A task counts while its service is there: of a service that is gone it only has to stop.
    """
    ids = {service.id for service in services}
    for task in tasks:
        attached = given(task.networks_attachments, ())
        counts = attached and task.service_id in ids and is_live(task)
        if counts and any(each.network.id == network.id for each in attached):
            return task.id
    return ""
