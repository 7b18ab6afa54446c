"""The log of a run, its path in what is said."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from swarmops.cli import main, run_log
from swarmops.cli.app import swarmops
from swarmops.cli.progress import Lines
from swarmops.cli.settings import Settings, common, on_fleet
from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.execute import Ended, State
from swarmops.fleet.steps import Plan, Step, StepKind


def leaves(
    command: click.Command = swarmops, name: str = ""
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for verb in command.list_commands(context):
        inner = command.get_command(context, verb)
        assert inner is not None
        yield from leaves(inner, f"{name} {verb}".strip())


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
    with Lines(verbose=True) as progress:
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
        (state / "logs" / f"apply-2026{number:03}.log").touch()
        (state / "logs" / f"node-ls-2026{number:03}.log").touch()
    log = run_log.begin("apply")
    assert log is not None
    log.close()
    assert len(list((state / "logs").glob("apply-*"))) == run_log.KEPT
    assert len(list((state / "logs").glob("node-ls-*"))) == run_log.KEPT + 5


def test_logs_never_fill_the_disk(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together stay below a bound: the oldest go, reports of defects too."""
    monkeypatch.setattr(run_log, "_FOLDER_BYTES_MAX", 250)
    (state / "logs").mkdir(parents=True)
    for number, name in enumerate(
        ("watch-21.log", "watch-21.log.1", "error-22.log", "plan-23.log")
    ):
        path = state / "logs" / name
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    log = run_log.begin("apply")
    assert log is not None
    log.close()
    left = {path.name for path in (state / "logs").iterdir()} - {log.path.name}
    assert left == {"error-22.log", "plan-23.log"}


def test_a_long_log_begins_anew(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch of months keeps its last two pieces, for its owner alone."""
    monkeypatch.setattr(run_log, "_BYTES_MAX", 1000)
    log = run_log.begin("watch")
    assert log is not None
    for number in range(100):
        log.write(f"round {number} {'.' * 50}")
    log.close()
    files = sorted((state / "logs").iterdir())
    assert [path.suffix for path in files] == [".log", ".1"]
    assert all(path.stat().st_size < 1100 for path in files)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert "round 99" in "".join(path.read_text() for path in files)


def test_a_full_disk_stops_no_run(state: Path) -> None:
    """Of an apply in its middle the log is the least: what is told goes on, and so does the run."""
    log = run_log.begin("apply")
    assert log is not None
    log._file.close()
    log._file = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - the log closes it
    logging.getLogger("swarmops.run").info("promoting h2")
    log.write("exit code 0")
    log.close()
    assert (state / "logs").is_dir()


def test_a_log_takes_what_is_no_text() -> None:
    """A file's name that is no UTF-8, as Python gives it."""
    log = run_log.begin("apply", "plan=\udcff")
    assert log is not None
    log.close()
    assert "plan=\\udcff" in log.path.read_text()


def test_no_log_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file can be written the run goes on without."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert run_log.begin("apply") is None


@pytest.mark.parametrize(
    ("error", "told"), [(SwarmopsError("the moon is down"), True), (InputError("a typo"), False)]
)
def test_path_is_told(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: Exception, *, told: bool
) -> None:
    """A run that fails names its log, which has it all; a wrong input's sentence is enough."""

    @click.command("fail")
    @common
    @on_fleet
    def fail(settings: Settings) -> None:
        del settings
        raise error

    monkeypatch.setattr("swarmops.cli.app.swarmops", fail)
    assert main([]) == 1
    (path,) = (state / "logs").iterdir()
    assert capsys.readouterr().err.endswith(f"The log of this run: {path}\n") is told
    assert path.read_text().rstrip().endswith("exit code 1")
    assert str(error) in path.read_text()


LOCAL = {"inventory", "completion", "schema", "backup ls", "context create", "context rm"}
"""These talk to nobody and change no swarm: there is nothing to log."""
NEEDED = {
    "exec": ["all", "true"],
    "service create": ["host"],
    "service scale": ["web=1"],
    "access create": ["ada", "--role", "read"],
    "unlock-apply": ["--reason", "why"],
    "watch": ["--rounds", "1", "--interval", "1s"],
}


@pytest.mark.parametrize("name", [name for name, _ in leaves() if name not in LOCAL])
def test_every_command_that_talks_to_hosts_has_a_log(
    name: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file a run, named after the command, even where it gets no further than the inventory."""
    monkeypatch.setenv("SWARMOPS_INVENTORY", str(tmp_path / "absent.yml"))
    monkeypatch.setenv("SWARMOPS_BACKUP_PASSPHRASE", "x")
    monkeypatch.chdir(tmp_path)
    command = dict(leaves())[name]
    required = [one for one in command.params if isinstance(one, click.Argument) and one.required]
    words = NEEDED.get(name, [f"some{n}" for n, _ in enumerate(required)])
    assert main([*name.split(), *words]) == 1
    (path,) = (state / "logs").iterdir()
    assert path.name.startswith(f"{name.replace(' ', '-')}-2")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines()[-1].endswith("exit code 1")


@pytest.mark.parametrize(
    "words",
    [
        ["exec", "--timeout", "1", "all", "--", "mysql", "-phunter2"],
        ["ssh", "host1", "mysql -phunter2"],
        ["tunnel", "--", "docker", "login", "-p", "hunter2"],
        ["service", "create", "-e", "K=hunter2", "--entrypoint", "x hunter2", "host", "hunter2"],
    ],
)
def test_no_secret_is_logged(
    words: list[str], state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What people put into environments and command lines stays out, of reports of defects too."""
    monkeypatch.setenv("SWARMOPS_INVENTORY", str(tmp_path / "i.yml"))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("swarmops.fleet.current._recorded", fail)
    monkeypatch.setattr("sys.argv", ["swarmops", *words])
    assert main(words) == 1
    texts = [path.read_text() for path in (state / "logs").iterdir()]
    assert len(texts) == 2
    assert all(f"{words[0]} " in text for text in texts)
    assert [text for text in texts if "hunter2" in text] == []


def test_no_secret_of_a_playbook_is_in_the_report_of_a_defect(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a host's password: what was read is not told where it was being looked at."""
    inventory, playbook = tmp_path / "i.yml", tmp_path / "p.yml"
    inventory.write_text("all: {hosts: {h1: {ansible_password: hunter2, pw: hunter2}}}\n")
    playbook.write_text(
        "secrets: {pw: {environment: PW}}\n"
        "services: {web: {image: a, environment: {PW: hunter2}, secrets: [pw]}}\n"
    )
    monkeypatch.setenv("PW", "hunter2")
    read: list[object] = []

    def fail(*what: object, **_: object) -> None:
        read.append(what)
        raise ZeroDivisionError

    monkeypatch.setattr("swarmops.fleet.opened.look", fail)
    assert main(["plan", str(inventory), "--playbook", str(playbook)]) == 1
    assert len(read) == 1, "both files were read"
    texts = [path.read_text() for path in (state / "logs").iterdir()]
    assert any("in fail\n" in text for text in texts)
    assert [text for text in texts if "hunter2" in text] == []
