"""`swarmops inventory`: what was understood, in each of its forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swarmops.cli import main

TEXT = """
[managers]
m1 ansible_host=192.0.2.1 ansible_user=ops ansible_password=abc
[workers]
w[1:2]
[workers:vars]
disk=ssd
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """An inventory in INI form."""
    file = tmp_path / "hosts"
    file.write_text(TEXT)
    return str(file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ["HOST", "m1     192.0.2.1", "ops", "yes", "managers"]),
        (["--limit", "w*"], ["w1", "w2", "workers"]),
        (["--graph"], ["@all:", "  |--@workers:", "  |  |--w2"]),
        (["--host", "w1"], ['"disk": "ssd"']),
        (["--list"], ['"hostvars"', '"ansible_password": "********"']),
        (["--format", "json"], ['"address": "192.0.2.1"']),
    ],
)
def test_inventory(
    path: str, words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every form has what it is for, and no password."""
    assert main(["inventory", path, *words]) == 0
    out = capsys.readouterr().out
    assert [text for text in said if text not in out] == []
    assert "abc" not in out
    if "--list" in words or "--host" in words or "json" in words:
        json.loads(out)


@pytest.mark.parametrize("form", ["--format=table", "--format=json", "--list", "--graph"])
def test_limit(path: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what the pattern names is shown, in every form; who may manage stays as it is."""
    assert main(["inventory", path, "-l", "workers", form]) == 0
    out = capsys.readouterr().out
    assert "w2" in out
    assert "m1" not in out
    assert "yes" not in out


def test_unknown_host(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that is not there is an error with the nearest name."""
    assert main(["inventory", path, "--host", "w3"]) == 1
    assert "has no host 'w3': known are m1, w1, w2" in capsys.readouterr().err
