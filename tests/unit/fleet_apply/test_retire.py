"""Hosts go out of a swarm that goes on, each step in its order, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from swarmops.backends.base import ApiFacts, Facts, Home, Place, PythonFacts, Shell
from swarmops.errors import HostError
from swarmops.fleet import retire as retire_module
from swarmops.fleet.host import Host
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.lock import LockedError
from swarmops.fleet.retire import Patiences, retire
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target
from swarmops.fleet.waiting import Patience
from swarmops.model.node import NodeState, NodeStatus, Reachability, Role
from swarmops.model.task import Task, TaskState, TaskStatus
from tests.unit.fleet_apply.conftest import REACHABLE

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

HOME = Home(socket="/s", data_dir="/d", unit="u.service")
FACTS = Facts(
    hostname="x",
    python=PythonFacts(executable="python3", version=(3, 11, 2)),
    system="linux",
    machine="x86_64",
    user="root",
    is_root=True,
    systemd=True,
)
AT_ONCE = Patience(bound_s=0)
NONE = Patiences(drain=AT_ONCE, demote=AT_ONCE, leave=AT_ONCE)
NAMES = ("h1", "h2", "h3", "h4")


class Scene:
    """Three managers and a worker behind fake clients; hosts may be out of reach."""

    def __init__(self, fake: FakeSwarm, path: Path) -> None:
        self.fake = fake
        self.away: set[str] = set()
        self.at: dict[str, str] = {}
        """Host → the machine that its address names, where that is another's."""
        self.heard: list[str] = []
        self.removed: list[str] = []
        hosts = {name: Host(name=name, connection="local", address=name) for name in NAMES}
        self.inventory = Inventory(path=str(path), hosts=hosts, groups={"all": NAMES})
        for name in NAMES:
            fake.add(name, manager=name != "h4")

    def gather(self, shell: Shell, place: Place, home: Home) -> Facts:
        """Tell what a host is."""
        assert home is HOME
        del shell
        if place.host in self.away:
            raise HostError(place.host, "out of reach")
        node = self.fake.nodes.get(f"id-{self.at.get(place.host, place.host)}")
        manager = node is not None and node.manager_status is not None
        info = {"Name": place.host, "Swarm": {"NodeID": node.id if node is not None else ""}}
        api = ApiFacts(info=info, swarm={"ID": "s"} if manager else None)
        return msgspec.structs.replace(FACTS, api=api)

    def retire(self, *names: str) -> dict[str, str]:
        """Take hosts out."""

        def say(name: str, doing: str) -> None:
            self.heard.append(f"{name}: {doing}")

        scene = self

        class Backend:
            home = HOME

            def remove(self, shell: Shell, facts: Facts, place: Place) -> None:
                del shell, facts
                scene.removed.append(place.host)

        backend: Any = Backend()
        return retire(self.inventory, backend, Shells(), names, say=say, patiences=NONE)


