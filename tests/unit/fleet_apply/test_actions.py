"""What each kind of step does to a swarm, and what it refuses, over fake shells and clients."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import msgspec
import pytest

from swarmops.backends.base import Artifact, Backend, Facts, PythonFacts
from swarmops.client import Client
from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet import actions as actions_module
from swarmops.fleet import node_waits
from swarmops.fleet.actions import Actions
from swarmops.fleet.execute import execute
from swarmops.fleet.host import Host
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import Observation
from swarmops.fleet.observe import Looked, Seen
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Gate, Step, StepKind
from swarmops.fleet.waiting import Patience
from swarmops.model.defaults import image, task_spec
from swarmops.model.node import Availability, NodeState, Role
from swarmops.model.object import ObjectVersion
from swarmops.model.service import ContainerSpec, Service, ServiceSpec, TaskSpec
from swarmops.model.task import Task, TaskState, TaskStatus
from tests.unit.fleet_apply.conftest import FakeSwarm

NOW_ONLY = Patience(bound_s=0)
WEB = ServiceSpec(
    name="web",
    labels={"a": "1"},
    task_template=TaskSpec(container_spec=ContainerSpec(image="r.example.com/web")),
)


class FakeBackend:
    """Keeps what it was asked to do; says no more than the protocol needs."""

    name = "fake"

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def install(self, shell: Any, facts: Any, place: Any, artifact: Any) -> None:
        """Keep the call."""
        del shell, facts
        self.calls.append(("install", f"{place.host} {artifact.release}"))

    def start(self, shell: Any, facts: Any, place: Any) -> None:
        """Keep the call, or fail."""
        del shell, facts
        self.calls.append(("start", place.host))
        if place.host == "h9":
            raise HostError("h9", "port 2377 is taken by nginx")


@pytest.fixture
def backend() -> FakeBackend:
    """Return a backend."""
    return FakeBackend()


@pytest.fixture
def hands(fake: FakeSwarm, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> Actions:
    """Return the actions on hosts h1 to h4 and h9; managers are those that the swarm has."""
    for name in ("ROLE_PATIENCE", "DRAIN_PATIENCE"):
        monkeypatch.setattr(node_waits, name, NOW_ONLY)
    for name in ("GATE_PATIENCE", "NODE_PATIENCE"):
        monkeypatch.setattr(actions_module, name, NOW_ONLY)
    names = ("h1", "h2", "h3", "h4", "h9")
    hosts = {
        name: Host(name=name, connection="local", address=name, advertise_addr=f"{name}:2377")
        for name in names
    }
    inventory = Inventory(path="i.yml", hosts=hosts, groups={"all": names})
    facts = Facts(
        hostname="x",
        python=PythonFacts(executable="python3", version=(3, 11, 2)),
        system="linux",
        machine="x86_64",
        user="root",
        is_root=True,
        systemd=True,
    )
    looked = {name: Looked(facts, Artifact("r1"), ()) for name in names}
    made: Any = backend
    taken: Backend = made
    managers = Managers(fake.client, ["h1", "h2"], Patience(bound_s=0))
    return Actions(inventory, taken, Shells(), Seen(Observation(hosts={}), looked), managers)


def step(kind: StepKind, target: str, **more: Any) -> Step:
    """Make a step."""
    return Step(id=f"{kind.value}:{target}", kind=kind, target=target, reason="", proof="", **more)


def test_hosts(hands: Actions, backend: FakeBackend) -> None:
    """Install and start are the backend's, with what was seen of the host."""
    assert hands.do(step(StepKind.INSTALL, "h3"))
    assert hands.do(step(StepKind.START, "h3"))
    assert backend.calls == [("install", "h3 r1"), ("start", "h3")]


def test_host_fails(hands: Actions) -> None:
    """A backend's error is the step's."""
    with pytest.raises(HostError, match="port 2377 is taken"):
        hands.do(step(StepKind.START, "h9"))


def test_init_and_join(hands: Actions, fake: FakeSwarm) -> None:
    """Hosts join with the token of their role, and the addresses of all present managers."""
    assert hands.do(step(StepKind.INIT, "h1", availability=Availability.DRAIN))
    assert hands.do(step(StepKind.JOIN, "h2", role=Role.MANAGER))
    assert hands.do(step(StepKind.JOIN, "h3", role=Role.WORKER, availability=Availability.PAUSE))
    host, init = fake.inits[0]
    assert (host, init.advertise_addr, init.availability) == ("h1", "h1:2377", "drain")
    said = [(h, r.join_token, r.availability, len(r.remote_addrs or [])) for h, r in fake.joined]
    assert said == [("h2", "M", "", 1), ("h3", "W", "pause", 2)]


def test_a_joined_node_says_who_it_is_once_that_is_needed(hands: Actions, fake: FakeSwarm) -> None:
    """A join ends with the join: an engine that has just become a manager is slow to answer."""
    hands.do(step(StepKind.INIT, "h1"))
    hands.do(step(StepKind.JOIN, "h2", role=Role.MANAGER))
    assert [what for host, what in fake.calls if host == "h2"] == ["info", "join"]
    assert hands.do(step(StepKind.UPDATE_NODE, "h2", labels={"disk": "ssd"})) is True
    assert fake.nodes["id-h2"].spec.labels == {"swarmops.host": "h2", "disk": "ssd"}


