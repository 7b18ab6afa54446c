"""What an apply amounts to: rounds, waiting, failures, Ctrl-C and what is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from swarmops.errors import Interrupted, SwarmopsError
from swarmops.fleet import apply as apply_module
from swarmops.fleet import locked_look, opened
from swarmops.fleet.applied import Applied
from swarmops.fleet.apply import apply
from swarmops.fleet.current import choose
from swarmops.fleet.execute import Ended, State
from swarmops.fleet.host import Host
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.lock import LOCK_LABEL, Lock, encode
from swarmops.fleet.observation import HostView, Observation, SwarmView, manager_hosts
from swarmops.fleet.observe import Seen
from swarmops.fleet.opened import Fleet, Progress, look
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.revision import PLAYBOOK
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.fleet.waiting import Patience
from swarmops.model.node import NodeState
from swarmops.model.object import ObjectVersion
from swarmops.model.service import (
    ReplicatedJobMode,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    UpdateStatus,
)
from swarmops.model.swarm import SwarmInfo

if TYPE_CHECKING:
    from tests.unit.fleet_apply.conftest import FakeSwarm

WEB = ServiceSpec(name="web", mode=ServiceMode(replicated=ReplicatedMode(replicas=1)))


def step(kind: StepKind, target: str, **more: Any) -> Step:
    """Make a step."""
    return Step(id=f"{kind.value}:{target}", kind=kind, target=target, reason="", proof="", **more)


INIT = step(StepKind.INIT, "h1")
JOIN = step(StepKind.JOIN, "h2", after=(INIT.id,))


class Lab:
    """Two hosts behind fake clients, and plans as the test says."""

    def __init__(self, fake: FakeSwarm, path: Path) -> None:
        self.fake = fake
        self.plans: list[Plan] = []
        self.heard: list[str] = []
        hosts = {
            name: Host(
                name=name, connection="local", address=name, data_dir=f"{path.parent}/{name}"
            )
            for name in ("h1", "h2")
        }
        inventory = Inventory(path=str(path), hosts=hosts, groups={"all": ("h1", "h2")})
        playbook = Playbook(paths=("p.yml",), name="p", managers=1, services={"web": WEB})
        backend: Any = None
        self.fleet = Fleet(inventory, playbook, backend, Shells())

    def look(self, fleet: Fleet, progress: Progress) -> tuple[Seen, Plan]:
        """Look at the fake swarm."""
        del fleet, progress
        hosts = {}
        for name in ("h1", "h2"):
            info = self.fake.client(name).info().swarm
            hosts[name] = HostView(name=name, running=True, swarm=info)
        nodes = tuple(self.fake.nodes.values())
        swarm = None
        if nodes:
            swarm = SwarmView(
                id="s",
                seen_from="h1",
                nodes=nodes,
                spec=self.fake.cluster.spec,
                version=self.fake.cluster.version.index,
                now_s=self.fake.now.timestamp(),
            )
        return Seen(Observation(hosts=hosts, swarm=swarm), {}), self.plans.pop(0)

    def apply(self) -> Applied:
        """Apply, listening to its course."""
        lab = self

        class Ear(Progress):
            def ended(self, ended: Ended) -> None:
                lab.heard.append(f"{ended.step.id} {ended.state.value}")

        return apply(self.fleet, Ear())


@pytest.fixture
def lab(fake: FakeSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return the two hosts, in no swarm."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "i.yml"
    path.write_text("all:\n")
    made = Lab(fake, path)
    monkeypatch.setattr(locked_look, "look", made.look)
    monkeypatch.setattr(apply_module, "host_client", lambda _i, _s, h: fake.client(h))
    monkeypatch.setattr(apply_module, "CONVERGE_PATIENCE", Patience(bound_s=0))
    return made


def test_forms(lab: Lab) -> None:
    """Steps are done, heard of and shown; the inventory is the current one from then on."""
    lab.plans = [Plan(steps=(INIT, JOIN))]
    applied = lab.apply()
    assert (applied.exit_code, applied.changed) == (0, True)
    assert lab.heard == ["init:h1 done", "join:h2 done"]
    assert [row.host for row in applied.nodes] == ["h1", "h2"]
    assert str(choose(None, {}).inventory) == lab.fleet.inventory.path


def test_nothing_to_do(lab: Lab) -> None:
    """With nothing to do nothing is done nor waited for, and the tables come all the same."""
    lab.fake.add("h1", manager=True)
    lab.fake.add("h2")
    lab.plans = [Plan()]
    applied = lab.apply()
    assert (applied.exit_code, applied.changed, applied.lacks) == (0, False, ())
    assert len(applied.nodes) == 2


def test_nothing_to_do_and_not_well(lab: Lab) -> None:
    """What an apply before this one did not wait for is not called well by the next one."""
    lab.fake.add("h1", manager=True)
    lab.fake.add("h2", state=NodeState.DOWN)
    lab.fake.services["web"] = Service(id="id-web", spec=WEB)
    lab.plans = [Plan()]
    applied = lab.apply()
    assert applied.lacks == ("h2 is no node that answers", "web: 0 of 1 tasks run")
    assert (applied.exit_code, applied.changed) == (3, False)


def test_a_job_between_its_runs_is_well(lab: Lab) -> None:
    """A job that this apply did not begin is not waited for."""
    nightly = ServiceSpec(name="web", mode=ServiceMode(replicated_job=ReplicatedJobMode()))
    lab.fleet = msgspec.structs.replace(
        lab.fleet, playbook=msgspec.structs.replace(lab.fleet.playbook, services={"web": nightly})
    )
    lab.fake.add("h1", manager=True)
    lab.fake.add("h2")
    lab.fake.services["web"] = Service(id="id-web", spec=nightly)
    lab.plans = [Plan()]
    assert lab.apply().exit_code == 0


def test_nothing_to_do_but_a_dead_lock(lab: Lab) -> None:
    """A killed apply whose last request went through: the next does nothing and frees its lock."""
    lab.fake.add("h1", manager=True)
    lab.fake.add("h2")
    left = {LOCK_LABEL: encode(Lock(id="a", owner="o", reason="r", since_s=0, renewed_s=0))}
    cluster = lab.fake.cluster
    spec = msgspec.structs.replace(cluster.spec, labels=left)
    lab.fake.cluster = msgspec.structs.replace(cluster, spec=spec)
    lab.plans = [Plan()]
    assert lab.apply().exit_code == 0
    assert (lab.fake.cluster.spec.labels or {})[LOCK_LABEL] == ""


def test_refused(lab: Lab) -> None:
    """After a refusal nothing was done, and another inventory stays the current one."""
    lab.plans = [Plan(refusals=("two swarms",), warnings=("odd",))]
    applied = lab.apply()
    assert (applied.exit_code, applied.refusals, applied.warnings) == (1, ("two swarms",), ("odd",))
    assert lab.fake.inits == []
    with pytest.raises(SwarmopsError):
        choose(None, {"SWARMOPS_SOCKET": ""})


def test_problem(lab: Lab) -> None:
    """A host that was left out spoils the exit code, not the others."""
    lab.plans = [Plan(steps=(INIT,), problems={"h2": "unreachable"})]
    applied = lab.apply()
    assert (applied.exit_code, applied.problems, applied.lacks) == (3, {"h2": "unreachable"}, ())
    assert "id-h1" in lab.fake.nodes


def test_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails is named with its reason, and so is each step that needed it."""
    lab.fake.dead.add("h1")
    lab.plans = [Plan(steps=(INIT, JOIN))]
    monkeypatch.setattr(locked_look, "look", lambda *_: (_nothing(), lab.plans.pop(0)))
    applied = lab.apply()
    assert applied.exit_code == 3
    assert "does not answer" in applied.failures["h1"]
    assert [(e.step.id, e.state) for e in applied.ended] == [
        ("init:h1", State.FAILED),
        ("join:h2", State.SKIPPED),
    ]


