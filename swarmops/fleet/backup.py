"""What a backup of a swarm holds: taken through the API of a manager, put back the same way.

Called by ``swarmops backup``. Through the API means on any backend, and onto any hosts: what comes
back has new IDs, new certificates and new join tokens. What the API of a backend never reveals (the
content of secrets in Docker's swarm mode) is not in the backup, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from swarmops.client import Client
from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.names import host_of
from swarmops.model.base import given
from swarmops.model.network import NetworkCreate, NetworkResource
from swarmops.model.node import Availability, Node, NodeSpec
from swarmops.model.secret import ConfigSpec, SecretSpec
from swarmops.model.service import ServiceSpec
from swarmops.model.swarm import SwarmSpec

OURS = "swarmops."
"""Node labels that begin so are the next apply's to write."""
_REFUSED = {403, 404}


class LackingError(SwarmopsError):
    """A service refers to something that the swarm doesn't have."""


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


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: ``kind name`` of what was made, was there already, can't be made (why)."""

    made: list[str] = []
    there: list[str] = []
    lacking: dict[str, str] = {}


def take(client: Client) -> Backup:
    """Read everything from a manager. Raises SwarmopsError."""
    networks = [one for one in client.networks() if _is_users(one)]
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


def _is_users(network: NetworkResource) -> bool:
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


def put_back(client: Client, backup: Backup) -> Restored:
    """Make what the swarm lacks of it; what has the same name is left as it is.

    Raises SwarmopsError where the swarm can't be asked; what it refuses is told in the result.
    """
    work = _Restoring(client)
    work.swarm(backup.swarm)
    work.nodes(backup.nodes)
    for name in backup.empty_secrets:
        if name not in work.names(client.secrets()):
            work.lack("secret", name, "its content is not in the backup: Docker never reveals it")
    work.each("network", backup.networks, client.networks(), client.create_network)
    work.each("secret", backup.secrets, client.secrets(), client.create_secret)
    work.each("config", backup.configs, client.configs(), client.create_config)
    ids = _Ids(
        networks={one.name: one.id for one in client.networks()},
        secrets={given(one.spec.name, ""): one.id for one in client.secrets()},
        configs={given(one.spec.name, ""): one.id for one in client.configs()},
        former=backup.network_names,
    )
    work.each(
        "service",
        backup.services,
        client.services(),
        lambda spec: client.create_service(referring(spec, ids)),
    )
    return Restored(made=work.made, there=work.there, lacking=work.lacking)


class _Ids(msgspec.Struct, frozen=True):
    """The new swarm's IDs by name; ``former`` are names by the old swarm's network IDs."""

    networks: Mapping[str, str]
    secrets: Mapping[str, str]
    configs: Mapping[str, str]
    former: Mapping[str, str]


def referring(spec: ServiceSpec, ids: _Ids) -> ServiceSpec:
    """Return the spec with the new swarm's IDs. Raises LackingError for what isn't there."""
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    task = plain.get("TaskTemplate") or {}
    container = task.get("ContainerSpec") or {}
    for key, what, known in (
        ("Secrets", "Secret", ids.secrets),
        ("Configs", "Config", ids.configs),
    ):
        for reference in container.get(key) or []:
            name = reference.get(f"{what}Name", "")
            reference[f"{what}ID"] = _known(what.lower(), name, known)
    for attachment in [*(task.get("Networks") or []), *(plain.get("Networks") or [])]:
        name = ids.former.get(attachment["Target"], attachment["Target"])
        attachment["Target"] = _known("network", name, ids.networks)
    return msgspec.convert(plain, ServiceSpec)


def _known(what: str, name: str, ids: Mapping[str, str]) -> str:
    if name not in ids:
        raise LackingError(f"it needs the {what} '{name}', which is not there")
    return ids[name]


class _Restoring:
    def __init__(self, client: Client) -> None:
        self._client = client
        self.made: list[str] = []
        self.there: list[str] = []
        self.lacking: dict[str, str] = {}

    def lack(self, kind: str, name: str, why: str) -> None:
        self.lacking[f"{kind} {name}"] = why

    @staticmethod
    def names(objects: Iterable[Any]) -> set[str]:
        return {one.name if isinstance(one, NetworkResource) else one.spec.name for one in objects}

    def each(
        self, kind: str, specs: Iterable[Any], present: Iterable[Any], make: Callable[[Any], Any]
    ) -> None:
        names = self.names(present)
        for spec in specs:
            name = given(spec.name, "")
            if name in names:
                self.there.append(f"{kind} {name}")
                continue
            try:
                make(spec)
            except (ApiError, LackingError) as error:
                self.lack(kind, name, str(error))
            else:
                self.made.append(f"{kind} {name}")

    def swarm(self, spec: SwarmSpec) -> None:
        """Put the swarm's settings back; whether managers are locked stays as it is."""
        there = self._client.swarm()
        wanted = msgspec.structs.replace(
            spec, name=there.spec.name, encryption_config=there.spec.encryption_config
        )
        if wanted != there.spec:
            self._client.update_swarm(there.version.index, wanted)
            self.made.append("swarm settings")

    def nodes(self, backups: Iterable[NodeBackup]) -> None:
        present = {host_of(node): node for node in self._client.nodes()}
        for said in backups:
            node = present.get(said.host)
            if node is None:
                # Of a machine of which nobody said anything, nothing is lost.
                if said.labels or said.availability is not Availability.ACTIVE:
                    self.lack("node", said.host, "no node has that name now")
                continue

            def change(spec: NodeSpec, said: NodeBackup = said) -> NodeSpec:
                labels = {**(given(spec.labels, {}) or {}), **said.labels}
                return msgspec.structs.replace(spec, labels=labels, availability=said.availability)

            changed = self._client.change_node(node.id, change)
            (self.made if changed else self.there).append(f"node {said.host}")


def summary(backup: Backup) -> dict[str, int]:
    """Count what is in a backup, by kind."""
    return {
        "services": len(backup.services),
        "secrets": len(backup.secrets),
        "configs": len(backup.configs),
        "networks": len(backup.networks),
        "nodes": len(backup.nodes),
    }
