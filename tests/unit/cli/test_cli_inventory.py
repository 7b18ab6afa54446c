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


def test_limit_by_a_file(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Ansible's retry files: a pattern a line, beside others too."""
    file = tmp_path / "failed.retry"
    file.write_text("# those that failed\nw1\n\n  m*\n")
    assert main(["inventory", path, "--limit", f"@{file},!m1", "--graph"]) == 0
    assert "w1" in (out := capsys.readouterr().out)
    assert "m1" not in out
    assert "w2" not in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\xff\xfe", "can't be read: 'utf-8' codec can't decode"),
        (b"\n# nobody\n", "names none: write one on each line"),
        (b"w9\n", "no host or group of"),
    ],
)
def test_limit_by_a_bad_file(
    path: str,
    tmp_path: Path,
    content: bytes | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence; nothing is taken for all hosts."""
    file = tmp_path / "failed.retry"
    if content is not None:
        file.write_bytes(content)
    assert main(["inventory", path, "--limit", f"@{file}"]) != 0
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["inventory", "plan", "apply", "upgrade", "destroy"])
def test_every_limit_may_be_a_file(
    command: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is one option, whatever becomes of the hosts."""
    assert main([command, path, "--limit", f"@{tmp_path / 'absent'}"]) != 0
    assert "can't be read: No such file or directory" in capsys.readouterr().err
