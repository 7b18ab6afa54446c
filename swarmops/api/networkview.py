"""How ``/networks`` shows a network of the swarm: the Engine's older spelling. Pure."""

from __future__ import annotations

from ipaddress import ip_interface

from swarmops.model.base import given
from swarmops.model.network import (
    EngineIPAM,
    EngineIPAMConfig,
    IPAMOptions,
    Network,
    NetworkResource,
    ServiceInNetwork,
    TaskInNetwork,
    driver_of,
    is_ingress,
    name_of,
    subnets,
)
from swarmops.model.service import Driver, Service
from swarmops.model.task import Task, TaskState
from swarmops.store import Store


def network(stored: Network) -> NetworkResource:
    """Show a network."""
    spec = stored.spec
    return NetworkResource(
        name=name_of(stored),
        id=stored.id,
        created=stored.created_at,
        driver=driver_of(stored),
        enable_ipv6=given(spec.ipv6_enabled, False),
        ipam=_ipam(stored),
        internal=given(spec.internal, False),
        attachable=given(spec.attachable, False),
        ingress=is_ingress(stored),
        options=given(given(stored.driver_state, Driver()).options, None),
        labels=given(spec.labels, None) or None,
    )


def _ipam(stored: Network) -> EngineIPAM:
    options = given(stored.ipam_options, IPAMOptions())
    return EngineIPAM(
        driver=given(options.driver.name, ""),
        options=given(options.driver.options, None),
        config=[
            EngineIPAMConfig(subnet=one.subnet, ip_range=one.range, gateway=one.gateway)
            for one in subnets(stored)
        ],
    )


def services_in(stored: Network, store: Store) -> dict[str, ServiceInNetwork]:
    """Return the services that have an address there, with their running tasks."""
    found = {}
    for service in store.services:
        tasks = sorted(
            (
                _task(task, address, store)
                for task in store.tasks.by_service(service.id)
                if task.status.state is TaskState.RUNNING and (address := _address(task, stored.id))
            ),
            key=lambda task: task.name,
        )
        vip = _virtual_ip(service, stored.id)
        if vip or tasks:
            ports = [
                f"Target: {given(port.target_port, 0)}, Publish: {given(port.published_port, 0)}"
                for port in given(service.endpoint.ports, [])
            ]
            found[given(service.spec.name, "")] = ServiceInNetwork(
                vip=vip or "<nil>", ports=ports if is_ingress(stored) else [], tasks=tasks
            )
    return found


def _virtual_ip(service: Service, network_id: str) -> str:
    for each in given(service.endpoint.virtual_ips, []):
        if each.network_id == network_id and (text := given(each.addr, "")):
            return str(ip_interface(text).ip)
    return ""


def _address(task: Task, network_id: str) -> str:
    for each in given(task.networks_attachments, []):
        if each.network.id == network_id and (texts := given(each.addresses, [])):
            return str(ip_interface(texts[0]).ip)
    return ""


def _task(task: Task, address: str, store: Store) -> TaskInNetwork:
    service = store.services.get(task.service_id)
    name = given(service.spec.name, "") if service else task.service_id
    node = store.nodes.get(given(task.node_id, ""))
    return TaskInNetwork(
        name=f"{name}.{given(task.slot, 0) or given(task.node_id, '')}.{task.id}",
        endpoint_id=task.id,
        endpoint_ip=address,
        info={"Host IP": given(node.status.addr, "") if node else ""},
    )
