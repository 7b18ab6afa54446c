"""A node for the API's tests: a real store whose log is a list, and a swarm of one's own making."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from swarmops.api.control import Events, HostFacts, Insight, LocalState, Logs
from swarmops.errors import ApiError
from swarmops.manager import extensions
from swarmops.model.base import given
from swarmops.model.defaults import SWARM_SPEC
from swarmops.model.figures import Figures
from swarmops.model.ids import new_id
from swarmops.model.node import (
    Availability,
    EngineDescription,
    ManagerStatus,
    Node,
    NodeDescription,
    NodeInternal,
    NodeSpec,
    NodeState,
    NodeStatus,
    Plugin,
    Reachability,
    Role,
)
from swarmops.model.service import Platform, Resources, ServiceSpec
from swarmops.model.swarm import (
    Cluster,
    ClusterInternal,
    InitRequest,
    JoinRequest,
    JoinTokens,
    Peer,
)
from swarmops.pki.root import tls_info
from swarmops.pki.tokens import new_token
from swarmops.raft.errors import NoLeader
from swarmops.store import Store, Transaction
from swarmops.store.new_networks import first_networks

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT_PEM = "-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----\n"


class NoInsight:
    """Implements ``Insight``; a test replaces what it asks for."""

    @property
    def events(self) -> Events:
        """Fail."""
        raise NotImplementedError

    @property
    def logs(self) -> Logs:
        """Fail."""
        raise NotImplementedError

    def check_service(self, spec: ServiceSpec) -> None:
        """Look at it as a manager does."""
        extensions.check_service(spec)

    def figures(self) -> Figures:
        """Fail."""
        raise NotImplementedError


class FakeNode:
    """Implements ``NodeControl``; its attributes are the test's to set."""

    def __init__(self, root_pem: str = ROOT_PEM) -> None:
        self.rng = random.Random(7)
        self.facts = HostFacts(hostname="a1", executors=("process",), ncpu=2, memory_bytes=1 << 30)
        self.node_id = ""
        self.node_addr = ""
        self.engine_socket: Path | None = None
        self.store: Store | None = None
        self.insight: Insight | None = None
        self.local_state: LocalState = "inactive"
        self.problem = ""
        self.manager = False
        self.leader = True
        self.root_pem = root_pem
        self.demote_error: Exception | None = None
        self.calls: list[object] = []
        self.barriers = 0
        self._coming: list[tuple[int, bytes]] = []
        self._index = 0
        self._seconds = 0

    def now(self) -> datetime:
        """A second later with each call."""
        self._seconds += 1
        return START + timedelta(seconds=self._seconds)

    def state(self) -> LocalState:
        """Return what the test set."""
        return self.local_state

    def error(self) -> str:
        """Return what the test set."""
        return self.problem

    def is_manager(self) -> bool:
        """Return what the test set."""
        return self.manager

    def leader_known(self) -> bool:
        """Return what the test set."""
        return self.leader

    def remote_managers(self) -> list[Peer]:
        """Return the managers in the store, or the one that a worker knows."""
        if self.store is None:
            return [Peer(node_id="m", addr="10.0.0.9:2377")] if self.node_id else []
        return [
            Peer(node_id=one.id, addr=given(one.manager_status.addr, ""))
            for one in self.store.nodes
            if isinstance(one.manager_status, ManagerStatus)
        ]

    async def read_barrier(self) -> None:
        """Refuse at once without a leader; take in what was written elsewhere."""
        self.barriers += 1
        if not self.leader:
            raise NoLeader
        while self._coming and self.store is not None:
            self.store.apply(*self._coming.pop(0))

    async def check_demote(self, node_id: str) -> None:
        """Raise what the test set."""
        self.calls.append(("check_demote", node_id))
        if self.demote_error:
            raise self.demote_error

    async def init(self, request: InitRequest) -> str:
        """Begin a swarm."""
        self.calls.append(request)
        await self.become_manager(request)
        return self.node_id

    async def join(self, request: JoinRequest) -> None:
        """Become a worker."""
        self.calls.append(request)
        self.node_id, self.node_addr = new_id(self.rng), "10.0.0.2"
        self.local_state = "active"

    async def unlock(self, unlock_key: bytes) -> None:
        """Open with 32 zeros."""
        if unlock_key != bytes(32):
            raise ApiError(401, "swarm could not be unlocked: invalid key provided")
        self.local_state = "active"

    async def leave(self, *, force: bool) -> None:
        """Forget everything."""
        self.calls.append(("leave", force))
        self.store, self.manager, self.node_id = None, False, ""
        self.local_state = "inactive"

    # What a test does with it -----------------------------------------------------------------

    async def propose(self, data: bytes) -> object:
        """Apply at once: a log of one member."""
        assert self.store is not None
        if not self.leader:
            raise NoLeader
        self._index += 1
        return self.store.apply(self._index, data)

    def another_manager(self) -> Store:
        """Return another replica: what is written there comes here with the next barrier."""
        assert self.store is not None

        async def propose(data: bytes) -> object:
            self._index += 1
            self._coming.append((self._index, data))
            return there.apply(self._index, data)

        there = Store(propose, self.now)
        there.restore(self.store.snapshot())
        return there

    async def become_manager(self, request: InitRequest | None = None) -> Node:
        """Start a swarm whose only manager is this node."""
        self.store = Store(self.propose, self.now)
        self.local_state, self.manager = "active", True
        me = await self.add_node("a1", Role.MANAGER, leader=True)
        self.node_id, self.node_addr = me.id, "10.0.0.1"
        tokens = JoinTokens(
            worker=new_token(self.root_pem, self.rng), manager=new_token(self.root_pem, self.rng)
        )
        cluster = Cluster(
            id=new_id(self.rng),
            spec=given(request.spec, SWARM_SPEC) if request else SWARM_SPEC,
            internal=ClusterInternal(ca_cert=self.root_pem, ca_key="KEY", join_tokens=tokens),
        )
        if "root" not in self.root_pem:
            cluster = replace(cluster, tls_info=tls_info(self.root_pem))
        await self.put(cluster, *first_networks(cluster, random.Random(8)))
        return me

    async def become_worker(self) -> None:
        """Be a worker of some other swarm."""
        self.node_id, self.node_addr, self.local_state = new_id(self.rng), "10.0.0.2", "active"

    async def add_node(
        self,
        hostname: str,
        role: Role = Role.WORKER,
        state: NodeState = NodeState.READY,
        *,
        leader: bool = False,
    ) -> Node:
        """Store another node."""
        assert self.store is not None
        number = len(self.store.nodes) + 1
        status = ManagerStatus(
            reachability=Reachability.REACHABLE, addr=f"10.0.0.{number}:2377", leader=leader
        )
        node = Node(
            id=new_id(self.rng),
            spec=NodeSpec(labels={}, role=role, availability=Availability.ACTIVE),
            description=NodeDescription(
                hostname=hostname,
                platform=Platform(architecture="x86_64", os="linux"),
                resources=Resources(nano_cpus=2 * 10**9, memory_bytes=1 << 30),
                engine=EngineDescription(
                    engine_version="0.1.0",
                    labels={"zone": hostname},
                    plugins=[Plugin(type="Executor", name="process")],
                ),
            ),
            status=NodeStatus(state=state, addr=f"10.0.0.{number}"),
            internal=NodeInternal(role=role, raft_id="r" if role is Role.MANAGER else ""),
            manager_status=status if role is Role.MANAGER else None,
        )
        await self.put(node)
        return self.store.nodes[node.id]

    async def put(self, *objects: object) -> None:
        """Store objects past the API, as a control loop does."""
        assert self.store is not None
        tx = Transaction()
        for one in objects:
            tx.put(one)  # type: ignore[arg-type]
        await self.store.commit(tx)
