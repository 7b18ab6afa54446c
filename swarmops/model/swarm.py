"""The swarm itself: its settings, its join tokens, its certificate authority."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET

from swarmops.model.access import Person
from swarmops.model.base import Labels, Model, Opt, Uint, Uint32, concealed
from swarmops.model.node import TLSInfo
from swarmops.model.object import Object
from swarmops.model.service import Driver


class OrchestrationConfig(Model, frozen=True):
    """How many ended tasks are kept per slot."""

    task_history_retention_limit: int | Opt | None = UNSET


class RaftConfig(Model, frozen=True):
    """Docker's Raft settings: stored and shown; ours ticks on its own fixed timing."""

    snapshot_interval: Uint | Opt = UNSET
    keep_old_snapshots: Uint | Opt | None = UNSET
    log_entries_for_slow_followers: Uint | Opt = UNSET
    election_tick: int | Opt = UNSET
    heartbeat_tick: int | Opt = UNSET


class DispatcherConfig(Model, frozen=True):
    """How often agents are heard of, in nanoseconds."""

    heartbeat_period: int | Opt = UNSET


class CAConfig(Model, frozen=True):
    """The certificate authority's settings; the expiry is in nanoseconds."""

    node_cert_expiry: int | Opt = UNSET
    external_cas: list[dict[str, object]] | Opt | None = UNSET
    signing_ca_cert: str | Opt = UNSET
    signing_ca_key: str | Opt = UNSET
    force_rotate: Uint | Opt = UNSET

    def __repr__(self) -> str:
        return concealed(self, "signing_ca_key")


class TaskDefaults(Model, frozen=True):
    """What tasks get where their service doesn't say."""

    log_driver: Driver | Opt | None = UNSET


class EncryptionConfig(Model, frozen=True):
    """Whether managers need a key from a person to start."""

    auto_lock_managers: bool | Opt = UNSET


class SwarmSpec(Model, frozen=True):
    """What the operator wants of the swarm."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    orchestration: OrchestrationConfig | Opt = UNSET
    raft: RaftConfig | Opt = UNSET
    dispatcher: DispatcherConfig | Opt = UNSET
    ca_config: CAConfig | Opt = UNSET
    task_defaults: TaskDefaults | Opt = UNSET
    encryption_config: EncryptionConfig | Opt = UNSET


class JoinTokens(Model, frozen=True):
    """What lets a machine in, as a worker or as a manager."""

    worker: str = ""
    manager: str = ""

    def __repr__(self) -> str:
        return concealed(self, "worker", "manager")


class RemovedNode(Model, frozen=True):
    """A node that was removed: its certificate is refused until it has expired."""

    id: str
    until: datetime


class RootRotation(Model, frozen=True):
    """The root to be; ``cross_cert`` is of its name and key, signed by the root that is. PEM."""

    ca_cert: str
    ca_key: str
    cross_cert: str
    tls_info: TLSInfo

    def __repr__(self) -> str:
        return concealed(self, "ca_key")


class ClusterInternal(Model, frozen=True):
    """What only managers may know. PEM; kept in Raft, encrypted at rest, never served."""

    ca_cert: str = ""
    ca_key: str = ""
    cross_cert: str = ""
    """The root as the one before signed it: a node that missed the change trusts it by this."""
    rotation: RootRotation | Opt = UNSET
    join_tokens: JoinTokens = JoinTokens()
    removed_nodes: list[RemovedNode] = []
    unlock_key: str = ""
    """What managers wrap their keys with; empty while they don't lock themselves."""
    api_port: int = 0
    """Where managers serve the API over TLS; 0: nowhere."""
    api_names: list[str] = []
    people: list[Person] = []

    def __repr__(self) -> str:
        return concealed(self, "ca_key", "unlock_key")


class Cluster(Object, frozen=True):
    """The swarm as stored and served; there is exactly one."""

    spec: SwarmSpec = SwarmSpec()
    tls_info: TLSInfo = TLSInfo()
    root_rotation_in_progress: bool = False
    default_addr_pool: list[str] | None = None
    subnet_size: Uint32 = 24
    data_path_port: Uint32 = 4789
    join_tokens: JoinTokens | Opt = UNSET
    internal: ClusterInternal | Opt = UNSET


class InitRequest(Model, frozen=True):
    """Body of ``POST /swarm/init``; nearly every field may be absent."""

    listen_addr: str | Opt = UNSET
    advertise_addr: str | Opt = UNSET
    data_path_addr: str | Opt = UNSET
    data_path_port: Uint32 | Opt = UNSET
    force_new_cluster: bool | Opt = UNSET
    spec: SwarmSpec | Opt = UNSET
    auto_lock_managers: bool | Opt = UNSET
    availability: str | Opt = UNSET
    default_addr_pool: list[str] | Opt | None = UNSET
    subnet_size: Uint32 | Opt = UNSET


class JoinRequest(Model, frozen=True):
    """Body of ``POST /swarm/join``."""

    listen_addr: str | Opt = UNSET
    advertise_addr: str | Opt = UNSET
    data_path_addr: str | Opt = UNSET
    remote_addrs: list[str] | Opt | None = UNSET
    join_token: str | Opt = UNSET
    availability: str | Opt = UNSET

    def __repr__(self) -> str:
        return concealed(self, "join_token")


class UnlockRequest(Model, frozen=True):
    """Body of ``POST /swarm/unlock``."""

    unlock_key: str | Opt = UNSET

    def __repr__(self) -> str:
        return concealed(self, "unlock_key")


class Peer(Model, frozen=True):
    """A manager's ID and address, ``ip:port``."""

    node_id: str
    addr: str


class SwarmInfo(Model, frozen=True):
    """The ``Swarm`` part of ``GET /info``."""

    node_id: str = ""
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: list[Peer] | None = None
    nodes: int | Opt = UNSET
    managers: int | Opt = UNSET
    cluster: Cluster | Opt = UNSET
