"""One-off changes of nodes: done when really so, through the loss of the manager in use too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from swarmops.errors import ApiError, SwarmopsError
from swarmops.fleet.oneoff import remove, set_availability, set_role
from swarmops.fleet.waiting import Patience
from swarmops.model.node import Availability, Node, NodeState, Role

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

QUICK = Patience(bound_s=5, period_s=0)
NOW_ONLY = Patience(bound_s=0)


class Way:
    """Stands for access.Swarm: connected to one host, reconnects to the next."""

    def __init__(self, fake: FakeSwarm, *hosts: str, inventory: bool = True) -> None:
        self._fake = fake
        self._left = list(hosts)
        self.inventory = object() if inventory else None
        self.hosts = hosts
        self.client: Any = None
        self.reconnect()

    def reconnect(self) -> None:
        """Use the next host."""
        if not self._left:
            raise SwarmopsError("no manager answers")
        self.client = self._fake.client(self._left.pop(0))


def way(fake: FakeSwarm, *hosts: str, inventory: bool = True) -> Any:
    """Return an open way to the fake swarm."""
    return Way(fake, *hosts, inventory=inventory)


@pytest.mark.parametrize(("name", "role"), [("h3", Role.MANAGER), ("h2", Role.WORKER)])
def test_role(fake: FakeSwarm, name: str, role: Role) -> None:
    """A role is changed once; asked for again, nothing has to be done."""
    for host in ("h1", "h2"):
        fake.add(host, manager=True)
    fake.add("h3")
    assert set_role(way(fake, "h1"), name, role, QUICK) is True
    assert set_role(way(fake, "h1"), name, role, QUICK) is False


def test_role_in_vain(fake: FakeSwarm) -> None:
    """A demotion that doesn't come true in time is an error that says what is missing."""
    fake.add("h1", manager=True)
    fake.add("h2", manager=True)
    fake.settle = lambda node: node
    with pytest.raises(SwarmopsError, match="h2 is still not demoted after 0 s: it is still a"):
        set_role(way(fake, "h1"), "h2", Role.WORKER, NOW_ONLY)


def test_demote_the_one_in_use(fake: FakeSwarm) -> None:
    """When the manager in use is demoted itself, another one tells that it came true."""
    fake.add("h1", manager=True)
    fake.add("h2", manager=True)
    assert set_role(way(fake, "h1", "h2"), "h1", Role.WORKER, QUICK) is True
    assert ("h2", "node") in fake.calls


def test_demote_oneself(fake: FakeSwarm) -> None:
    """On the node itself, its own word that it is a worker now is enough."""
    fake.add("h1", manager=True)
    fake.add("h2", manager=True)
    only = way(fake, "h1", inventory=False)
    assert set_role(only, "h1", Role.WORKER, QUICK) is True


def test_refused(fake: FakeSwarm) -> None:
    """The swarm's own refusal reaches the user as it is."""

    def refuse(_: Node) -> Node:
        raise ApiError(400, "attempting to demote the last manager of the swarm")

    fake.add("h1", manager=True)
    fake.settle = refuse
    with pytest.raises(ApiError, match="last manager"):
        set_role(way(fake, "h1"), "h1", Role.WORKER, QUICK)


def test_activate(fake: FakeSwarm) -> None:
    """A node that is active already is said to be."""
    fake.add("h1", manager=True)
    assert set_availability(way(fake, "h1"), "h1", Availability.ACTIVE) is False


def test_remove(fake: FakeSwarm) -> None:
    """A removed node is known no longer."""
    fake.add("h1", manager=True)
    old = fake.add("h2", state=NodeState.DOWN)
    fake.nodes[old.id] = msgspec.structs.replace(old)
    assert remove(way(fake, "h1"), "h2", force=True) == "h2"
    assert old.id not in fake.nodes
