"""What a shell is offered while a command line is typed, asked for as shells ask."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from swarmops.cli import completing, main, reference, shells
from swarmops.cli.app import swarmops
from swarmops.cli.settings import COMPLETE
from swarmops.fleet.docker_context import write_context

if TYPE_CHECKING:
    from tests.unit.conftest import Engine

NODE: dict[str, Any] = {
    "ID": "a" * 25,
    "Version": {"Index": 4},
    "Spec": {
        "Role": "manager",
        "Availability": "active",
        "Labels": {"swarmops.host": "host1", "zone": "north"},
    },
    "Description": {"Hostname": "box1"},
    "Status": {"State": "ready", "Addr": "10.0.0.1"},
}
SERVICE: dict[str, Any] = {
    "ID": "s" * 25,
    "Version": {"Index": 12},
    "Spec": {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "host"}}},
}
OTHER = SERVICE | {"ID": "t" * 25, "Spec": SERVICE["Spec"] | {"Name": "worker"}}
ACCESS = {
    "Port": 2376,
    "Names": [],
    "People": [
        {
            "Name": "ada",
            "Role": "admin",
            "Serial": "1F",
            "CreatedAt": "2026-01-01T00:00:00Z",
            "ExpiresAt": "2027-01-01T00:00:00Z",
        }
    ],
}
Offer = Callable[..., list[str]]


@pytest.fixture(autouse=True, scope="module")
def nowhere() -> Iterator[None]:
    """Close what a process that completes keeps open until its end."""
    yield
    for mode in ("r", "w"):
        shells._nowhere(mode).close()
    shells._nowhere.cache_clear()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an inventory, and nothing of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("SWARMOPS_INVENTORY", "SWARMOPS_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "i.yml").write_text("all: {children: {web: {hosts: {web1: , web2: , db1: }}}}")
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))
    return tmp_path


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offer:
    """Return what asks for completions of a line as fish does: the names that are offered."""

    def ask(line: str, *, shell: str = "fish") -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv(COMPLETE, f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", line if shell == "zsh" else " ".join(words[:-1]))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1) if shell == "zsh" else words[-1])
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_WORDBREAKS", " \t\n\"'><=;|&(:")
        with pytest.raises(SystemExit):
            main([])
        out, err = capsys.readouterr()
        assert err == ""
        if shell == "zsh":
            lines = out.splitlines()
            return lines[1::3]
        return [
            text.partition(",")[2].partition("\t")[0] for text in out.splitlines() if "," in text
        ]

    return ask


@pytest.fixture
def live(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A swarm that answers."""
    monkeypatch.setenv("SWARMOPS_SOCKET", str(engine.server_address))
    for path, answer in (
        ("/nodes", [NODE]),
        ("/services", [SERVICE, OTHER]),
        ("/access", ACCESS),
    ):
        engine.answer(f"GET {path}", (200, json.dumps(answer).encode()))
    return engine


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("swarmops exec -i i.yml w", ["web", "web1", "web2"]),
        ("swarmops exec -i i.yml web1,!d", ["web1,!db1"]),
        ("swarmops exec -i i.yml web:&w", ["web:&web", "web:&web1", "web:&web2"]),
        ("swarmops apply i.yml -l d", ["db1"]),
        ("swarmops apply i.yml --limit=d", ["--limit=db1"]),
        ("swarmops upgrade i.yml -l d", ["db1"]),
        ("swarmops destroy i.yml --limit d", ["db1"]),
        ("swarmops inventory i.yml --host w", ["web1", "web2"]),
        ("swarmops inventory i.yml -l w", ["web", "web1", "web2"]),
        ("swarmops -i i.yml ssh w", ["web1", "web2"]),
        ("swarmops logs -i i.yml w", ["web1", "web2"]),
        ("swarmops logs -i absent.yml w", []),
        ("swarmops logs w", []),
        ("swarmops apply --only ", ["nodes", "runtime", "services"]),
        ("swarmops apply --only nodes,s", ["nodes,services"]),
        ("swarmops schema p", ["playbook"]),
        ("swarmops service create --mode g", ["global", "global-job"]),
        ("swarmops un", ["unlock-apply"]),
        ("swarmops node dr", ["drain"]),
        ("swarmops node drain --no", ["--no-wait"]),
    ],
)
@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_static_names(line: str, names: list[str], shell: str, offer: Offer) -> None:
    """Hosts and groups of the inventory, words of options, commands: without any host."""
    assert offer(line, shell=shell) == names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("swarmops node drain ", ["host1"]),
        ("swarmops node inspect h", ["host1"]),
        ("swarmops node rm x", []),
        ("swarmops service ps w", ["web", "worker"]),
        ("swarmops service ps web w", ["worker"]),
        ("swarmops service logs -f we", ["web"]),
        ("swarmops service scale we", ["web="]),
        ("swarmops service create --constraint node.l", ["node.labels.zone==north"]),
        ("swarmops service create --placement-pref s", ["spread=node.labels.zone"]),
        ("swarmops access revoke ", ["ada"]),
    ],
)
@pytest.mark.usefixtures("live")
def test_live_names(line: str, names: list[str], offer: Offer) -> None:
    """What the swarm has now; names that stand on the line already are not offered again."""
    assert offer(line) == names


