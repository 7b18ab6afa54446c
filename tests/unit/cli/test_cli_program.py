"""The program around the commands: start-up, errors, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from swarmops import __version__
from swarmops.cli import app, main
from swarmops.errors import HostError, Interrupted

HEAVY = {
    "aiohttp",
    "asyncio",
    "cryptography",
    "docker",
    "fabric",
    "jinja2",
    "msgspec",
    "paramiko",
    "requests",
    "rich",
    "ruamel",
    "sqlite3",
}


def imported_by_help() -> set[str]:
    """Return what asking for help imports, beyond what Python itself has."""
    code = (
        "import sys; before = set(sys.modules); from swarmops.cli import main\n"
        "assert main(['--help']) == 0\n"
        "print('|', *set(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, modules = out.stdout.partition("|")
    assert "List and change services" in text
    return set(modules.split())


def test_help_is_light() -> None:
    """Asking for help imports nothing heavy."""
    assert {name.split(".")[0] for name in imported_by_help()} & HEAVY == set()


def test_help_imports_hardly_more_than_click() -> None:
    """What keeps it quick, as ``bench.command_line`` measures: of our own, a handful of modules."""
    found = imported_by_help()
    assert len([name for name in found if name.startswith("swarmops.")]) <= 8
    assert len(found) <= 70


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the package's."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"swarmops {__version__}\n"


@pytest.mark.parametrize("name", [*app.COMMANDS])
def test_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command in the table is there and has a help of its own."""
    assert main([name, "--help"]) == 0
    assert f"Usage: swarmops {name}" in capsys.readouterr().out


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``swarmops plan`` fail with an error."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr("swarmops.cli.plan.plan", broken)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (HostError("h1", "no disk"), 1, "Error: h1: no disk\n"),
        (Interrupted("stopped; done: h1"), 130, "stopped; done: h1\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (click.Abort(), 130, "Interrupted.\n"),
    ],
)
def test_endings(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """However a command ends, it is one sentence and its exit code."""
    failing(error, monkeypatch)
    assert main(["plan"]) == code
    assert capsys.readouterr().err.lstrip("\n") == said  # click ends the line of the ^C


def test_unexpected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A defect is one sentence too, and its traceback is in the file that it names."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    failing(ZeroDivisionError("by zero"), monkeypatch)
    assert main(["plan"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    found = re.search(r"ZeroDivisionError: by zero.*in (\S+\.log)", err)
    assert found
    log = Path(found[1])
    assert log.parent == tmp_path / "swarmops/logs"
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), HostError("h1", "no disk")])
def test_debug(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --debug the traceback is shown."""
    failing(error, monkeypatch)
    assert main(["--debug", "plan"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_closed_pipe(tmp_path: Path) -> None:
    """A reader that goes away early gets no traceback."""
    env: dict[str, Any] = {"XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = f"{sys.executable} -m swarmops service create --help | true"
    out = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=env)
    assert "Traceback" not in out.stderr
