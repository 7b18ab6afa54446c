"""The backup commands before any swarm is asked: what is wrong with files, and nobody to ask."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swarmops.cli import main
from swarmops.cli.backup import VARIABLE
from swarmops.fleet.backup import Backup
from swarmops.fleet.backup_file import write_backup
from swarmops.model.swarm import SwarmSpec


@pytest.fixture(autouse=True)
def _nobody_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline: no terminal, and no passphrase in the environment."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_folder_that_is_not_there_holds_no_backups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty table would say that there is no backup; the folder's name is wrong."""
    assert main(["backup", "ls", str(tmp_path / "nope")]) == 1
    assert capsys.readouterr() == (
        "",
        f"Error: {tmp_path}/nope is no folder: name the one that has the backups\n",
    )


def test_nobody_is_asked_for_a_passphrase_who_is_not_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal the error says where a passphrase can stand."""
    made = tmp_path / "a.swarmops-backup"
    write_backup(made, Backup(swarm=SwarmSpec()), "shop", datetime(2026, 1, 1, tzinfo=UTC), "x")
    assert main(["backup", "restore", str(made)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "nobody is here to answer: set SWARMOPS_BACKUP_PASSPHRASE or give" in err


def test_what_is_no_backup_is_told_before_anybody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that can't be restored needs no passphrase."""
    assert main(["backup", "restore", str(tmp_path / "nope")]) == 1
    assert "nope can't be read (No such file or directory)" in capsys.readouterr().err
