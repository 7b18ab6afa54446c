"""Tables of what hosts say → what the doctor finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from swarmops.backends.base import ApiFacts, Artifact, Facts, Missing, PythonFacts, UnitFacts
from swarmops.client import UnreachableError
from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet.doctor import Examined, Finding, Grade, findings
from swarmops.fleet.doctor_services import look, service_findings
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import HostView, Observation, host_view
from swarmops.fleet.observe import Looked, Seen
from swarmops.fleet.waiting import Patience
from swarmops.model.service import (
    ReplicatedJobMode,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    ServiceStatus,
)
from swarmops.model.swarm import SwarmInfo
from tests.unit.fleet.worlds import seen as observed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL = Examined(expires=NOW + timedelta(days=80), applied=5000, committed=5000)
FACTS = Facts(
    hostname="h1",
    python=PythonFacts(executable="/usr/bin/python3", version=(3, 11, 2)),
    system="linux",
    machine="x86_64",
    user="root",
    is_root=True,
    systemd=True,
    disk_free_bytes=1 << 40,
    unit=UnitFacts(active="active", enabled=True, digest="d"),
    api=ApiFacts(info={"ServerVersion": "1.2"}),
)


def judged(
    facts: Facts = FACTS,
    said: Examined | SwarmopsError = WELL,
    missing: tuple[Missing, ...] = (),
    **view: Any,
) -> dict[str, Finding]:
    """Return what is found of one host, by check."""
    hosts = {"h1": msgspec.structs.replace(host_view("h1", facts, missing), **view)}
    looked = {"h1": Looked(facts, Artifact("r1"), missing)}
    seen = Seen(Observation(hosts=hosts), looked)
    return {one.check: one for one in findings(seen, {"h1": said}, NOW) if one.host == "h1"}


def test_a_host_that_is_well_has_only_good_findings():
    """Every check is told, none with a cure."""
    found = judged()
    assert set(found) == {"runtime", "unit", "clock", "disk", "certificate", "raft"}
    assert (found["runtime"].found, found["unit"].found) == ("1.2", "active")
    assert all(one.grade is Grade.OK and not one.cure for one in found.values())


@pytest.mark.parametrize(
    ("changes", "check", "grade", "words"),
    [
        ({"clock_offset_s": 5.0}, "clock", Grade.WARNING, "+5.0 s"),
        ({"clock_offset_s": -40.0}, "clock", Grade.PROBLEM, "-40.0 s"),
        ({"disk_free_bytes": 500 << 20}, "disk", Grade.WARNING, "500 MiB"),
        ({"disk_free_bytes": 1 << 20}, "disk", Grade.PROBLEM, "1 MiB"),
        ({"unit": UnitFacts(active="failed", digest="d")}, "unit", Grade.PROBLEM, "failed"),
        (
            {"unit": UnitFacts(active="active", digest="d")},
            "unit",
            Grade.PROBLEM,
            "active, not enabled",
        ),
    ],
)
def test_facts_are_graded(changes: dict[str, Any], check: str, grade: Grade, words: str):
    """Odd is a warning, dangerous is a problem; both have a cure."""
    found = judged(msgspec.structs.replace(FACTS, **changes))[check]
    assert found.grade is grade
    assert words in found.found
    assert found.cure


@pytest.mark.parametrize(
    ("said", "check", "grade"),
    [
        (Examined(expires=NOW + timedelta(days=3)), "certificate", Grade.WARNING),
        (Examined(expires=NOW - timedelta(days=1)), "certificate", Grade.PROBLEM),
        (HostError("h1", "no answer"), "examined", Grade.PROBLEM),
    ],
)
def test_what_a_host_says_is_graded(said: Examined | SwarmopsError, check: str, grade: Grade):
    """A certificate that ends soon, one that ended, a host that fell silent meanwhile."""
    assert judged(said=said)[check].grade is grade


def test_a_missing_runtime_and_a_node_in_trouble_are_problems():
    """Both say what to do."""
    lacks = (Missing("process", "the runtime is failed"),)
    found = judged(missing=lacks, swarm=SwarmInfo(error="disk full"))
    assert (found["runtime"].found, found["runtime"].cure) == (
        "the runtime is failed",
        "swarmops apply",
    )
    assert found["node"].found == "disk full"


def test_a_manager_far_behind_the_newest_is_told():
    """The lag is counted from the newest commit that any manager knows."""
    hosts = {name: HostView(name=name, running=True) for name in ("h1", "h2")}
    looked = {name: Looked(FACTS, Artifact("r1"), ()) for name in hosts}
    said: dict[str, Examined | SwarmopsError] = {
        "h1": Examined(applied=9000, committed=9000),
        "h2": Examined(applied=2000, committed=2000),
    }
    found = findings(Seen(Observation(hosts=hosts), looked), said, NOW)
    lags = {one.host: (one.grade, one.found) for one in found if one.check == "raft"}
    assert lags == {
        "h1": (Grade.OK, "0 entries behind"),
        "h2": (Grade.WARNING, "7000 entries behind"),
    }


@pytest.mark.parametrize(
    ("world", "managers", "nodes"),
    [
        ("a=leader, b=manager, c=manager", (Grade.OK, "3 of 3"), Grade.OK),
        ("a=leader, b=manager, c=silent manager", (Grade.PROBLEM, "2 of 3"), Grade.PROBLEM),
        ("a=leader, b=manager", (Grade.WARNING, "2 of 2"), Grade.OK),
        ("a=leader", (Grade.OK, "1 of 1"), Grade.OK),
        ("a=leader, b=silent worker", (Grade.OK, "1 of 1"), Grade.PROBLEM),
    ],
)
def test_the_swarm_is_graded_by_what_may_still_be_lost(
    world: str, managers: tuple[Grade, str], nodes: Grade
):
    """A silent manager is a problem; a swarm that bears no loss, though it could, a warning."""
    _, observation = observed(world)
    found = {one.check: one for one in findings(Seen(observation, {}), {}, NOW) if not one.host}
    assert found["managers"].grade is managers[0]
    assert managers[1] in found["managers"].found
    assert found["nodes"].grade is nodes


def service(name: str, running: int, wanted: int, *, job: bool = False) -> Service:
    """Return a service of which so many tasks run."""
    mode = ServiceMode(replicated_job=ReplicatedJobMode()) if job else ServiceMode(ReplicatedMode())
    return Service(
        id=f"id-{name}",
        spec=ServiceSpec(name=name, mode=mode),
        service_status=ServiceStatus(running_tasks=running, desired_tasks=wanted),
    )


def test_services_that_do_not_run_are_found_with_what_keeps_them():
    """Nothing of it runs: a problem; less than wanted: a warning; jobs run when they run."""
    services = [
        service("web", 2, 2),
        service("db", 0, 1),
        service("cache", 1, 3),
        service("off", 0, 0),
        service("job", 0, 1, job=True),
    ]
    lacks = {"db": "db: 0 of 1 tasks run; db.1 is pending: no suitable node"}
    found = service_findings(services, lacks)
    assert [(one.check, one.grade, one.found) for one in found] == [
        ("service", Grade.PROBLEM, "db: 0 of 1 tasks run; db.1 is pending: no suitable node"),
        ("service", Grade.WARNING, "cache: 1 of 3 tasks run"),
        ("services", Grade.OK, "2 services as wanted"),
    ]
    assert "swarmops service ps db" in found[0].cure


def test_managers_that_do_not_tell_of_services_are_a_problem():
    """Nothing known is not the same as well."""

    def nobody(host: str) -> Any:
        raise UnreachableError(f"{host} is silent")

    (found,) = look(Managers(nobody, ["h1"], Patience(bound_s=0)))
    assert found.grade is Grade.PROBLEM
    assert "h1 is silent" in found.found
