"""A plan in a file: it comes back as it was, and is refused when the world is another."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.plan_file import read_plan, refuse_moved, saved_plan, write_plan
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
    saved = saved_plan(PLAN, Path("inv.yml"), None, Wanted(limit="a"))
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
    saved = saved_plan(PLAN, Path("inv.yml"), None, Wanted())
    write_plan(msgspec.structs.replace(saved, format=99), path)
    with pytest.raises(InputError, match="make the plan with this release"):
        read_plan(path)
    with pytest.raises(InputError, match="can't be written"):
        write_plan(saved, tmp_path / "absent" / "plan.json")
