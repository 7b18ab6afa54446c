"""What apply says while it works and at its end."""

from __future__ import annotations

import json
import re

import pytest

from swarmops.cli.live_table import LiveTable
from swarmops.cli.progress import Lines
from swarmops.cli.report import print_applied, print_applied_json, program
from swarmops.fleet.applied import Applied
from swarmops.fleet.execute import Ended, State
from swarmops.fleet.rows import NodeRow
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.model.node import Role

NODE = NodeRow(
    id="a" * 25,
    host="h1",
    hostname="h1",
    status="Ready",
    availability="Active",
    role="manager",
    manager_status="Leader",
    addr="10.0.0.1",
    version="0.1.0",
)


def end(target: str, state: State, reason: str = "", kind: StepKind = StepKind.START) -> Ended:
    """Make a step's end."""
    step = Step(id=f"{kind.value}:{target}", kind=kind, target=target, reason="", proof="")
    return Ended(step=step, state=state, reason=reason, seconds=1.25)


DONE = end("h1", State.DONE)
CASES: dict[str, tuple[Applied, list[str], list[str]]] = {
    "done": (
        Applied(ended=(DONE,), nodes=[NODE], warnings=("an even number of managers",)),
        ["h1     Ready", "Done: 1 step in 2.0 s. Look further:", "swarmops status"],
        [],
    ),
    "nothing": (
        Applied(nodes=[NODE]),
        ["Nothing needs doing: the swarm is as the playbook says."],
        [],
    ),
    "refused": (
        Applied(refusals=("two swarms",), problems={"h2": "no key"}, warnings=("an even number",)),
        [],
        [
            "Warning: an even number",
            "Error: two swarms",
            "Error: h2: no key",
            "Nothing was changed",
        ],
    ),
    "failed": (
        Applied(
            ended=(
                end("h2", State.FAILED, "no disk"),
                end("h2", State.SKIPPED, "start of h2 failed", StepKind.JOIN),
                end("h2", State.SKIPPED, "start of h2 failed", StepKind.UPDATE_NODE),
                end("web", State.SKIPPED, "start of h2 failed", StepKind.CREATE_SERVICE),
            ),
            failures={"h2": "no disk"},
        ),
        ["Some of it is not as the playbook says"],
        [
            "Error: h2: starting the runtime: no disk",
            "Left out, since start of h2 failed: h2, web",
        ],
    ),
    "left out": (
        Applied(problems={"h3": "unreachable"}, nodes=[NODE]),
        ["Some of it is not as the playbook says"],
        ["Error: h3: unreachable"],
    ),
    "not in time": (
        Applied(ended=(DONE,), lacks=("web: 0 of 1 tasks run",)),
        [],
        ["Error: not so in time: web: 0 of 1 tasks run"],
    ),
    "interrupted": (
        Applied(ended=(DONE, end("h2", State.NOT_BEGUN)), interrupted=True),
        [],
        ["Interrupted. Done: h1: starting the runtime.", "The next apply does the rest."],
    ),
    "interrupted early": (
        Applied(ended=(end("h2", State.NOT_BEGUN),), interrupted=True),
        [],
        ["Interrupted. Done: nothing."],
    ),
}


@pytest.mark.parametrize(("applied", "out", "err"), CASES.values(), ids=CASES.keys())
def test_report(
    applied: Applied, out: list[str], err: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Results are on stdout, what went wrong is on stderr, each with its reason."""
    print_applied(applied, 2.0)
    captured = capsys.readouterr()
    assert [text for text in out if text not in captured.out] == []
    assert [text for text in err if text not in captured.err] == []
    if not err:
        assert captured.err == ""


@pytest.mark.parametrize(
    ("called", "found", "shown"),
    [
        ("/usr/bin/swarmops", "/usr/bin/swarmops", "swarmops"),
        (".venv/bin/swarmops", None, ".venv/bin/swarmops"),
        (".venv/bin/swarmops", "/usr/bin/swarmops", ".venv/bin/swarmops"),
        ("/x/swarmops/__main__.py", None, "swarmops"),
    ],
)
def test_program(
    called: str, found: str | None, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints name the program so that they can be typed as they stand."""
    monkeypatch.setattr("sys.argv", [called])
    monkeypatch.setattr("shutil.which", lambda _: found)
    assert program() == shown


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON everything is in one object."""
    print_applied_json(Applied(ended=(DONE,), nodes=[NODE], lacks=("x",)))
    report = json.loads(capsys.readouterr().out)
    assert (report["changed"], report["exit_code"], report["lacks"]) == (True, 1, ["x"])
    assert report["steps"] == [
        {"id": "start:h1", "target": "h1", "state": "done", "reason": "", "seconds": 1.25}
    ]
    assert report["nodes"][0]["host"] == "h1"


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal each step is a line once it has ended, each warning one."""
    with Lines() as progress:
        progress.planned(Plan(warnings=("an even number",)))
        progress.planned(Plan(warnings=("an even number",)))
        progress.phase("doing 2 steps")
        progress.began(DONE.step)
        progress.stopping([DONE.step])
        progress.ended(DONE)
        progress.ended(end("h2", State.FAILED, "no disk"))
        progress.ended(end("h3", State.NOT_BEGUN))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Warning: an even number",
        "doing 2 steps",
        "Stopping; what runs comes to its end first: h1 (starting the runtime)",
        "h1: starting the runtime: done (1.2 s)",
        "h2: starting the runtime: FAILED: no disk",
    ]


def test_live_table() -> None:
    """On a terminal each host has a row with what it does now."""
    table = LiveTable()
    join = Step(
        id="join:h2", kind=StepKind.JOIN, target="h2", reason="", proof="", role=Role.MANAGER
    )
    table.phase("doing 2 steps")
    table.planned(Plan(steps=(DONE.step, join)))
    table.ended(DONE)
    table.began(join)
    drawn = table._drawn()
    assert str(drawn.title) == "doing 2 steps …"
    cells = [[str(cell) for cell in column.cells] for column in drawn.columns]
    assert cells[0] == ["h1", "h2"]
    done, doing = cells[1]
    assert done == "starting the runtime: done (1.2 s)"
    assert re.fullmatch(r"joining as manager \d+ s", doing)
