"""What is made of hosts that answer, fail, or answer nonsense; and how all are removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from swarmops.backends.base import (
    ApiFacts,
    Artifact,
    Backend,
    Facts,
    Home,
    Missing,
    PythonFacts,
    UnitFacts,
)
from swarmops.errors import HostError, InputError
from swarmops.fleet import current
from swarmops.fleet import destroy as destroy_module
from swarmops.fleet import observe as observe_module
from swarmops.fleet.destroy import destroy
from swarmops.fleet.facts import clock_offset_s
from swarmops.fleet.host import Host
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observation import HostView, Observation, build_observation
from swarmops.fleet.observe import observe
from swarmops.fleet.shells import Shells
from swarmops.fleet.status import host_rows, silence
from swarmops.model.swarm import SwarmInfo

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

FACTS = Facts(
    hostname="x",
    python=PythonFacts(executable="python3", version=(3, 11, 2)),
    system="linux",
    machine="x86_64",
    user="root",
    is_root=True,
    systemd=True,
)
MANAGER = {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "n1"}
ANSWERS: dict[str, Facts | HostError] = {
    "bare": FACTS,
    "manager": msgspec.structs.replace(
        FACTS,
        api=ApiFacts(info={"Swarm": MANAGER}, swarm={"ID": "s"}, nodes=[], services=[]),
        current="r2",
        running_release="r1",
        unit=UnitFacts(active="active", enabled=True, digest="d", main_pid=7),
    ),
    "odd": msgspec.structs.replace(FACTS, api=ApiFacts(info={"Swarm": {"NodeID": 5}})),
    "slow": msgspec.structs.replace(
        FACTS, api_error="timed out", silent=True, data_dir_exists=True, daemon_pid=7
    ),
    "deaf": msgspec.structs.replace(FACTS, data_dir_exists=True, daemon_pid=8),
    "dead": HostError("dead", "it doesn't answer"),
    "mips": msgspec.structs.replace(FACTS, machine="mips"),
}


class FakeBackend:
    """Serves any machine but a mips; everything is missing where nothing runs."""

    name = "fake"
    home = Home(socket="/s", data_dir="/d", unit="fake.service")

    def __init__(self) -> None:
        self.removed: list[str] = []

    def artifact(self, facts: Facts, place: Any) -> Artifact:
        """Name a release."""
        if facts.machine == "mips":
            raise HostError(place.host, "its machine is a mips: use another")
        return Artifact("r1")

    def missing(self, facts: Facts, place: Any, artifact: Any) -> tuple[Missing, ...]:
        """Lack all or nothing."""
        del place, artifact
        return () if facts.running else (Missing("runtime", "nothing is installed"),)

    def remove(self, shell: Any, facts: Any, place: Any) -> None:
        """Remove, or fail."""
        del shell, facts
        if place.host == "mips":
            raise HostError("mips", "the disk is read-only")
        self.removed.append(place.host)


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    """Return an inventory of the hosts above, which answer as said there."""

    def gather(shell: Any, place: Any, home: Any, also: Any = ()) -> Facts:
        assert home is FakeBackend.home
        del shell, also
        answer = ANSWERS[place.host]
        if isinstance(answer, HostError):
            raise answer
        return answer

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(observe_module, "gather", gather)
    monkeypatch.setattr(destroy_module, "gather", gather)
    path = tmp_path / "i.yml"
    path.write_text("")
    hosts = {name: Host(name=name, address=name, connection="local") for name in ANSWERS}
    return Inventory(path=str(path), hosts=hosts, groups={"all": tuple(hosts)})


def fake_backend() -> tuple[FakeBackend, Backend]:
    """Return the backend, twice: as itself and as what it stands for."""
    made = FakeBackend()
    stands: Any = made
    return made, stands


def test_observe(inventory: Inventory) -> None:
    """Every host has a view; one that can't be reached, used or understood says why."""
    heard: dict[str, str] = {}
    seen = observe(inventory, fake_backend()[1], Shells(), on_host=heard.__setitem__)
    views = seen.observation.hosts
    assert list(views) == list(ANSWERS)
    assert views["dead"].error == "it doesn't answer"
    assert views["mips"].error == "its machine is a mips: use another"
    assert "its API's answer is not understood" in views["odd"].error
    assert "does not answer on its socket in time" in views["slow"].error
    assert views["slow"].silent
    assert views["slow"].had_state
    assert (views["deaf"].running, views["deaf"].alive, views["deaf"].usable) == (False, True, True)
    assert (views["bare"].alive, views["manager"].alive) == (False, True)
    assert views["bare"].missing == (Missing("runtime", "nothing is installed"),)
    assert views["manager"].running
    assert seen.observation.swarm is not None
    assert seen.observation.swarm.seen_from == "manager"
    assert set(seen.looked) == {"bare", "manager", "odd", "slow", "deaf"}
    assert heard["dead"] == "it doesn't answer"
    assert heard["bare"] == ""