def test_a_silent_swarm_is_left_alone(
    live: Engine, offer: Offer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within the bound, with what that swarm told last, and with nothing of another swarm."""
    assert offer("swarmops service rm w") == ["web", "worker"]
    monkeypatch.setattr(completing, "WITHIN_S", 0.2)
    live.answer("GET /services", (500, b"{}"))
    assert offer("swarmops service rm w") == ["web", "worker"]
    monkeypatch.setenv("SWARMOPS_SOCKET", str(tmp_path / "absent.sock"))
    before = time.monotonic()
    assert offer("swarmops service rm w") == []
    assert time.monotonic() - before < 30


def test_backups_and_contexts(place: Path, offer: Offer) -> None:
    """Files that are backups, folders on the way to some, and the contexts that are ours."""
    (place / "old").mkdir()
    (place / "old" / "b.swarmops-backup").touch()
    (place / "a.swarmops-backup").touch()
    (place / "other.txt").touch()
    assert offer("swarmops backup restore ") == ["a.swarmops-backup", "old/"]
    assert offer("swarmops backup restore old/") == ["old/b.swarmops-backup"]
    write_context("prod", "unix:///x", "ours")
    assert offer("swarmops context rm p") == ["prod"]


def test_every_name_that_can_be_completed_is() -> None:
    """An argument or option that names something takes a completion, a choice or a path."""
    free = {
        *("access create NAME", "service create IMAGE", "service create ARGS"),
        *("exec COMMAND", "ssh COMMAND", "tunnel COMMAND"),
    }
    lacking = []
    for names, command in reference.commands(swarmops):
        for one in command.params:
            chooses = isinstance(one.type, click.Choice | click.Path)
            named = one.metavar in {"PATTERN", "HOST", "WHAT,..."} or isinstance(
                one, click.Argument
            )
            words = f"{' '.join(names[1:])} {(one.name or '').upper()}"
            if named and not chooses and one._custom_shell_complete is None:
                lacking.append(words)
    assert set(lacking) == free


BASH = """
export PATH={bin}:$PATH
eval "$(swarmops completion bash)"
compopt() {{ :; }}
COMP_LINE={line}
COMP_POINT=${{#COMP_LINE}}
_swarmops_completion swarmops
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("swarmops exec -i i.yml w", "web web1 web2"),
        ("swarmops exec -i i.yml web:!d", "!db1"),
        ("swarmops exec -i i.yml 'web:!d", "web:!db1"),
        ("swarmops exec -i i.yml web1,d", "web1,db1"),
        ("swarmops apply i.yml --limit=we", "web web1 web2"),
        ("swarmops apply --only=nodes,s", "nodes,services"),
        ("swarmops node activ", "activate"),
        ("swarmops node activate x; echo", ""),
    ],
)
def test_bash_itself(line: str, names: str, place: Path) -> None:
    """In a real bash, which takes words apart at colons and equal signs."""
    import shlex

    script = BASH.format(bin=Path(sys.executable).parent, line=shlex.quote(line))
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, cwd=place
    )
    assert done.stderr == ""
    assert done.stdout.split() == names.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It asks this program, by the variable that it answers to."""
    assert main(["completion", shell]) == 0
    assert f"{COMPLETE}={shell}_complete" in capsys.readouterr().out
