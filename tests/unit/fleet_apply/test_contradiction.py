"""A one-off change says what the playbook wants, from what the API alone tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from swarmops.fleet.contradiction import of_node, of_removal, of_scale
from swarmops.fleet.current import Choice
from swarmops.fleet.inventory import read_inventory
from swarmops.model.node import Availability, Role

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

INVENTORY = """
all:
  vars: {swarmops_playbook: prod.yml}
  hosts: {host1: {}, host2: {}, host3: {}}
"""
PLAYBOOK = """
swarm: {managers: 3}
nodes: {host2: {availability: drain}}
services: {web: {image: host, command: [sleep, "9"], deploy: {replicas: 4}}}
"""


class Way:
    """Stands for access.Swarm."""

    def __init__(self, fake: FakeSwarm, folder: Path) -> None:
        path = folder / "i.yml"
        path.write_text(INVENTORY)
        (folder / "prod.yml").write_text(PLAYBOOK)
        self.choice = Choice(inventory=path)
        self.inventory = read_inventory(path)
        self.hosts = tuple(self.inventory.hosts)
        self.client = fake.client("host1")


@pytest.fixture
def way(fake: FakeSwarm, tmp_path: Path) -> Any:
    """Return an open way to a swarm of three managers."""
    for host in ("host1", "host2", "host3"):
        fake.add(host, manager=True)
    return Way(fake, tmp_path)


def test_node(way: Any) -> None:
    """Each thing that the next apply undoes is a sentence; what it leaves alone is none."""
    (said,) = of_node(way, "host3", role=Role.WORKER)
    assert "prod.yml wants host3 to be a manager: the next apply promotes it again" in said
    (said,) = of_node(way, "host2", availability=Availability.ACTIVE)
    assert "prod.yml wants host2 to be drain" in said
    assert of_node(way, "host2", availability=Availability.DRAIN) == []
    assert of_node(way, "host1", availability=Availability.PAUSE) == []


def test_stranger(way: Any, fake: FakeSwarm) -> None:
    """Of a node whose host is not in the inventory the playbook says nothing."""
    fake.add("other")
    assert of_node(way, "other", role=Role.MANAGER) == []


def test_service(way: Any) -> None:
    """The playbook's number of tasks, and that it wants a service at all, are said."""
    assert "wants 4 replicas of web" in of_scale(way, "web", 2)[0]
    assert of_scale(way, "web", 4) == []
    assert "wants the service web" in of_removal(way, "web")[0]
    assert of_removal(way, "other") == []


def test_no_playbook(way: Any) -> None:
    """On a node's own socket there is no playbook to ask."""
    way.inventory = None
    assert of_scale(way, "web", 2) == []
    assert of_node(way, "host3", role=Role.WORKER) == []


def test_broken_playbook(way: Any) -> None:
    """A playbook that can't be read hinders nothing, and is said."""
    Path(way.inventory.playbooks[0]).write_text("swarm: {mangers: 3}")
    (said,) = of_removal(way, "web")
    assert said.startswith("whether the playbook wants it so is unknown: ")
    assert "managers" in said
