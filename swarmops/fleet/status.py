"""How things stand: each host, the swarm's nodes, its services.

Called by ``swarmops status``. Looks, changes nothing, and goes on where a host doesn't answer.
"""

from __future__ import annotations

import msgspec

from swarmops.client import Client
from swarmops.fleet.access import Swarm
from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.revision import Revision, read_revision
from swarmops.fleet.rows import NodeRow, ServiceRow, node_rows, service_rows
from swarmops.model.base import given


class HostRow(msgspec.Struct, frozen=True, kw_only=True):
    """One host of the inventory. ``runtime`` is running, stopped or missing; empty if unknown.

    ``release`` is the one that runs, ``unit`` how what keeps it running is.
    """

    host: str
    runtime: str
    release: str = ""
    unit: str = ""
    swarm: str
    problem: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All that is shown. ``error``: why the swarm itself could not be asked."""

    hosts: list[HostRow] = []
    nodes: list[NodeRow] = []
    services: list[ServiceRow] = []
    revision: Revision | None = None
    """What was applied last, and by whom."""
    error: str = ""


def host_rows(observation: Observation) -> list[HostRow]:
    """Return a row per host, in the inventory's order. Pure."""
    return [_host_row(view) for view in observation.hosts.values()]


def _host_row(view: HostView) -> HostRow:
    if view.error:
        return HostRow(host=view.name, runtime="", swarm="", problem=view.error)
    lacks = {missing.what for missing in view.missing}
    stopped = "missing" if "runtime" in lacks else "stopped"
    runtime = "running" if view.running else stopped
    swarm = view.state if view.running else ""
    if swarm == "active":
        swarm = "manager" if view.swarm.control_available else "worker"
    reasons = [missing.reason for missing in view.missing]
    problem = "; ".join([*reasons, view.swarm.error] if view.swarm.error else reasons)
    return HostRow(
        host=view.name,
        runtime=runtime,
        release=view.release,
        unit=view.unit,
        swarm=swarm,
        problem=problem,
    )


def silence(observation: Observation) -> str:
    """Return why no manager can be asked, as far as the hosts tell it; empty: one may answer.

    What is wrong with which host is in the hosts' rows, and not said again. Pure.
    """
    views = observation.hosts.values()
    if any(view.running and view.swarm.control_available for view in views):
        return ""
    if all(view.usable and not (view.had_state or view.state != "inactive") for view in views):
        return "no host is in a swarm yet: 'swarmops apply' makes one"
    if not any(_host_row(view).problem for view in views):
        return ""
    return "no manager can be asked how the swarm stands: cure first what is wrong with the hosts"


def swarm_status(client: Client, hosts: list[HostRow]) -> Status:
    """Return the status with what a manager tells."""
    nodes = client.nodes()
    services = service_rows(client.services(status=True), [], nodes)
    labels = given(client.swarm().spec.labels, {}) or {}
    return Status(
        hosts=hosts,
        nodes=node_rows(nodes),
        services=services,
        revision=read_revision(labels),
    )


def status_of(swarm: Swarm) -> Status:
    """Return the status as a node of the swarm tells it; a worker knows of itself alone."""
    info = swarm.client.info()
    if info.swarm.control_available:
        return swarm_status(swarm.client, [])
    state = info.swarm.local_node_state
    role = "worker" if state == "active" else state
    row = HostRow(
        host=info.name,
        runtime="running",
        release=info.server_version,
        swarm=role,
        problem=info.swarm.error,
    )
    return Status(hosts=[row])