def test_two_hosts_that_are_one_machine_are_left_alone(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is meant for the one would be done to the other; nodes beside each other are none."""
    wrong = "the same machine as {}: correct the ansible_host that is wrong, or give each its own"

    def gather(shell: Any, place: Any, home: Any, also: Any = ()) -> Facts:
        assert home is FakeBackend.home
        del shell, also
        answer = ANSWERS["manager" if place.host in {"bare", "manager"} else "deaf"]
        assert isinstance(answer, Facts)
        where = {"bare": "m1", "manager": "m1", "deaf": "", "slow": ""}.get(place.host, "m2")
        return msgspec.structs.replace(answer, machine_id=where)

    monkeypatch.setattr(observe_module, "gather", gather)
    hosts = inventory.hosts | {
        name: msgspec.structs.replace(inventory.hosts[name], data_dir=f"/nodes/{name}")
        for name in ("odd", "dead", "mips")
    }
    beside = msgspec.structs.replace(inventory, hosts=hosts)
    seen = observe(beside, fake_backend()[1], Shells()).observation
    errors = {name: view.error for name, view in seen.hosts.items() if view.error}
    assert set(errors) == {"bare", "manager"}
    assert wrong.format("manager") in errors["bare"]
    assert wrong.format("bare") in errors["manager"]
    assert seen.swarm is None


def test_status(inventory: Inventory) -> None:
    """Each host's row says what runs there and what is wrong with it."""
    rows = host_rows(observe(inventory, fake_backend()[1], Shells()).observation)
    assert [(row.host, row.runtime, row.swarm) for row in rows] == [
        ("bare", "missing", ""),
        ("manager", "running", "manager"),
        ("odd", "", ""),
        ("slow", "", ""),
        ("deaf", "missing", ""),
        ("dead", "", ""),
        ("mips", "", ""),
    ]
    assert rows[0].problem == "nothing is installed"
    assert [(row.release, row.unit) for row in rows[:2]] == [("", ""), ("r1", "active")]


BROKEN = HostView(name="a", error="there is no key file k")
WORKS = SwarmInfo(local_node_state="active")
MANAGES = SwarmInfo(local_node_state="active", control_available=True)
CURED = "no manager can be asked how the swarm stands: cure first what is wrong with the hosts"
UNMADE = "no host is in a swarm yet: 'swarmops apply' makes one"


@pytest.mark.parametrize(
    ("views", "said"),
    [
        pytest.param([BROKEN], CURED, id="nobody is reached"),
        pytest.param([BROKEN, HostView(name="b", running=True, swarm=WORKS)], CURED, id="a worker"),
        pytest.param([BROKEN, HostView(name="b", running=True, swarm=MANAGES)], "", id="a manager"),
        pytest.param([HostView(name="b", running=True, swarm=WORKS)], "", id="a worker alone"),
        pytest.param([HostView(name="a"), HostView(name="b", running=True)], UNMADE, id="bare"),
        pytest.param([HostView(name="a", had_state=True)], "", id="a member without a problem"),
        pytest.param(
            [HostView(name="a", had_state=True, missing=(Missing("process", "it is stopped"),))],
            CURED,
            id="a member is stopped",
        ),
    ],
)
def test_status_says_once_why_nobody_tells_of_the_swarm(views: list[HostView], said: str) -> None:
    """What is wrong with a host is in its row; the last line doesn't say it again."""
    assert silence(Observation(hosts={view.name: view for view in views})) == said


@pytest.mark.parametrize("leaves", [True, False])
def test_destroy(
    inventory: Inventory, fake: FakeSwarm, monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    """A member leaves and is removed, also where leaving fails; failures stop no other host."""
    fake.add("manager", manager=True)
    if not leaves:
        fake.dead.add("manager")
    monkeypatch.setattr(
        destroy_module, "target_client", lambda target, *_: fake.client(target.name)
    )
    current.record(Path(inventory.path))
    backend, stands = fake_backend()
    heard: dict[str, str] = {}
    errors = destroy(inventory, stands, Shells(), on_host=heard.__setitem__)
    assert errors == {"dead": "it doesn't answer", "mips": "the disk is read-only"}
    assert sorted(backend.removed) == ["bare", "deaf", "manager", "odd", "slow"]
    assert (("manager", "leave") in fake.calls) is leaves
    assert set(heard) == set(ANSWERS)
    assert current.choose(None, {}).inventory == Path(inventory.path)


def test_destroy_all(
    inventory: Inventory, fake: FakeSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once nothing is left anywhere, the inventory is current no longer."""
    monkeypatch.setattr(current, "LOCAL_SOCKET", "/none")
    monkeypatch.setattr(
        destroy_module, "target_client", lambda target, *_: fake.client(target.name)
    )
    current.record(Path(inventory.path))
    few = msgspec.structs.replace(inventory, hosts={"bare": inventory.hosts["bare"]})
    assert destroy(few, fake_backend()[1], Shells(), on_host=lambda *_: None) == {}
    with pytest.raises(InputError):
        current.choose(None, {})


def test_an_answer_that_broke_off_is_no_view_of_the_swarm() -> None:
    """What a manager could not tell is not taken for absent: another is believed, or nobody."""
    half = ApiFacts(
        info={"Swarm": MANAGER}, swarm={"ID": "s"}, nodes=[], error="GET /services: timed out"
    )
    whole = ApiFacts(info={"Swarm": MANAGER}, swarm={"ID": "s"}, nodes=[], services=[])
    views = [HostView(name=name, running=True, cluster_id="s") for name in ("a", "b")]
    seen = build_observation(views, {"a": half, "b": whole})
    assert seen.swarm is not None
    assert seen.swarm.seen_from == "b"
    alone = build_observation(views, {"a": half})
    assert alone.swarm is None
    assert alone.swarm_error == "GET /services: timed out"


@pytest.mark.parametrize(
    ("times", "offset_s"),
    [
        ((100.0, 100.1, 100.2, 100.3), 0.0),
        ((100.0, 105.0, 105.1, 105.2), 0.0),  # it took five seconds to connect
        ((100.0, 100.1, 100.2, 104.0), 0.0),  # the answer was slow
        ((100.0, 160.1, 160.2, 100.3), 59.9),
        ((100.0, 40.1, 40.2, 100.3), -59.9),
        ((100.0, 50.0, 50.1, 130.0), -50.0),
    ],
)
def test_a_clock_is_off_by_what_the_way_does_not_explain(
    times: tuple[float, float, float, float], offset_s: float
) -> None:
    """A handshake, a queue or a person at a prompt is no skew; real skew has its sign."""
    assert clock_offset_s(*times) == pytest.approx(offset_s)