@pytest.mark.parametrize("kind", [StepKind.INIT, StepKind.JOIN])
def test_member_already(hands: Actions, fake: FakeSwarm, kind: StepKind) -> None:
    """A host that came into a swarm since the plan was made is left alone, and said so."""
    fake.add("h1", manager=True)
    fake.add("h3")
    with pytest.raises(HostError, match="h3: it is active in a swarm since"):
        hands.do(step(kind, "h3"))


def test_leave(hands: Actions, fake: FakeSwarm) -> None:
    """A host leaves its swarm; one that is in none has nothing to do."""
    fake.add("h3")
    assert hands.do(step(StepKind.LEAVE, "h3")) is True
    assert hands.do(step(StepKind.LEAVE, "h3")) is False


def test_update_node(hands: Actions, fake: FakeSwarm) -> None:
    """Availability and labels are set in the node's present spec; the rest of it stays."""
    fake.add("h1", manager=True)
    fake.add("h3", labels={"keep": "1", "drop": "1"})
    wanted = step(
        StepKind.UPDATE_NODE,
        "h3",
        availability=Availability.DRAIN,
        labels={"drop": None, "disk": "ssd"},
    )
    assert hands.do(wanted) is True
    spec = fake.nodes["id-h3"].spec
    assert (spec.availability, spec.labels) == (
        Availability.DRAIN,
        {"keep": "1", "disk": "ssd"},
    )
    assert hands.do(wanted) is False


@pytest.mark.parametrize(
    ("state", "node_state", "reason"),
    [
        (TaskState.RUNNING, NodeState.READY, "1 of its tasks still runs: see 'swarmops node ps h3"),
        (TaskState.SHUTDOWN, NodeState.READY, ""),
        (TaskState.RUNNING, NodeState.DOWN, ""),
    ],
)
def test_a_drain_ends_when_the_tasks_have_moved(
    hands: Actions, fake: FakeSwarm, state: TaskState, node_state: NodeState, reason: str
) -> None:
    """So that the next host of a batch is drained only then; of a lost host nobody knows."""
    fake.add("h1", manager=True)
    fake.add("h3", state=node_state)
    fake.tasks = [Task(id="t1", node_id="id-h3", status=TaskStatus(state=state))]
    drain = step(StepKind.UPDATE_NODE, "h3", availability=Availability.DRAIN, node_id="id-h3")
    if reason:
        with pytest.raises(HostError, match=reason):
            hands.do(drain)
    else:
        assert hands.do(drain) is True
    assert fake.nodes["id-h3"].spec.availability is Availability.DRAIN


@pytest.mark.parametrize("role", [Role.MANAGER, Role.WORKER])
def test_role(hands: Actions, fake: FakeSwarm, role: Role) -> None:
    """A promotion and a demotion are done when they have come true."""
    fake.add("h1", manager=True)
    fake.add("h2", manager=role is Role.WORKER)
    assert hands.do(step(StepKind.UPDATE_NODE, "h2", node_id="id-h2", role=role)) is True
    assert fake.nodes["id-h2"].spec.role is role


def test_role_not_in_time(hands: Actions, fake: FakeSwarm) -> None:
    """A demotion that the swarm puts off is no success."""
    fake.add("h1", manager=True)
    fake.add("h2", manager=True)
    fake.settle = lambda node: node
    with pytest.raises(HostError, match="h2: it is still a member of the managers' group"):
        hands.do(step(StepKind.UPDATE_NODE, "h2", node_id="id-h2", role=Role.WORKER))


def test_a_promotion_does_not_wait_long_for_a_machine_that_was_lost() -> None:
    """A node that is down for a moment becomes a manager yet; one that stays so is given up."""
    fake, now = FakeSwarm(), 0.0
    fake.add("h1", manager=True)

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now in ups:
            fake.add("h2", manager=now == max(ups))

    def wait() -> None:
        fake.add("h2", state=NodeState.DOWN)
        patience = Patience(bound_s=120, period_s=1, clock=lambda: now, sleep=sleep)
        managers = Managers(fake.client, ["h1"], patience)
        node_waits.wait_for_role(managers, "h2", "id-h2", Role.MANAGER, patience)

    ups = {5.0, 9.0}
    wait()
    assert now == 9
    ups = {0.0}
    with pytest.raises(HostError, match="h2: its node went down before it was a manager: bring it"):
        wait()
    assert now == 9 + node_waits.DOWN_S


def test_gate(hands: Actions, fake: FakeSwarm) -> None:
    """A step whose gate is shut does nothing, and says what would have been at stake."""
    fake.add("h1", manager=True)
    fake.add("h2", manager=True)
    down = fake.add("h3", manager=True, state=NodeState.DOWN)
    fake.nodes[down.id] = msgspec.structs.replace(down, manager_status=None)
    before = dict(fake.nodes)
    demote = step(
        StepKind.UPDATE_NODE,
        "h2",
        node_id="id-h2",
        role=Role.WORKER,
        gate=Gate.REMOVE_MANAGER,
    )
    with pytest.raises(HostError, match="could cost the quorum"):
        hands.do(demote)
    assert fake.nodes == before


