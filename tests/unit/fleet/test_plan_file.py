"""A plan in a file: it comes back as it was, and is refused when the world is another."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS
from swarmops.fleet.inventory import build_inventory
from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.plan import make_plan
from swarmops.fleet.plan_file import read_plan, refuse_moved, saved_plan, write_plan
from swarmops.fleet.plan_text import plan_text
from swarmops.fleet.playbook import build_playbook
from swarmops.fleet.selection import Wanted
from swarmops.fleet.steps import Change, Plan, Step, StepKind
from swarmops.model.service import ReplicatedMode, ServiceMode, ServiceSpec


def step(name: str, **more: object) -> Step:
    """Make a step that updates a service."""
    spec = ServiceSpec(name=name, mode=ServiceMode(replicated=ReplicatedMode(replicas=2)))
    return msgspec.structs.replace(
        Step(
            id=f"update_service:{name}",
            kind=StepKind.UPDATE_SERVICE,
            target=name,
            reason="it differs",
            proof="shown",
            changes=(Change("Replicas", "1", "2"),),
            version=7,
            service=spec,
        ),
        **more,
    )


PLAN = Plan(steps=(step("web"), step("db")), warnings=("odd",))


def test_round_trip(tmp_path: Path) -> None:
    """What was written is what is read, readable by nobody else."""
    path = tmp_path / "plan.json"
    saved = saved_plan(PLAN, Path("inv.yml"), [Path("a.yml"), Path("b.yml")], Wanted(limit="a"))
    write_plan(saved, path)
    assert read_plan(path) == saved
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(saved.inventory).is_absolute()
    refuse_moved(read_plan(path).plan, PLAN)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (Plan(steps=(step("web"),)), "update_service:db is not to be done any more"),
        (Plan(steps=(*PLAN.steps, step("x"))), "update_service:x is to be done now too"),
        (
            Plan(steps=(step("web", version=8), step("db"))),
            "service:web is to be done other",
        ),
        (Plan(refusals=("two swarms",)), "two swarms"),
        (Plan(), r"update_service:web, update_service:db are not to be done any more"),
    ],
)
def test_moved(now: Plan, told: str) -> None:
    """The first difference is named, and nothing is done."""
    with pytest.raises(SwarmopsError, match=told) as caught:
        refuse_moved(PLAN, now)
    assert "nothing was changed" in str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    """No file, no plan, another format: each is one sentence."""
    with pytest.raises(InputError, match="can't be read"):
        read_plan(tmp_path / "absent")
    path = tmp_path / "plan.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="is no plan"):
        read_plan(path)
    saved = saved_plan(PLAN, Path("inv.yml"), (), Wanted())
    write_plan(msgspec.structs.replace(saved, format=99), path)
    with pytest.raises(InputError, match="make the plan with this release"):
        read_plan(path)
    with pytest.raises(InputError, match="can't be written"):
        write_plan(saved, tmp_path / "absent" / "plan.json")


SUPPLIED = """
swarm: {managers: 1}
networks: {back: {internal: true}}
configs: {page: {content: one}}
secrets: {key: {command: [echo, one]}}
hooks: {before: [{command: "true"}]}
services: {web: {image: host, command: sleep 9, configs: [page], secrets: [key]}}
"""


def made(text: str) -> Plan:
    """Return the plan of a playbook for a new host."""
    inventory = build_inventory(
        "inv.yml", read_groups(parse_document("all: {hosts: {a: }}", "inv.yml"), OUR_VARS)
    )
    playbook = build_playbook(parse_document(text, "prod.yml"), inventory)
    seen = Observation(hosts={"a": HostView(name="a", running=True)})
    return make_plan(inventory, playbook, seen)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("internal: true", "internal: false", "create_network:back is to be done otherwise"),
        ("internal: true", "internal: true, labels: {a: b}", "create_network:back is to be"),
        ("content: one", "content: two", "create_config:page.v1 is to be done otherwise"),
        ("[echo, one]", "[echo, two]", "create_secret:key.v1 is to be done otherwise"),
        ("content: one", "content: one, labels: {a: b}", "create_config:page.v1 is to be done"),
        ('command: "true"', 'command: "rm -rf /", hosts: all', "the playbook's hooks are others"),
    ],
)
def test_what_steps_do_not_hold_is_compared_too(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    """What was reviewed is done: contents, options and hooks are a part of the plan."""
    path = tmp_path / "plan.json"
    write_plan(saved_plan(made(SUPPLIED), Path("inv.yml"), (), Wanted()), path)
    saved = read_plan(path).plan
    refuse_moved(saved, made(SUPPLIED))
    assert b"echo" not in path.read_bytes()
    with pytest.raises(SwarmopsError, match=told):
        refuse_moved(saved, made(SUPPLIED.replace(old, new)))


def test_a_reviewer_sees_options_contents_and_hooks() -> None:
    """All that a step makes is told, but for what is in a secret."""
    lines = plan_text(made(SUPPLIED)).splitlines()
    assert "    + Internal: true" in lines
    assert "    + content: 3 bytes, sha256 7692c3ad3540bb80…" in lines
    assert "! hook     before, on this machine: true (at most 60 s)" in lines
