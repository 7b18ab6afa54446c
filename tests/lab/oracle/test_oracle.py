"""Ours and a real Docker swarm are told the same and must do the same: one table, run on both.

Where they differ on purpose the scenario says so, and docs/differences.md says why.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.lab.lab import Lab
from tests.lab.oracle import scenarios
from tests.lab.oracle.forming import both
from tests.lab.oracle.side import Kind
from tests.lab.oracle.table import Run, Scenario

KINDS: tuple[Kind, Kind] = ("ours", "docker")
pytestmark = pytest.mark.docker_swarm


@pytest.fixture(scope="module")
def run(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Run]:
    """Both swarms, with all chosen scenarios under way."""
    params = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_scenario"
    ]
    chosen = [(cast("Scenario", each["row"]), cast("Kind", each["kind"])) for each in params]
    with both(lab, tmp_path_factory) as sides:
        run = Run(sides, chosen)
        try:
            yield run
        finally:
            run.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", scenarios.ALL, ids=lambda row: row.name)
def test_scenario(run: Run, row: Scenario, kind: Kind) -> None:
    """Every row of the table holds on both sides."""
    run.result(row.name, kind)


def test_the_table_has_every_row_once() -> None:
    """A scenario is chosen by its name, so names are unique."""
    names = [row.name for row in scenarios.ALL]
    assert len(names) == len(set(names))


def test_every_difference_has_its_reason_in_the_docs() -> None:
    """What a scenario expects to differ is a heading of docs/differences.md; one has the rest."""
    here = Path(__file__).parent
    named = {
        name
        for file in here.glob("*.py")
        if file != Path(__file__)
        for name in re.findall(r'because="([^"]+)"', file.read_text())
    }
    text = (here.parents[2] / "docs" / "differences.md").read_text()
    assert named | {"Not in the table"} == set(re.findall(r"^## (.+)$", text, re.MULTILINE))