def _nothing() -> Seen:
    hosts = {name: HostView(name=name) for name in ("h1", "h2")}
    return Seen(Observation(hosts=hosts), {})


def _blind(*_: Any) -> tuple[Seen, Plan]:
    raise AssertionError


def test_again(lab: Lab) -> None:
    """A plan that could not see all is followed by another, and both count."""
    lab.plans = [Plan(steps=(INIT,), again=True), Plan(steps=(step(StepKind.JOIN, "h2"),))]
    applied = lab.apply()
    assert applied.exit_code == 0
    assert lab.heard == ["init:h1 done", "join:h2 done"]


def test_again_for_ever(lab: Lab) -> None:
    """Rounds are bounded."""
    lab.fake.add("h1", manager=True)
    leave = step(StepKind.LEAVE, "h2")
    lab.plans = [Plan(steps=(leave,), again=True)] * 9
    with pytest.raises(SwarmopsError, match="after 3 rounds there is still something to do"):
        lab.apply()


def test_not_in_time(lab: Lab) -> None:
    """A service that doesn't run in time is explained and spoils the exit code."""
    lab.fake.services["web"] = Service(id="id-web", spec=WEB)
    lab.plans = [Plan(steps=(INIT, JOIN))]
    applied = lab.apply()
    assert applied.lacks == ("web: 0 of 1 tasks run",)
    assert applied.exit_code == 1


