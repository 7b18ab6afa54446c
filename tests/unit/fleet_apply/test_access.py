"""Which swarm a command is about, and which manager of it is asked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from swarmops.client import Client, Info, UnreachableError
from swarmops.errors import HostError, InputError, SwarmopsError
from swarmops.fleet import access as access_module
from swarmops.fleet import current
from swarmops.fleet.access import (
    NoLeaderError,
    NoSwarmError,
    first_manager,
    refuse_unless_manager,
    target_client,
    through_election,
)
from swarmops.fleet.backend_of import backend_name
from swarmops.fleet.current import Choice, choose, forget, record
from swarmops.fleet.host import Host
from swarmops.fleet.inventory import read_inventory
from swarmops.fleet.shells import Shells
from swarmops.fleet.targets import target_of
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model.swarm import SwarmInfo


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep state in a folder of the test, on a machine that is no node."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(current, "LOCAL_SOCKET", str(tmp_path / "none.sock"))
    return tmp_path


def make(folder: Path, name: str) -> Path:
    """Make an inventory file."""
    path = folder / name
    path.write_text("all:\n")
    return path


def test_nothing_chosen(state: Path) -> None:
    """Without any choice the cure is said."""
    del state
    with pytest.raises(InputError, match="choose an inventory with -i or SWARMOPS_INVENTORY"):
        choose(None, {})


def test_order(state: Path) -> None:
    """The flag goes before the variable, that before the socket's, that before the last apply's."""
    a, b, c = (make(state, name) for name in "abc")
    record(c)
    every = {"SWARMOPS_INVENTORY": str(b), "SWARMOPS_SOCKET": "/s"}
    assert choose(a, every) == Choice(inventory=a)
    assert choose(None, every) == Choice(inventory=b)
    assert choose(None, {"SWARMOPS_SOCKET": "/s"}) == Choice(socket=Path("/s"))
    assert choose(None, {}) == Choice(inventory=c)


def test_local_node(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node from which nothing was applied, its own socket is used."""
    socket = make(state, "swarmops.sock")
    monkeypatch.setattr(current, "LOCAL_SOCKET", str(socket))
    assert choose(None, {}) == Choice(socket=socket)


def test_recorded_from_elsewhere(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was applied by a relative path is found from any folder, with its playbooks."""
    inventory, playbooks = make(state, "i.yml"), (make(state, "p.yml"), make(state, "q.yml"))
    monkeypatch.chdir(state)
    record(Path("i.yml"), [Path("p.yml"), Path("q.yml")])
    monkeypatch.chdir("/")
    assert choose(None, {}) == Choice(inventory=inventory, playbooks=playbooks)
    assert choose(inventory, {}).playbooks == playbooks
    assert choose(make(state, "other.yml"), {}).playbooks == ()


def test_unwritable(state: Path) -> None:
    """Where no state can be kept, as in some pipelines, apply goes on; that is one sentence."""
    (state / "state").write_text("a file where the folder should be")
    said = record(make(state, "a"))
    assert "state/swarmops/current can't be written (Not a directory)" in said
    assert "give it with -i" in said
    (state / "state").unlink()
    assert not record(make(state, "a"))
    assert [path.name for path in (state / "state" / "swarmops").iterdir()] == ["current"]


def test_forget(state: Path) -> None:
    """A destroyed swarm's inventory is current no longer; another's stays."""
    a, b = make(state, "a"), make(state, "b")
    record(a)
    forget(b)
    assert choose(None, {}).inventory == a
    forget(a)
    with pytest.raises(InputError, match="no inventory was applied"):
        choose(None, {})


def test_inventory_gone(state: Path) -> None:
    """A current inventory whose file is gone is said so."""
    record(state / "gone.yml")
    with pytest.raises(InputError, match=r"gone\.yml is gone: choose another"):
        choose(None, {})


def test_broken_record(state: Path) -> None:
    """A damaged record is said so, with its path and the cure."""
    record(make(state, "a"))
    (state / "state/swarmops/current").write_text("{")
    with pytest.raises(InputError, match="state/swarmops/current can"):
        choose(None, {})


@pytest.mark.parametrize(
    ("info", "error"),
    [
        (SwarmInfo(local_node_state="active", control_available=True), None),
        (SwarmInfo(), "h1 is in no swarm"),
        (SwarmInfo(local_node_state="active"), "h1 is a worker"),
        (SwarmInfo(local_node_state="locked", error="needs a key"), "h1 is locked: needs a key"),
        (
            SwarmInfo(local_node_state="active", control_available=True, error="no leader"),
            "h1: no leader",
        ),
    ],
)
def test_manager_or_not(info: SwarmInfo, error: str | None) -> None:
    """Only a manager that has a leader is asked; why another isn't is said."""
    if error is None:
        refuse_unless_manager("h1", Info(swarm=info))
    else:
        with pytest.raises(SwarmopsError, match=error):
            refuse_unless_manager("h1", Info(swarm=info))


class Probes:
    """Hosts that answer as told: a client, an error, or only once released."""

    def __init__(self, **answers: SwarmopsError | None) -> None:
        self.answers = answers
        self.slow: dict[str, threading.Event] = {}
        self.asked: list[str] = []
        self.closed = threading.Event()

    def __call__(self, host: str) -> Client:
        """Answer as told."""
        self.asked.append(host)
        if host in self.slow:
            assert self.slow[host].wait(60)
        error = self.answers[host]
        if error is not None:
            raise error
        client = Client(_never, name=host)
        client.close = self.closed.set  # type: ignore[method-assign]
        return client


def _never() -> Any:
    raise AssertionError("nobody connects in this test")


def test_first_answers() -> None:
    """When the first host answers, no other is asked."""
    probes = Probes(a=None, b=None)
    assert first_manager(["a", "b"], probes, lead_s=10).name == "a"
    assert probes.asked == ["a"]


def test_first_fails() -> None:
    """When a host fails, the next is asked at once."""
    probes = Probes(a=SwarmopsError("a is a worker"), b=None)
    assert first_manager(["a", "b"], probes, lead_s=10).name == "b"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("swarm: {backend: docker}\nsecrets: {s: {command: [touch, ran]}}", "docker"),
        ("swarm: {backend: docker, manager: 3}\nservices: {web: }", "docker"),
        ("swarm: {backend: '{{ kind }}'}\nvars: {kind: docker}", "docker"),
        ("swarm: {managers: 1}", "other"),
        ("- hosts: all", "other"),
    ],
    ids=["command", "mistake", "template", "hosts", "another-file"],
)
def test_which_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    """A fleet's backend is known however broken its playbook is, and nothing is run to know it."""
    monkeypatch.chdir(tmp_path)
    Path("p.yml").write_text(text)
    Path("i.yml").write_text("all: {vars: {swarmops_backend: other}, hosts: {h1: }}")
    assert backend_name(read_inventory("i.yml"), [Path("p.yml")]) == name
    assert not Path("ran").exists()