@pytest.fixture
def scene(fake: FakeSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return the four hosts."""
    made = Scene(fake, tmp_path / "i.yml")

    def client(target: Target, *_: object) -> Any:
        return fake.client(target.name)

    monkeypatch.setattr(retire_module, "gather", made.gather)
    monkeypatch.setattr(retire_module, "target_client", client)
    return made


def calls(scene: Scene, *verbs: str) -> list[str]:
    """Return which of these were asked, in order."""
    return [what for _, what in scene.fake.calls if what in verbs]


def test_a_manager_goes_in_the_safe_order(scene: Scene) -> None:
    """Tasks, role, membership, node, files; and the lock is free afterwards."""
    assert scene.retire("h2") == {}
    assert scene.heard == [
        "h2: moving its tasks",
        "h2: giving up its place among the managers",
        "h2: leaving the swarm",
        "h2: forgetting its node",
        "h2: removing what apply brought",
    ]
    assert set(scene.fake.nodes) == {"id-h1", "id-h3", "id-h4"}
    assert scene.removed == ["h2"]
    assert (scene.fake.cluster.spec.labels or {})["swarmops.lock"] == ""


def test_managers_go_while_the_others_are_a_quorum(scene: Scene) -> None:
    """Of three all but the last may go; the worker too."""
    assert set(scene.retire("h1", "h2", "h3")) == {"h3"}
    assert set(scene.fake.nodes) == {"id-h3", "id-h4"}
    assert scene.removed == ["h1", "h2"]


def silence(scene: Scene, node_id: str) -> None:
    """Let a manager fall silent."""
    node = scene.fake.nodes[node_id]
    unreachable = msgspec.structs.replace(REACHABLE, reachability=Reachability.UNREACHABLE)
    scene.fake.nodes[node_id] = msgspec.structs.replace(node, manager_status=unreachable)


def test_a_manager_stays_one_if_another_dies_while_its_tasks_move(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the gate said before the drain is old by then."""
    monkeypatch.setattr(retire_module, "wait_for_drain", lambda *_: silence(scene, "id-h3"))
    assert "could cost the quorum" in scene.retire("h2")["h2"]
    assert scene.fake.nodes["id-h2"].spec.role is Role.MANAGER
    assert scene.removed == []


def test_no_live_manager_goes_while_another_is_silent(scene: Scene) -> None:
    """The quorum would hang on one machine; nothing is begun on the host."""
    silence(scene, "id-h3")
    errors = scene.retire("h2")
    assert "could cost the quorum" in errors["h2"]
    assert "id-h2" in scene.fake.nodes
    assert scene.removed == []


def test_tasks_that_stay_keep_the_host(scene: Scene) -> None:
    """It stays a member until its tasks have moved, and is named."""
    scene.fake.tasks = [
        Task(id="t", node_id="id-h4", status=TaskStatus(state=TaskState.RUNNING), service_id="s")
    ]
    assert "1 of its tasks still runs" in scene.retire("h4")["h4"]
    assert "id-h4" in scene.fake.nodes


def test_a_dead_hosts_node_goes_and_the_host_is_named(scene: Scene) -> None:
    """What is on the host can't be removed: that is said."""
    scene.away.add("h4")
    scene.fake.dead.add("h4")
    node = scene.fake.nodes["id-h4"]
    status = msgspec.structs.replace(node.status, state=NodeState.DOWN)
    scene.fake.nodes["id-h4"] = msgspec.structs.replace(node, status=status)
    assert scene.retire("h4") == {"h4": "out of reach"}
    assert "id-h4" not in scene.fake.nodes
    assert calls(scene, "leave") == []


def test_a_host_whose_address_names_anothers_machine_is_left_alone(scene: Scene) -> None:
    """The other one's node would leave, and its files would go."""
    scene.at["h4"] = "h2"
    assert "the machine at its address is h2's" in scene.retire("h4")["h4"]
    assert len(scene.fake.nodes) == 4
    assert calls(scene, "leave") == []
    assert scene.removed == []


def test_a_node_of_an_earlier_life_goes_without_the_host_leaving_for_it(scene: Scene) -> None:
    """The manager that lives is demoted before it leaves, whichever is listed first."""
    status = NodeStatus(state=NodeState.DOWN)
    older = msgspec.structs.replace(scene.fake.nodes["id-h4"], id="id-old", status=status)
    labels = {"swarmops.host": "h2"}
    spec = msgspec.structs.replace(older.spec, labels=labels)
    older = msgspec.structs.replace(older, spec=spec)
    scene.fake.nodes = {"id-old": older, **scene.fake.nodes}
    assert scene.retire("h2") == {}
    assert set(scene.fake.nodes) == {"id-h1", "id-h3", "id-h4"}
    assert calls(scene, "leave") == ["leave"]
    doing = [text.removeprefix("h2: ") for text in scene.heard]
    assert doing.index("giving up its place among the managers") < doing.index("leaving the swarm")


def test_a_node_is_known_by_its_id_whatever_its_label_says(scene: Scene) -> None:
    """The host was called otherwise when it joined."""
    node = scene.fake.nodes["id-h4"]
    spec = msgspec.structs.replace(node.spec, labels={"swarmops.host": "former"})
    scene.fake.nodes["id-h4"] = msgspec.structs.replace(node, spec=spec)
    assert scene.retire("h4") == {}
    assert "id-h4" not in scene.fake.nodes


def test_locked(scene: Scene) -> None:
    """While an apply changes the swarm nobody is taken out."""
    labels = {"swarmops.lock": "a newer format"}
    spec = msgspec.structs.replace(scene.fake.cluster.spec, labels=labels)
    scene.fake.cluster = msgspec.structs.replace(scene.fake.cluster, spec=spec)
    with pytest.raises(LockedError):
        scene.retire("h4")
    assert len(scene.fake.nodes) == 4
