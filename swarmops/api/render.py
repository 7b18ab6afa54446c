"""From a stored object to what clients see: one function per resource, all pure.

Hidden fields go, secrets' data goes, counts and addresses that are derived come in. Used by the
handlers; never changes or stores anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.network import Network
from swarmops.model.node import Node, NodeState
from swarmops.model.object import ObjectVersion, public
from swarmops.model.secret import Config, Secret
from swarmops.model.service import (
    DNSConfig,
    Endpoint,
    EndpointSpec,
    JobStatus,
    PortConfig,
    ResourceRequirements,
    RestartPolicy,
    Service,
    ServiceSpec,
    ServiceStatus,
    UpdateConfig,
)
from swarmops.model.swarm import Cluster, ClusterInternal
from swarmops.model.task import PortStatus, Task, TaskInternal, TaskState
from swarmops.store import Store

JOB_MODES = ("replicated-job", "global-job")
_DEFAULT_UPDATE = UpdateConfig(
    parallelism=1,
    delay=UNSET,
    failure_action="pause",
    monitor=5 * defaults.NANOSECONDS,
    max_failure_ratio=0.0,
    order="stop-first",
)


def swarm(cluster: Cluster) -> Cluster:
    """Show the swarm with its join tokens."""
    internal = given(cluster.internal, ClusterInternal())
    return replace(public(cluster), join_tokens=internal.join_tokens)


def swarm_without_tokens(cluster: Cluster) -> Cluster:
    """Show the swarm as ``/info`` does."""
    return replace(public(cluster), join_tokens=UNSET)


def node(stored: Node) -> Node:
    """Show a node; only managers have a ``ManagerStatus``."""
    status = stored.manager_status
    return replace(public(stored), manager_status=UNSET if status is None else status)


def task(stored: Task, store: Store) -> Task:
    """Show a task with its networks; of its ports those that clients use, not where they lead."""
    attached = given(stored.networks_attachments, None)
    if attached:
        shown = [replace(one, network=_whole(one.network, store)) for one in attached]
        stored = replace(stored, networks_attachments=shown)
    return _task_ports(stored)


def _whole(network: Network, store: Store) -> Network:
    """Return the network as it is now, else what a task still knows of it."""
    return store.networks.get(network.id) or network


def _task_ports(stored: Task) -> Task:
    ports = given(stored.internal, TaskInternal()).ports
    behind = {_target(port) for port in ports if given(port.publish_mode, "ingress") == "ingress"}
    told = given(stored.status.port_status.ports, [])
    if not behind or not told:
        return public(stored)
    shown = [port for port in told if _target(port) not in behind]
    status = PortStatus(ports=shown) if shown else PortStatus()
    return replace(public(stored), status=replace(stored.status, port_status=status))


def _target(port: PortConfig) -> tuple[str, int]:
    return given(port.protocol, "tcp"), given(port.target_port, 0)


def secret(stored: Secret) -> Secret:
    """Show a secret, never its data."""
    return replace(public(stored), spec=replace(stored.spec, data=UNSET))


def config(stored: Config) -> Config:
    """Show a config, data and all."""
    return public(stored)


def service(stored: Service, *, insert_defaults: bool = False) -> Service:
    """Show a service; with ``insert_defaults`` the spec says what its absent fields mean."""
    shown = replace(
        public(stored),
        endpoint=_endpoint(stored),
        previous_spec=UNSET if stored.previous_spec is None else stored.previous_spec,
        update_status=UNSET if stored.update_status is None else stored.update_status,
    )
    return replace(shown, spec=with_defaults(stored.spec)) if insert_defaults else shown


def with_status(stored: Service, store: Store) -> Service:
    """Show a service with the counts of its tasks."""
    return replace(service(stored), service_status=service_status(stored, store))


def service_status(stored: Service, store: Store) -> ServiceStatus:
    """Count a service's tasks; those of an earlier run of a job don't count.

    What is desired of a replicated job is what it may run at once, of a global job what is left
    to do: Docker's CLI adds what is completed to that.
    """
    mode = defaults.mode_name(stored.spec)
    tasks: Iterable[Task] = store.tasks.by_service(stored.id)
    if mode in JOB_MODES:
        run = given(stored.job_status, JobStatus()).job_iteration
        tasks = [one for one in tasks if given(one.job_iteration, ObjectVersion()) == run]
    running = completed = wanted = 0
    for one in tasks:
        state = one.status.state
        completed += mode in JOB_MODES and state is TaskState.COMPLETE
        running += state is TaskState.RUNNING and not _on_down_node(one, store)
        wanted += one.desired_state is TaskState.RUNNING or (
            one.desired_state is TaskState.COMPLETE and state is not TaskState.COMPLETE
        )
    return ServiceStatus(
        running_tasks=running,
        desired_tasks=_desired(stored.spec, mode, wanted),
        completed_tasks=completed,
    )


def _desired(spec: ServiceSpec, mode: str, wanted: int) -> int:
    if mode == "replicated":
        return defaults.replicas(spec)
    if mode == "replicated-job":
        return defaults.max_concurrent(spec)
    return wanted


def _on_down_node(one: Task, store: Store) -> bool:
    host = store.nodes.get(given(one.node_id, ""))
    return host is None or host.status.state is NodeState.DOWN


def _endpoint(stored: Service) -> Endpoint:
    """Show the ports as the spec has them until an allocator says more.

    As in Docker none is shown that has no number yet: a client would take it for chosen.
    """
    ports = defaults.ports(stored.spec)
    if stored.endpoint != Endpoint() or not ports:
        return stored.endpoint
    wanted = given(stored.spec.endpoint_spec, EndpointSpec())
    known = [p for p in ports if given(p.published_port, 0) or given(p.publish_mode, "") == "host"]
    mode = given(wanted.mode, "") or "vip"
    return Endpoint(spec=replace(wanted, mode=mode), ports=known or UNSET)


def with_defaults(spec: ServiceSpec) -> ServiceSpec:
    """Fill a spec with what its absent fields mean, as ``insertDefaults`` asks."""
    template = defaults.task_spec(spec)
    container = defaults.container_spec(template)
    policy = given(template.restart_policy, RestartPolicy())
    return replace(
        spec,
        task_template=replace(
            template,
            container_spec=replace(
                container,
                stop_grace_period=given(
                    container.stop_grace_period, int(defaults.STOP_GRACE_S * defaults.NANOSECONDS)
                ),
                dns_config=given(container.dns_config, DNSConfig()),
            ),
            resources=given(template.resources, ResourceRequirements()),
            placement=defaults.placement(template),
            restart_policy=replace(
                policy,
                condition=given(policy.condition, "any") or "any",
                delay=given(policy.delay, int(defaults.RESTART_DELAY_S * defaults.NANOSECONDS)),
                max_attempts=given(policy.max_attempts, 0),
            ),
        ),
        update_config=_update_config(spec.update_config),
        rollback_config=_update_config(spec.rollback_config),
    )


def _update_config(config: object) -> UpdateConfig:
    if not isinstance(config, UpdateConfig):
        return _DEFAULT_UPDATE
    return replace(
        config,
        # In a config that was given, no parallelism means all at once.
        parallelism=given(config.parallelism, 0),
        failure_action=given(config.failure_action, "") or "pause",
        monitor=given(config.monitor, 5 * defaults.NANOSECONDS),
        max_failure_ratio=given(config.max_failure_ratio, 0.0),
        order=given(config.order, "") or "stop-first",
    )
