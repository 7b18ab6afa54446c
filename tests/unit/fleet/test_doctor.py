"""Tables of what hosts say → what the doctor finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from swarmops.backends.base import Artifact, Facts, Missing, PythonFacts
from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet.doctor import Examined, Finding, Grade, findings
from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.observe import Looked, Seen
from swarmops.model.swarm import SwarmInfo
from tests.unit.fleet.test_plan import seen as observed

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
)


def judged(
    facts: Facts = FACTS,
    said: Examined | SwarmopsError = WELL,
    missing: tuple[Missing, ...] = (),
    **view: Any,
) -> dict[str, Finding]:
    """Return what is found of one host, by check."""
    hosts = {"h1": HostView(name="h1", missing=missing, running=True, **view)}
    looked = {"h1": Looked(facts, Artifact("r1"), missing)}
    seen = Seen(Observation(hosts=hosts), looked)
    return {one.check: one for one in findings(seen, {"h1": said}, NOW) if one.host == "h1"}


def test_a_host_that_is_well_has_only_good_findings():
    """Every check is told, none with a cure."""
    found = judged()
    assert set(found) == {"runtime", "clock", "disk", "certificate", "raft"}
    assert all(one.grade is Grade.OK and not one.cure for one in found.values())


@pytest.mark.parametrize(
    ("changes", "check", "grade", "words"),
    [
        ({"clock_offset_s": 5.0}, "clock", Grade.WARNING, "+5.0 s"),
        ({"clock_offset_s": -40.0}, "clock", Grade.PROBLEM, "-40.0 s"),
        ({"disk_free_bytes": 500 << 20}, "disk", Grade.WARNING, "500 MiB"),
        ({"disk_free_bytes": 1 << 20}, "disk", Grade.PROBLEM, "1 MiB"),
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
