"""A swarm of plain objects behind fake clients: what the hands of apply are tested against."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
import pytest

from swarmops.client import Info, UnreachableError
from swarmops.errors import ApiError
from swarmops.model.node import (
    ManagerStatus,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Reachability,
    Role,
)
from swarmops.model.object import ObjectVersion
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.swarm import Cluster, InitRequest, JoinRequest, JoinTokens, SwarmInfo, SwarmSpec
from swarmops.model.task import Task

REACHABLE = ManagerStatus(leader=False, reachability=Reachability.REACHABLE, addr="10.0.0.1:2377")
NO_MANAGER = ApiError(503, "This node is not a swarm manager.")


def make_node(
    name: str, *, manager: bool = False, state: NodeState = NodeState.READY, **spec: Any
) -> Node:
    """Make a node whose host and ID are called alike."""
    role = Role.MANAGER if manager else Role.WORKER
    return Node(
        id=f"id-{name}",
        version=ObjectVersion(index=1),
        spec=NodeSpec(**{"role": role, "labels": {"swarmops.host": name}, **spec}),
        description=NodeDescription(hostname=name),
        status=NodeStatus(state=state, addr="10.0.0.1"),
        manager_status=REACHABLE if manager else None,
    )


class FakeSwarm:
    """The state that all fake clients share; ``dead`` hosts don't answer."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.services: dict[str, Service] = {}
        self.tasks: list[Task] = []
        self.dead: set[str] = set()
        self.registry_auths: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.joined: list[tuple[str, JoinRequest]] = []
        self.inits: list[tuple[str, InitRequest]] = []
        self.cluster = Cluster(
            id="s", version=ObjectVersion(index=1), join_tokens=JoinTokens(worker="W", manager="M")
        )
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.settle: Callable[[Node], Node] = settle

    def add(self, name: str, **more: Any) -> Node:
        """Add a node."""
        node = self.nodes[f"id-{name}"] = make_node(name, **more)
        return node

    def client(self, host: str) -> Any:
        """Return the client of a host."""
        return FakeClient(self, host)


def settle(node: Node) -> Node:
    """Let a role that was asked for come true at once."""
    is_manager = node.spec.role is Role.MANAGER
    return msgspec.structs.replace(node, manager_status=REACHABLE if is_manager else None)


class FakeClient:
    """One host's API."""

    def __init__(self, swarm: FakeSwarm, host: str) -> None:
        self._swarm = swarm
        self._host = host
        self.name = host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        """Close."""

    def _called(self, what: str, *, manager: bool = True) -> None:
        self._swarm.calls.append((self._host, what))
        if self._host in self._swarm.dead:
            raise UnreachableError(f"{self._host}: the API does not answer: it is dead")
        node = self._swarm.nodes.get(f"id-{self._host}")
        if manager and (node is None or not node.manager_status):
            raise NO_MANAGER

    def info(self) -> Info:
        """Answer."""
        self._called("info", manager=False)
        node = self._swarm.nodes.get(f"id-{self._host}")
        state = "active" if node else "inactive"
        swarm = SwarmInfo(
            node_id=node.id if node else "",
            local_node_state=state,
            control_available=bool(node and node.manager_status),
        )
        return Info(swarm=swarm, system_time=self._swarm.now)

    def init(self, request: InitRequest) -> str:
        """Answer."""
        self._called("init", manager=False)
        self._swarm.inits.append((self._host, request))
        return self._swarm.add(self._host, manager=True).id

    def join(self, request: JoinRequest) -> None:
        """Answer."""
        self._called("join", manager=False)
        self._swarm.joined.append((self._host, request))
        self._swarm.add(self._host, manager=request.join_token == "M")

    def leave(self, *, force: bool = False) -> None:
        """Answer."""
        assert force
        self._called("leave", manager=False)
        del self._swarm.nodes[f"id-{self._host}"]

    def swarm(self) -> Cluster:
        """Answer."""
        self._called("swarm")
        return self._swarm.cluster

    def update_swarm(self, version: int, spec: SwarmSpec) -> None:
        """Answer."""
        self._called("update_swarm")
        cluster = self._swarm.cluster
        if cluster.version.index != version:
            raise ApiError(500, "rpc error: code = Unknown desc = update out of sequence")
        self._swarm.cluster = msgspec.structs.replace(
            cluster, version=ObjectVersion(index=version + 1), spec=spec
        )

    def nodes(self) -> list[Node]:
        """Answer."""
        self._called("nodes")
        return list(self._swarm.nodes.values())

    def node(self, node_id: str) -> Node:
        """Answer."""
        self._called("node")
        if node_id not in self._swarm.nodes:
            raise ApiError(404, f"node {node_id} not found")
        return self._swarm.nodes[node_id]

    def change_node(self, node_id: str, change: Callable[[NodeSpec], NodeSpec]) -> bool:
        """Answer."""
        self._called("change_node")
        node = self._swarm.nodes[node_id]
        spec = change(node.spec)
        if spec == node.spec:
            return False
        self._swarm.nodes[node_id] = self._swarm.settle(msgspec.structs.replace(node, spec=spec))
        return True

    def remove_node(self, node_id: str, *, force: bool = False) -> None:
        """Answer."""
        self._called("remove_node")
        assert force
        if node_id not in self._swarm.nodes:
            raise ApiError(404, f"node {node_id} not found")
        del self._swarm.nodes[node_id]

    def services(self, *, status: bool = False) -> list[Service]:
        """Answer."""
        del status
        self._called("services")
        return list(self._swarm.services.values())

    def service(self, name: str) -> Service:
        """Answer."""
        self._called("service")
        return next(s for s in self._swarm.services.values() if name in {s.spec.name, s.id})

    def create_service(self, spec: ServiceSpec, *, registry_auth: str = "") -> str:
        """Answer."""
        self._called("create_service")
        self._swarm.registry_auths.append(registry_auth)
        name = str(spec.name)
        if name in self._swarm.services:
            raise ApiError(409, f"name conflicts with an existing object: {name}")
        self._swarm.services[name] = Service(
            id=f"id-{name}", version=ObjectVersion(index=1), spec=spec
        )
        return f"id-{name}"

    def update_service(
        self, service_id: str, version: int, spec: ServiceSpec, *, registry_auth: str = ""
    ) -> None:
        """Answer."""
        self._called("update_service")
        self._swarm.registry_auths.append(registry_auth)
        service = self.service(service_id)
        if service.version.index != version:
            raise ApiError(500, "rpc error: code = Unknown desc = update out of sequence")
        self._swarm.services[str(spec.name)] = msgspec.structs.replace(service, spec=spec)

    def tasks(self, filters: Any = None) -> list[Task]:
        """Answer."""
        del filters
        self._called("tasks")
        return self._swarm.tasks


@pytest.fixture
def fake() -> FakeSwarm:
    """Return an empty swarm."""
    return FakeSwarm()
