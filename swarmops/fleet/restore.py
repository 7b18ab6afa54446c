"""A backup put back into a swarm: what it lacks is made, what has the same name is left as it is.

Called by ``swarmops backup restore``. Only the swarm's settings and the labels and availability of
nodes are set anew; what that would take from a swarm in use is told first, by ``overwritten``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from swarmops.client import Client
from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.backup import OURS, Backup, NodeBackup, is_users
from swarmops.fleet.names import host_of
from swarmops.model.base import given
from swarmops.model.network import NetworkResource
from swarmops.model.node import Availability, NodeSpec
from swarmops.model.service import ServiceSpec
from swarmops.model.swarm import SwarmSpec


class LackingError(SwarmopsError):
    """A service refers to something that the swarm doesn't have."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: ``kind name`` of what was made, was there already, can't be made (why)."""

    made: list[str] = []
    there: list[str] = []
    lacking: dict[str, str] = {}


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
        there = self._client.swarm()
        wanted = _settings(spec, there.spec)
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

            changed = self._client.change_node(node.id, partial(_said_again, said=said))
            (self.made if changed else self.there).append(f"node {said.host}")


def overwritten(client: Client, backup: Backup) -> list[str]:
    """Return what a restore would set otherwise in a swarm that is in use.

    Settings, and the labels and availability of nodes. In a swarm that holds nothing yet they are
    those that it was made with, and nobody's work.
    """
    held = (client.services(), client.secrets(), client.configs())
    if not any(held) and not any(map(is_users, client.networks())):
        return []
    there = client.swarm().spec
    found = ["the swarm's settings"] if _settings(backup.swarm, there) != there else []
    present = {host_of(node): node.spec for node in client.nodes()}
    for said in backup.nodes:
        spec = present.get(said.host)
        if spec is not None and _said_again(spec, said) != spec:
            found.append(f"labels or availability of {said.host}")
    return found


def _settings(spec: SwarmSpec, there: SwarmSpec) -> SwarmSpec:
    """Return the settings that a swarm gets back: its name and autolock stay, and our labels.

    Those say who changes it now, and what was applied last: of this swarm, not of that in the file.
    """
    labels = {key: text for key, text in _labels(spec).items() if not key.startswith(OURS)}
    labels |= {key: text for key, text in _labels(there).items() if key.startswith(OURS)}
    return msgspec.structs.replace(
        spec,
        name=there.name,
        labels=labels if labels or given(there.labels, None) is not None else there.labels,
        encryption_config=there.encryption_config,
    )


def _labels(spec: SwarmSpec) -> dict[str, str]:
    return dict(given(spec.labels, {}) or {})


def _said_again(spec: NodeSpec, said: NodeBackup) -> NodeSpec:
    labels = {**(given(spec.labels, {}) or {}), **said.labels}
    return msgspec.structs.replace(spec, labels=labels, availability=said.availability)
