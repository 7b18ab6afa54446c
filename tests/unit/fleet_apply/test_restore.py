"""What a restore leaves alone, and what it tells before it takes it from a swarm in use."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace

from swarmops.client import Client
from swarmops.fleet.backup import Backup, NodeBackup
from swarmops.fleet.restore import overwritten, put_back
from swarmops.model.node import Availability, Node, NodeDescription, NodeSpec
from swarmops.model.object import ObjectVersion
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.swarm import Cluster, OrchestrationConfig, SwarmSpec

WEB = Service(id="w", version=ObjectVersion(1), spec=ServiceSpec(name="web"))
SETTINGS = SwarmSpec(
    name="default",
    orchestration=OrchestrationConfig(task_history_retention_limit=3),
    labels={"team": "web"},
)
HELD = Backup(
    swarm=replace(SETTINGS, labels={"team": "web", "swarmops.lock": "of the old swarm"}),
    nodes=[NodeBackup(host="a", availability=Availability.DRAIN, labels={"disk": "ssd"})],
)


class Manager:
    """What a restore asks of a manager, from memory."""

    def __init__(self, spec: SwarmSpec, services: tuple[Service, ...] = ()) -> None:
        self.spec, self.made = spec, services
        self.node = NodeSpec(labels={"kept": "yes"})

    def swarm(self) -> Cluster:
        """Return the swarm."""
        return Cluster(id="s", version=ObjectVersion(1), spec=self.spec)

    def update_swarm(self, version: int, spec: SwarmSpec) -> None:
        """Take other settings."""
        assert version == 1
        self.spec = spec

    def nodes(self) -> tuple[Node, ...]:
        """Return the one node."""
        return (Node(id="n", spec=self.node, description=NodeDescription(hostname="a")),)

    def change_node(self, node_id: str, change: Any) -> bool:
        """Change it; say whether that made a difference."""
        assert node_id == "n"
        before, self.node = self.node, change(self.node)
        return bool(before != self.node)

    def services(self) -> tuple[Service, ...]:
        """Return what runs."""
        return self.made

    def secrets(self) -> tuple[()]:
        """Return none."""
        return ()

    configs = networks = secrets

    def create_network(self, spec: object) -> None:
        """Refuse: nothing of that kind is in the backup."""
        raise AssertionError(spec)

    create_secret = create_config = create_service = create_network


def client(manager: Manager) -> Client:
    """Return it under the type that a restore wants."""
    return cast("Client", manager)


@pytest.mark.parametrize("services", [(), (WEB,)], ids=["new", "in use"])
def test_what_a_swarm_in_use_would_lose_is_told(services: tuple[Service, ...]) -> None:
    """Its settings, labels and availability; a new swarm has none that are anybody's work."""
    manager = Manager(
        replace(SETTINGS, orchestration=OrchestrationConfig(task_history_retention_limit=7)),
        services,
    )
    told = ["the swarm's settings", "labels or availability of a"]
    assert overwritten(client(manager), HELD) == (told if services else [])
    put_back(client(manager), HELD)
    assert overwritten(client(manager), HELD) == []
    assert manager.spec.orchestration == OrchestrationConfig(task_history_retention_limit=3)
    assert manager.node == NodeSpec(
        labels={"kept": "yes", "disk": "ssd"}, availability=Availability.DRAIN
    )


def test_who_changes_the_swarm_now_keeps_the_lock() -> None:
    """The file's lock is the old swarm's, and a restore takes none away."""
    labels = {"swarmops.lock": "mine", "swarmops.revision": "abc", "team": "db"}
    manager = Manager(replace(SETTINGS, labels=labels))
    put_back(client(manager), HELD)
    assert manager.spec.labels == {**labels, "team": "web"}
