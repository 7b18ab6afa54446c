"""Networks of swarm scope, a task's attachment to one, and the engine's older spelling of both.

Swarm objects spell a network one way (``Spec``, ``IPAMOptions``), the Engine's ``/networks``
another (``IPAM``, ``Options``): both are here, and ``swarmops.api`` turns one into the other.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET

from swarmops.model.base import Labels, Model, Opt, given
from swarmops.model.object import Object
from swarmops.model.service import Driver

OVERLAY = "overlay"
PREDEFINED_LABEL = "com.docker.swarm.predefined"
NETWORK_ID_LABEL = "swarmops.network.id"
"""On what an engine has for a network of the swarm: the network's ID."""


class IPAMConfig(Model, frozen=True):
    """One subnet of a network; addresses are given out of ``range`` if it is there."""

    subnet: str | Opt = UNSET
    range: str | Opt = UNSET
    gateway: str | Opt = UNSET


class IPAMOptions(Model, frozen=True):
    """How a network's addresses are given out."""

    driver: Driver = Driver()
    configs: list[IPAMConfig] | Opt | None = UNSET


class NetworkReference(Model, frozen=True):
    """A network whose configuration another one takes."""

    network: str = ""


class NetworkSpec(Model, frozen=True):
    """What the user wants of a network."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    driver_configuration: Driver | Opt | None = UNSET
    ipv6_enabled: bool | Opt = UNSET
    internal: bool | Opt = UNSET
    attachable: bool | Opt = UNSET
    ingress: bool | Opt = UNSET
    ipam_options: IPAMOptions | Opt | None = UNSET
    scope: str | Opt = UNSET


class Network(Object, frozen=True):
    """A network as stored: the spec, and what the swarm chose for it."""

    spec: NetworkSpec = NetworkSpec()
    driver_state: Driver | Opt | None = UNSET
    ipam_options: IPAMOptions | Opt | None = UNSET


class NetworkAttachment(Model, frozen=True):
    """A task's place in a network. The store keeps no more of the network than ID and name."""

    network: Network
    addresses: list[str] | Opt = UNSET
    """With their prefix lengths, such as ``10.0.1.5/24``."""


def name_of(network: Network) -> str:
    """Return the network's name."""
    return given(network.spec.name, "")


def driver_of(network: Network) -> str:
    """Return the network's driver, ``overlay`` if none was named."""
    return given(given(network.spec.driver_configuration, Driver()).name, "") or OVERLAY


def is_ingress(network: Network) -> bool:
    """Whether this is the network of published ports."""
    return given(network.spec.ingress, False)


def is_predefined(network: Network) -> bool:
    """Whether this stands for one that every host has: ``bridge`` or ``host``."""
    return given(network.spec.labels, {}).get(PREDEFINED_LABEL) == "true"


def subnets(network: Network) -> list[IPAMConfig]:
    """Return the network's subnets."""
    return given(given(network.ipam_options, IPAMOptions()).configs, [])


class EngineIPAMConfig(Model, frozen=True):
    """One subnet, as ``/networks`` spells it."""

    subnet: str | Opt = UNSET
    ip_range: str | Opt = UNSET
    gateway: str | Opt = UNSET
    auxiliary_addresses: dict[str, str] | Opt | None = UNSET


class EngineIPAM(Model, frozen=True):
    """How addresses are given out, as ``/networks`` spells it."""

    driver: str | Opt = UNSET
    options: dict[str, str] | Opt | None = UNSET
    config: list[EngineIPAMConfig] | Opt | None = UNSET


class NetworkCreate(Model, frozen=True):
    """Body of ``POST /networks/create``."""

    name: str | Opt = UNSET
    check_duplicate: bool | Opt = UNSET
    driver: str | Opt = UNSET
    scope: str | Opt = UNSET
    enable_ipv6: bool | Opt | None = UNSET
    ipam: EngineIPAM | Opt | None = UNSET
    internal: bool | Opt = UNSET
    attachable: bool | Opt = UNSET
    ingress: bool | Opt = UNSET
    config_only: bool | Opt = UNSET
    config_from: NetworkReference | Opt | None = UNSET
    options: dict[str, str] | Opt | None = UNSET
    labels: Labels | Opt | None = UNSET


class ServiceInNetwork(Model, frozen=True):
    """A service in a network, in the verbose answer."""

    vip: str = msgspec.field(name="VIP", default="")
    ports: list[str] = []
    local_lb_index: int = msgspec.field(name="LocalLBIndex", default=0)
    tasks: list[TaskInNetwork] = []


class TaskInNetwork(Model, frozen=True):
    """A task in a network, in the verbose answer."""

    name: str = ""
    endpoint_id: str = ""
    endpoint_ip: str = ""
    info: dict[str, str] = {}


class NetworkResource(Model, frozen=True):
    """A network as ``GET /networks`` shows it."""

    name: str
    id: str = msgspec.field(name="Id")
    created: datetime
    scope: str = "swarm"
    driver: str = OVERLAY
    enable_ipv4: bool = msgspec.field(name="EnableIPv4", default=True)
    enable_ipv6: bool = False
    ipam: EngineIPAM = EngineIPAM()
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: NetworkReference = NetworkReference()
    config_only: bool = False
    containers: dict[str, str] | None = None
    options: dict[str, str] | None = None
    labels: Labels | None = None
    services: dict[str, ServiceInNetwork] | Opt = UNSET
