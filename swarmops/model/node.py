"""Nodes: members of the swarm, what is wanted of them and what was seen of them."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from msgspec import UNSET

from swarmops.model.base import Labels, Model, Opt
from swarmops.model.object import Object
from swarmops.model.service import Platform, Resources


class Role(Enum):
    """What a node is in the swarm."""

    WORKER = "worker"
    MANAGER = "manager"


class Availability(Enum):
    """Whether a node takes tasks: yes, no new ones, or none at all."""

    ACTIVE = "active"
    PAUSE = "pause"
    DRAIN = "drain"


class NodeState(Enum):
    """Whether a node answers. ``disconnected``: it left of its own will."""

    UNKNOWN = "unknown"
    DOWN = "down"
    READY = "ready"
    DISCONNECTED = "disconnected"


class Reachability(Enum):
    """Whether a manager is heard of by the leader."""

    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"
    REACHABLE = "reachable"


class NodeSpec(Model, frozen=True):
    """What the operator wants of a node. ``role`` is the wanted one."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    role: Role = Role.WORKER
    availability: Availability = Availability.ACTIVE


class NodeUpdate(Model, frozen=True):
    """Body of ``POST /nodes/{id}/update``: role and availability must be given."""

    name: str | Opt = UNSET
    labels: Labels | None = None
    role: str = ""
    availability: str = ""


class Plugin(Model, frozen=True):
    """Something that a node's engine can do; executors are plugins of type ``Executor``."""

    type: str
    name: str


class EngineDescription(Model, frozen=True):
    """The node's runtime."""

    engine_version: str | Opt = UNSET
    labels: Labels | Opt = UNSET
    plugins: list[Plugin] | Opt = UNSET


class TLSInfo(Model, frozen=True):
    """The root that a node trusts, and who issued its certificate (DER, base64)."""

    trust_root: str | Opt = UNSET
    cert_issuer_subject: str | Opt = UNSET
    cert_issuer_public_key: str | Opt = UNSET


class NodeDescription(Model, frozen=True):
    """What an agent says of its machine. Written by the agent alone."""

    hostname: str | Opt = UNSET
    platform: Platform | Opt = UNSET
    resources: Resources | Opt = UNSET
    engine: EngineDescription | Opt = UNSET
    tls_info: TLSInfo | Opt = UNSET


class NodeStatus(Model, frozen=True):
    """Whether the node answers, and from where. Written by the dispatcher alone."""

    state: NodeState = NodeState.UNKNOWN
    message: str | Opt = UNSET
    addr: str | Opt = UNSET


class ManagerStatus(Model, frozen=True):
    """A manager's part in Raft. Written by the leader alone."""

    leader: bool | Opt = UNSET
    reachability: Reachability = Reachability.UNKNOWN
    addr: str | Opt = UNSET


class NodeInternal(Model, frozen=True):
    """What managers keep about a node and the API never shows."""

    role: Role = Role.WORKER
    """The observed role: certificates are issued for it. The role manager alone changes it."""
    session_id: str = ""
    """The agent's present session, empty when it has none."""
    session_holder: str = ""
    """ID of the manager node that holds the session."""
    raft_id: str = ""
    """The member of the Raft group that runs on the node, empty if none."""
    down_since: datetime | Opt = UNSET
    away_until: datetime | Opt = UNSET
    """Its daemon said that it would be back by then: until then it is not missed."""


class Node(Object, frozen=True):
    """A node as stored and served."""

    spec: NodeSpec = NodeSpec()
    description: NodeDescription = NodeDescription()
    status: NodeStatus = NodeStatus()
    manager_status: ManagerStatus | Opt | None = UNSET
    internal: NodeInternal | Opt = UNSET
