"""The log of a run, its path in what is said, and the names that a shell offers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import click
import pytest

from swarmops.cli import completing, main, run_log
from swarmops.cli.app import swarmops
from swarmops.cli.progress import Lines
from swarmops.cli.settings import Settings
from swarmops.errors import SwarmopsError
from swarmops.fleet.execute import Ended, State
from swarmops.fleet.steps import Plan, Step, StepKind

STEP = Step(id="start:h1", kind=StepKind.START, target="h1", reason="it stopped", proof="")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep logs in a folder of the test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    logger = logging.getLogger("swarmops")
    before = list(logger.handlers)
    yield tmp_path / "swarmops"
    logger.handlers[:] = before


def test_log_has_it_all(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked, planned, begun and ended, with times; nobody else can read it."""
    log = run_log.begin("apply")
    assert log is not None
    with Lines(verbose=True, log=log) as progress:
        progress.phase("doing 1 step")
        progress.planned(Plan(steps=(STEP,), warnings=("odd",), problems={"h2": "dead"}))
        progress.began(STEP)
        progress.ended(Ended(step=STEP, state=State.FAILED, reason="no disk", seconds=1.5))
        assert set(progress.count()) == {"doing"}
    logging.getLogger("swarmops.x").debug("h1: facts ended with 0")
    log.close()
    text = log.path.read_text()
    for said in ("Warning: odd", "h2: dead", "since it stopped", "FAILED: no disk", "facts ended"):
        assert said in text
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert log.path.parent == state / "logs"
    assert "h1: starting the runtime …" in capsys.readouterr().err


def test_old_logs_go(state: Path) -> None:
    """The newest are kept, so the folder stays small."""
    (state / "logs").mkdir(parents=True)
    for number in range(run_log.KEPT + 5):
        (state / "logs" / f"apply-{number:03}.log").touch()
    log = run_log.begin("apply")
    assert log is not None
    log.close()
    assert len(list((state / "logs").iterdir())) == run_log.KEPT


def test_no_log_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file can be written the run goes on without."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert run_log.begin("apply") is None


def test_path_is_told(state: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A run that fails names its log, which ends with the error and the exit code."""

    @click.command()
    @click.pass_obj
    def fail(settings: Settings) -> None:
        settings.log = run_log.begin("apply")
        raise SwarmopsError("the moon is down: wait")

    monkeypatch.setattr("swarmops.cli.app.swarmops", fail)
    assert main([]) == 1
    (path,) = (state / "logs").iterdir()
    assert capsys.readouterr().err.endswith(f"The log of this run: {path}\n")
    assert path.read_text().rstrip().endswith("exit code 1")
    assert "the moon is down" in path.read_text()


def context(**params: Any) -> click.Context:
    """Make the context of a command line that is being typed."""
    made = click.Context(swarmops, obj=Settings())
    made.params = params
    return made


PARAMETER = click.Argument(["names"])


def test_hosts_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts and groups of the inventory, also in the last part of a pattern."""
    path = tmp_path / "i.yml"
    path.write_text("all: {children: {web: {hosts: {web1: , web2: , db1: }}}}")
    monkeypatch.setenv("SWARMOPS_INVENTORY", str(path))
    assert completing.hosts(context(), PARAMETER, "we") == ["web", "web1", "web2"]
    assert completing.hosts(context(), PARAMETER, "web1,!d") == ["web1,!db1"]
    assert completing.hosts(context(inventory=tmp_path / "absent"), PARAMETER, "w") == []


def test_live_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from the swarm; where it doesn't answer, as it told them last."""

    class Swarm:
        def __init__(self, choice: object) -> None:
            del choice
            if silent:
                raise SwarmopsError("nobody")

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    silent = False
    monkeypatch.setenv("SWARMOPS_SOCKET", "/x")
    monkeypatch.setattr("swarmops.fleet.access.Swarm", Swarm)
    monkeypatch.setattr(completing, "_node_names", lambda _: ["host1", "host2", "other"])
    assert completing.nodes(context(), PARAMETER, "ho") == ["host1", "host2"]
    silent = True
    assert completing.nodes(context(), PARAMETER, "host2") == ["host2"]
    assert completing.services(context(), PARAMETER, "") == []


def test_completion_script(capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that asks this program."""
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        assert "_SWARMOPS_COMPLETE" in capsys.readouterr().out