@pytest.mark.parametrize(
    ("state", "code"), [("completed", 0), ("rollback_started", 1), ("rollback_completed", 1)]
)
def test_an_update_that_the_swarm_took_back_is_not_called_done(
    lab: Lab, state: str, code: int
) -> None:
    """All runs then, but not what was sent: the exit code says so, and the revision isn't noted."""
    spec = ServiceSpec(name="web", mode=ServiceMode(replicated=ReplicatedMode(replicas=0)))
    lab.fake.add("h1", manager=True)
    lab.fake.add("h2")
    lab.fake.services["web"] = Service(
        id="id-web",
        version=ObjectVersion(index=1),
        spec=spec,
        update_status=UpdateStatus(state=state, message="due to task t1"),
    )
    more = {"service_id": "id-web", "version": 1, "service": spec}
    lab.plans = [Plan(steps=(step(StepKind.UPDATE_SERVICE, "web", **more),))]
    applied = lab.apply()
    assert applied.exit_code == code
    assert ["took its update back (due to task t1)" in lack for lack in applied.lacks] == [
        True
    ] * code
    assert (PLAYBOOK in (lab.fake.cluster.spec.labels or {})) == (code == 0)


def test_lost_at_the_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no manager answers any more at the end, what was done is known all the same."""

    def lost(*_: Any) -> None:
        raise SwarmopsError("no manager answers")

    monkeypatch.setattr(apply_module, "tables", lost)
    lab.plans = [Plan(steps=(INIT, JOIN))]
    applied = lab.apply()
    assert (applied.exit_code, applied.lacks) == (1, ("no manager tells it: no manager answers",))
    assert [ended.state for ended in applied.ended] == [State.DONE, State.DONE]


def test_interrupted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C it is known what was done; nothing is waited for."""

    class Impatient(Progress):
        def ended(self, ended: Ended) -> None:
            if ended.step is INIT:
                raise KeyboardInterrupt

    monkeypatch.setattr(apply_module, "tables", _blind)
    lab.plans = [Plan(steps=(INIT, JOIN))]
    applied = apply(lab.fleet, Impatient())
    assert applied.exit_code == 130
    assert [ended.state for ended in applied.ended] == [State.DONE, State.NOT_BEGUN]


def test_interrupted_waiting(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it is waited for the swarm says what was done, too."""

    def press(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(apply_module, "wait_until", press)
    lab.plans = [Plan(steps=(INIT,))]
    applied = lab.apply()
    assert applied.exit_code == 130
    assert [ended.state for ended in applied.ended] == [State.DONE]


def test_interrupted_looking(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while hosts are looked at says that nothing was changed."""

    def press(*_: Any, **__: Any) -> Seen:
        raise Interrupted("interrupted; done on these hosts: h1")

    monkeypatch.setattr(opened, "observe", press)
    with pytest.raises(Interrupted, match="nothing was changed"):
        look(lab.fleet, Progress())


def test_manager_hosts() -> None:
    """The manager that told of the swarm is asked first; hosts that can't be used are not."""
    manager = SwarmInfo(local_node_state="active", control_available=True)
    hosts = {
        "a": HostView(name="a", running=True, swarm=manager),
        "b": HostView(name="b", running=True, swarm=SwarmInfo(local_node_state="active")),
        "c": HostView(name="c", running=True, swarm=manager),
        "d": HostView(name="d", error="unreachable", swarm=manager),
    }
    assert manager_hosts(Observation(hosts=hosts, swarm=SwarmView(id="s", seen_from="c"))) == [
        "c",
        "a",
    ]
    assert manager_hosts(Observation(hosts=hosts)) == []