def test_one_manager_at_a_time(
    hands: Actions, fake: FakeSwarm, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a plan's order: what a gate allowed ends before the next gate is asked."""
    both = threading.Barrier(2)
    together: list[str] = []

    def start(shell: Any, facts: Any, place: Any) -> None:
        del shell, facts
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.1)
            together.append(place.host)

    monkeypatch.setattr(backend, "start", start)
    for name in ("h1", "h2", "h3"):
        fake.add(name, manager=True)
    steps = [
        step(StepKind.START, name, node_id=f"id-{name}", gate=Gate.RESTART_MANAGER)
        for name in ("h1", "h2")
    ]
    assert all(end.succeeded for end in execute(steps, hands.do).ended)
    assert together == []


def test_remove_node(hands: Actions, fake: FakeSwarm) -> None:
    """A node that is gone already needs no removal."""
    fake.add("h1", manager=True)
    fake.add("h3", state=NodeState.DOWN)
    remove = step(StepKind.REMOVE_NODE, "h3", node_id="id-h3")
    assert hands.do(remove) is True
    assert hands.do(remove) is False


@pytest.mark.parametrize("bound_s", [5, 0])
def test_another_manager(hands: Actions, fake: FakeSwarm, bound_s: float) -> None:
    """When one manager doesn't answer, the next is asked, also if the first took all the time."""
    hands._managers = Managers(fake.client, ["h1", "h2"], Patience(bound_s=bound_s, period_s=0))
    fake.add("h1", manager=True)
    fake.add("h2", manager=True)
    fake.dead.add("h1")
    assert hands.do(step(StepKind.CREATE_SERVICE, "web", service=WEB))
    assert fake.services["web"].spec == WEB


def test_managers_that_others_put_last_are_asked_all_the_same(fake: FakeSwarm) -> None:
    """Threads that ask at the same time change the order under each other; each comes to an end."""
    fake.dead |= {"h1", "h2"}
    asked: list[int] = []

    def nodes(manager: Client) -> object:
        asked.append(id(manager))
        assert len(asked) < 9, "it goes on for ever"
        return manager.nodes()

    def others(_: float) -> None:
        managers._put_last(managers._hosts[0])

    managers = Managers(fake.client, ["h1", "h2"], Patience(bound_s=0, sleep=others))
    with pytest.raises(SwarmopsError, match="does not answer"):
        managers.ask(nodes)
    assert len(asked) == len(set(asked)) == 2


def test_no_manager(hands: Actions, fake: FakeSwarm) -> None:
    """When none answers in time, the last one's reason is said."""
    fake.dead |= {"h1", "h2"}
    with pytest.raises(SwarmopsError, match="does not answer"):
        hands.do(step(StepKind.CREATE_SERVICE, "web", service=WEB))


SAME = Service(id="id-web", version=ObjectVersion(index=1), spec=WEB)
OTHER = msgspec.structs.replace(SAME, spec=ServiceSpec(name="web"))


@pytest.mark.parametrize(
    ("kind", "there", "refusal"),
    [
        (StepKind.CREATE_SERVICE, SAME, None),
        (StepKind.CREATE_SERVICE, OTHER, "somebody made another service 'web'"),
        (StepKind.UPDATE_SERVICE, SAME, None),
        (StepKind.UPDATE_SERVICE, OTHER, "somebody changed it since"),
    ],
)
def test_service_meanwhile(
    hands: Actions, fake: FakeSwarm, kind: StepKind, there: Service, refusal: str | None
) -> None:
    """A lost answer makes no failure, and another person's change is not overwritten."""
    fake.add("h1", manager=True)
    fake.services["web"] = msgspec.structs.replace(there, version=ObjectVersion(index=7))
    wanted = step(kind, "web", service=WEB, service_id="id-web", version=1)
    if refusal is None:
        assert hands.do(wanted)
    else:
        with pytest.raises(SwarmopsError, match=refusal):
            hands.do(wanted)
    assert fake.services["web"].spec == there.spec


def test_registries_are_shown_what_this_machine_has_for_an_image(
    hands: Actions, fake: FakeSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where an apply was told to; the image is the new spec's."""
    fake.add("h1", manager=True)
    hands.do(step(StepKind.CREATE_SERVICE, "web", service=WEB))
    monkeypatch.setattr(hands, "_login", "for {}".format)
    change = step(StepKind.UPDATE_SERVICE, "web", service=WEB, service_id="id-web", version=1)
    hands.do(change)
    assert fake.registry_auths == ["", f"for {image(task_spec(WEB))}"]


def test_update_service(hands: Actions, fake: FakeSwarm) -> None:
    """A service is changed from the version that the plan saw."""
    fake.add("h1", manager=True)
    fake.services["web"] = OTHER
    assert hands.do(
        step(StepKind.UPDATE_SERVICE, "web", service=WEB, service_id="id-web", version=1)
    )
    assert fake.services["web"].spec == WEB
