"""How a round of an apply begins: who is asked about a node that may have left a moment ago."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from swarmops.errors import SwarmopsError
from swarmops.fleet import locked_look
from swarmops.fleet.locked_look import LockedLook
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import Observation
from swarmops.fleet.observe import Seen
from swarmops.fleet.opened import Progress
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.fleet.waiting import Patience
from swarmops.model.node import NodeState, NodeStatus

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm


def removal(*, heard: bool) -> Plan:
    """Return the plan that removes h2's node."""
    kind = StepKind.REMOVE_NODE
    step = Step(
        id="r", kind=kind, target="h2", reason="", proof="", node_id="id-h2", destructive=heard
    )
    return Plan(steps=(step,))


class Person(Progress):
    """Somebody who is asked, unless he said ``--yes``, and allows nothing."""

    def __init__(self, *, yes: bool = False) -> None:
        self.yes = yes
        self.phases: list[str] = []

    @property
    def asks(self) -> bool:
        """Whether he is asked."""
        return not self.yes

    def phase(self, text: str) -> None:
        """Hear what is done."""
        self.phases.append(text)

    def allow(self, steps: Sequence[Step]) -> None:
        """Refuse."""
        if not self.yes:
            raise SwarmopsError(f"not confirmed: {', '.join(step.id for step in steps)}")


class Free:
    """A lock that nobody else wants."""

    def take(self, *_: Any) -> bool:
        """Take it."""
        return True


class World:
    """Two nodes, h1 the manager; h2's machine is in no swarm. Time passes only by waiting."""

    def __init__(self, fake: FakeSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = fake
        self.now_s = 0.0
        self.down_at_s = float("inf")
        fake.add("h1", manager=True)
        fake.add("h2")
        patience = Patience(60, 0.5, clock=lambda: self.now_s, sleep=self.sleep)
        monkeypatch.setattr(locked_look, "HEARD_PATIENCE", patience)
        monkeypatch.setattr(locked_look, "look", self.look)
        monkeypatch.setattr(locked_look, "manager_hosts", lambda _: ["h1"])

    def sleep(self, seconds: float) -> None:
        """Let time pass, and the node be found down."""
        self.now_s += seconds
        if self.now_s >= self.down_at_s:
            down = NodeStatus(state=NodeState.DOWN)
            node = self.fake.nodes["id-h2"]
            self.fake.nodes["id-h2"] = msgspec.structs.replace(node, status=down)

    def look(self, *_: Any) -> tuple[Seen, Plan]:
        """See whether it is still heard."""
        heard = self.fake.nodes["id-h2"].status.state is not NodeState.DOWN
        return Seen(Observation(hosts={}), {}), removal(heard=heard)

    def planned(self, person: Person) -> Plan:
        """Begin a round."""
        fleet: Any = None
        lock: Any = Free()
        return LockedLook(fleet, person, Managers(self.fake.client), lock, None)()[1]


@pytest.fixture
def world(fake: FakeSwarm, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return the two nodes."""
    return World(fake, monkeypatch)


def test_nobody_is_asked_about_a_node_that_left_a_moment_ago(world: World) -> None:
    """The swarm hears it a while longer; then the plan is made anew and takes nothing away."""
    world.down_at_s = 17
    person = Person()
    assert world.planned(person) == removal(heard=False)
    assert person.phases == ["waiting whether h2 left a moment ago"]


def test_a_node_that_lives_on_elsewhere_is_asked_about(world: World) -> None:
    """After a bounded while; h2's address named another machine."""
    with pytest.raises(SwarmopsError, match="not confirmed: r"):
        world.planned(Person())
    assert world.now_s == 60


def test_who_said_yes_does_not_wait(world: World) -> None:
    """It was allowed whatever it is."""
    assert world.planned(Person(yes=True)) == removal(heard=True)
    assert world.now_s == 0
