"""What a backup of a swarm holds: taken through the API of a manager, put back the same way.

Called by ``swarmops backup``. Through the API means on any backend, and onto any hosts: what comes
back has new IDs, new certificates and new join tokens. What the API of a backend never reveals (the
content of secrets in Docker's swarm mode) is not in the backup, and said.
"""

from __future__ import annotations

import msgspec

from swarmops.client import Client
from swarmops.errors import ApiError
from swarmops.fleet.names import host_of
from swarmops.model.base import given
from swarmops.model.network import NetworkCreate, NetworkResource
from swarmops.model.node import Availability, Node
from swarmops.model.secret import ConfigSpec, SecretSpec
from swarmops.model.service import ServiceSpec
from swarmops.model.swarm import SwarmSpec

OURS = "swarmops."
"""Labels of nodes and of the swarm that begin so are ours, and the next apply's to write."""
_REFUSED = {403, 404}


class NodeBackup(msgspec.Struct, frozen=True, kw_only=True):
    """What people said of a node: it is found again by its host's name."""

    host: str
    availability: Availability
    labels: dict[str, str] = {}


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it. ``empty_secrets``: names of those whose content is not in it."""

    swarm: SwarmSpec
    nodes: list[NodeBackup] = []
    networks: list[NetworkCreate] = []
    secrets: list[SecretSpec] = []
    configs: list[ConfigSpec] = []
    services: list[ServiceSpec] = []
    network_names: dict[str, str] = {}
    """Network ID → name, for the services' references."""
    empty_secrets: list[str] = []


def take(client: Client) -> Backup:
    """Read everything from a manager. Raises SwarmopsError."""
    networks = [one for one in client.networks() if is_users(one)]
    try:
        secrets = client.revealed_secrets()
    except ApiError as error:
        if error.status not in _REFUSED:
            raise
        secrets = client.secrets()
    specs = [secret.spec for secret in secrets]
    return Backup(
        swarm=client.swarm().spec,
        nodes=[_node(node) for node in client.nodes()],
        networks=[_creation(one) for one in networks],
        secrets=[spec for spec in specs if given(spec.data, "")],
        configs=[config.spec for config in client.configs()],
        services=[service.spec for service in client.services()],
        network_names={one.id: one.name for one in client.networks()},
        empty_secrets=[given(spec.name, "") for spec in specs if not given(spec.data, "")],
    )


def is_users(network: NetworkResource) -> bool:
    """Say whether a network is one that somebody made for the whole swarm."""
    return network.scope == "swarm" and not network.ingress and network.driver == "overlay"


def _creation(network: NetworkResource) -> NetworkCreate:
    return NetworkCreate(
        name=network.name,
        driver=network.driver,
        enable_ipv6=network.enable_ipv6,
        ipam=network.ipam,
        internal=network.internal,
        attachable=network.attachable,
        options=network.options,
        labels=network.labels,
    )


def _node(node: Node) -> NodeBackup:
    labels = dict[str, str](given(node.spec.labels, {}) or {})
    return NodeBackup(
        host=host_of(node),
        availability=node.spec.availability,
        labels={key: value for key, value in labels.items() if not key.startswith(OURS)},
    )


def summary(backup: Backup) -> dict[str, int]:
    """Count what is in a backup, by kind."""
    return {
        "services": len(backup.services),
        "secrets": len(backup.secrets),
        "configs": len(backup.configs),
        "networks": len(backup.networks),
        "nodes": len(backup.nodes),
    }