def test_first_defect() -> None:
    """A defect in a probe is raised: its thread's end was waited for without end."""

    def probe(host: str) -> Client:
        raise RuntimeError(host)

    with pytest.raises(RuntimeError, match="a"):
        first_manager(["a"], probe)


def test_first_slow() -> None:
    """A slow host holds nobody up, and what it answers too late is closed."""
    probes = Probes(a=None, b=None)
    late = probes.slow["a"] = threading.Event()
    assert first_manager(["a", "b"], probes, lead_s=0.01).name == "b"
    late.set()
    assert probes.closed.wait(60)


def test_nobody() -> None:
    """When no host answers as a manager, each one's reason is said."""
    probes = Probes(a=SwarmopsError("a is a worker"), b=SwarmopsError("b: unreachable"))
    with pytest.raises(SwarmopsError, match="no manager answers: a is a worker; b: unreachable"):
        first_manager(["a", "b"], probes, lead_s=0.01)


def test_a_reason_that_many_hosts_share_is_said_once() -> None:
    """A key file that is missing is missing for all of them; of many only the first are named."""
    names = [f"h{number}" for number in range(1, 9)]
    probes = Probes(**{name: HostError(name, "there is no key file x") for name in names})
    probes.answers["h2"] = SwarmopsError("h2 is a worker")
    with pytest.raises(SwarmopsError) as raised:
        first_manager(names, probes, lead_s=0.01)
    told = str(raised.value)
    assert "h2 is a worker" in told
    assert told.count("there is no key file x") == 1
    assert " and 4 more: there is no key file x" in told


def test_no_swarm() -> None:
    """When every host says that there is no swarm, the cure is to apply."""
    probes = Probes(a=NoSwarmError("a is in no swarm"))
    with pytest.raises(SwarmopsError, match="'swarmops apply' makes one"):
        first_manager(["a"], probes)


def test_election() -> None:
    """While managers only lack a leader they are asked again, and not for ever."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now == 2:
            probes.answers["a"] = None

    patience = Patience(bound_s=3, period_s=1, clock=lambda: now, sleep=sleep)
    probes = Probes(a=NoLeaderError("a: no leader"), b=SwarmopsError("b is a worker"))
    assert through_election(["a", "b"], probes, patience).name == "a"
    assert now == 2
    probes.answers["a"] = NoLeaderError("a: no leader")
    with pytest.raises(SwarmopsError, match="no manager answers: a: no leader; b is a worker"):
        through_election(["a", "b"], probes, patience)
    assert now == 5


def test_unreachable(tmp_path: Path) -> None:
    """A host whose socket nobody serves is unreachable, with its name: another may be asked."""
    host = Host(name="h1", address="h1", connection="local", socket=str(tmp_path / "none.sock"))
    with pytest.raises(UnreachableError, match=r"^h1: "):
        target_client(target_of(host), Shells()).ping()


def test_wait() -> None:
    """Waiting ends with success as soon as there is one, and in time without."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    patience = Patience(bound_s=3, period_s=1, clock=lambda: now, sleep=sleep)
    assert wait_until(lambda: "" if now >= 2 else "not yet", patience) == ""
    assert now == 2
    assert wait_until(lambda: "never", patience) == "never"
    assert now == 5


def test_connections_that_are_open_are_used_and_stay_open(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection a host: who looked at the hosts lends its shells to who asks the swarm."""
    path = state / "i.yml"
    path.write_text("all: {hosts: {a: {ansible_connection: local, address: 127.0.0.1}}}")

    class Manager(Client):
        def info(self) -> Info:
            return Info(swarm=SwarmInfo(local_node_state="active", control_available=True))

    lent: list[Shells] = []
    closed: list[Shells] = []

    def silence() -> Any:
        raise UnreachableError("nobody connects here")

    def client(inventory: object, shells: Shells, host: str) -> Any:
        del inventory, host
        lent.append(shells)
        return Manager(silence, name="a")

    def close(shells: Shells) -> None:
        closed.append(shells)

    monkeypatch.setattr(access_module, "host_client", client)
    monkeypatch.setattr(Shells, "close", close)
    mine = Shells()
    with access_module.Swarm(Choice(inventory=path), mine):
        pass
    assert (lent, closed) == ([mine], [])
    with access_module.Swarm(Choice(inventory=path)):
        pass
    assert closed == [lent[1]]
    assert lent[1] is not mine
