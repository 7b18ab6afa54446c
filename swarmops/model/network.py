"""Networks of swarm scope, and a task's attachment to one."""

from __future__ import annotations

from msgspec import UNSET

from swarmops.model.base import Labels, Model, Opt
from swarmops.model.object import Object


class IPAMConfig(Model, frozen=True):
    """One address pool of a network."""

    subnet: str | Opt = UNSET
    ip_range: str | Opt = UNSET
    gateway: str | Opt = UNSET


class IPAMOptions(Model, frozen=True):
    """How a network's addresses are given out."""

    driver: str | Opt = UNSET
    options: dict[str, str] | Opt | None = UNSET
    config: list[IPAMConfig] | Opt | None = UNSET


class NetworkSpec(Model, frozen=True):
    """What the user wants of a network."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    driver: str | Opt = UNSET
    scope: str | Opt = UNSET
    internal: bool | Opt = UNSET
    attachable: bool | Opt = UNSET
    ingress: bool | Opt = UNSET
    ipam: IPAMOptions | Opt | None = UNSET
    options: dict[str, str] | Opt | None = UNSET


class Network(Object, frozen=True):
    """A network as stored."""

    spec: NetworkSpec = NetworkSpec()
    ipam: IPAMOptions | Opt = UNSET


class NetworkAttachment(Model, frozen=True):
    """A task's place in a network."""

    network: Network
    addresses: list[str] = []
