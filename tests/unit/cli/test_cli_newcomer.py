"""What somebody gets wrong on the first day: one clear sentence each, and no exit code 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmops.cli import main

INVENTORY = "all: {hosts: {h1: {ansible_host: 127.0.0.1, ansible_port: 1}}}"
SERVICE = "services: {web: {image: nginx, "


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and a user who has never used it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("SWARMOPS_INVENTORY", "SWARMOPS_SOCKET", "SWARMOPS_BACKUP_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    Path("i.yml").write_text(INVENTORY)
    Path("p.yml").write_text(SERVICE + "}}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all:\n  hosts:\n    a: {\n", "x.yml:4:1: not valid YAML: "),
        ("all:\n hosts:\n  a:\n\tb: 1\n", "x.yml:4:1: not valid YAML: "),
        ("", "x.yml: the inventory is empty: name hosts"),
        ("all: {host: {h1: }}", "x.yml:1: unknown key 'all.host': did you mean 'hosts'?"),
        (
            "all:\n  hosts:\n    h1: {swarmops_socet: /x}",
            "x.yml:3: unknown variable 'swarmops_socet': did you mean 'swarmops_socket'?",
        ),
        ("all: {hosts: {h1: {ansible_connection: docker}}}", "must be ssh or local, not 'docker'"),
        (
            SERVICE + "}}",
            "x.yml:1: 'services' belongs in a playbook, and this is read as an inventory: give",
        ),
    ],
)
def test_a_wrong_inventory(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the line, the cause and the cure."""
    Path("x.yml").write_text(text)
    one_sentence(["plan", "x.yml", "-p", "p.yml"], said, capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("servics: {}", "unknown key 'servics': did you mean 'services'?"),
        ("swarm: {manager: 3}", "unknown key 'swarm.manager': did you mean 'managers'?"),
        ("services: {web: {imag: a}}", "unknown key 'services.web.imag': did you mean 'image'?"),
        (SERVICE + "deploy: {update_config: {ordr: a}}}}", "update_config.ordr': did you mean"),
        (SERVICE + "ports: [{target: 80, mod: host}]}}", "ports.0.mod': did you mean 'mode'?"),
        (SERVICE + "deploy: {replicas: many}}}", "must be a whole number, not 'many'"),
        ("nodes: {h1: {role: managr}}", "not 'managr': did you mean 'manager'?"),
        ("nodes: {h9: {role: worker}}", "no host or group of i.yml is named 'h9': known are"),
        ('services: {web: {image: "{{ tag }}"}}', "variable 'tag' is undefined: define it"),
        (INVENTORY, "this is an inventory, not a playbook: give the playbook with -p"),
        ("version: '3'\nservices: {}", "this is a Compose file, not a playbook: name it in one"),
        ("- hosts: all", "not Ansible's list of plays"),
    ],
)
def test_a_wrong_playbook(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the line, the cause and the cure, however deep it is."""
    Path("x.yml").write_text(text)
    one_sentence(["plan", "i.yml", "-p", "x.yml"], said, capsys)


def test_a_wrong_playbook_among_several(capsys: pytest.CaptureFixture[str]) -> None:
    """-p may be given several times; the file that has the mistake is named."""
    Path("x.yml").write_text("services: {}")
    Path("y.yml").write_text("\nservics: {}")
    said = "y.yml:2: unknown key 'servics': did you mean 'services'?"
    one_sentence(["plan", "i.yml", "-p", "x.yml", "-p", "y.yml"], said, capsys)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("apply absent.yml", "absent.yml: no such inventory: check the path"),
        ("apply", "no inventory was applied from here yet"),
        ("apply i.yml", "i.yml names no playbook: set swarmops_playbook under all.vars"),
        ("apply i.yml -p absent.yml", "absent.yml: no such playbook: check the path"),
        ("apply i.yml -p p.yml -l web9", "no host or group of i.yml is named 'web9'"),
        ("apply i.yml -p p.yml --only servces", "--only servces: did you mean 'services'?"),
        ("apply i.yml -p p.yml --serial x", "--serial x: say how many hosts at a time"),
        ("apply --plan absent.json", "absent.json can't be read (No such file or directory): "),
        ("aply", "no command is called 'aply': did you mean 'apply'?"),
        ("node dran h1", "no command is called 'dran': did you mean 'drain'?"),
        ("backup crate", "no command is called 'crate': did you mean 'create'?"),
        ("apply --chek", "'--check'"),
        ("node ls --formt json", "'--format'"),
        ("service scale web", "'web' is not SERVICE=REPLICAS: write it as in web=5"),
        ("watch i.yml --interval 0", "'--interval': '0' is no pause: write a second or more"),
        ("watch i.yml --interval 5ms", "'--interval': '5ms' is no pause"),
        ("watch i.yml --interval soon", "'--interval': 'soon' is no duration: write it as in 10s"),
        ("node drain", "Missing argument 'NODE...'"),
        ("destroy i.yml", "destroy asks first, and nobody is here to answer: give --yes"),
        ("backup ls absent", "absent is no folder: name the one that has the backups"),
        ("backup restore absent", "absent can't be read (No such file or directory)"),
        (
            "backup create -i i.yml",
            "nobody is here to answer: set SWARMOPS_BACKUP_PASSPHRASE or give",
        ),
        ("inventory i.yml -i p.yml", "two inventories are named, p.yml and i.yml: name one"),
        ("-i i.yml inventory -i p.yml", "two inventories are named, i.yml and p.yml: name one"),
        ("-i i.yml -i p.yml destroy --yes", "two inventories are named, i.yml and p.yml: name"),
        ("tunnel -i i.yml --to web9", "no host or group of i.yml is named 'web9'"),
        ("unlock-apply i.yml -i p.yml --reason x", "two inventories are named, p.yml and i.yml"),
        ("plan i.yml -p p.yml --tags servces --tags nodes", "--only servces: did you mean"),
        ("service create --entrypoint 'x host", "''x' has a quote that is not closed: close it"),
        ("plan i.yml -p p.yml -k", "--ask-pass asks, and nobody is here to answer: leave it out"),
    ],
)
def test_a_wrong_command_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest right word, or what to say instead."""
    one_sentence(line.split(), said, capsys)


@pytest.mark.parametrize(
    "words",
    [["destroy", "i.yml", "--yes", "--limit", ""], ["exec", "-i", "i.yml", "", "reboot"]],
    ids=["destroy", "exec"],
)
def test_an_empty_pattern_is_no_host(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A shell's variable that is not set takes no swarm away."""
    one_sentence(words, "the pattern '' is empty, and so names no host of i.yml: name one", capsys)


def test_the_same_inventory_may_be_named_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """It is one."""
    assert main(["-i", "i.yml", "inventory", str(Path("i.yml").absolute())]) == 0
    assert "h1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "absent.yml"], "Error: absent.yml: no such playbook: check the path"),
        (["-p", "p.yml", "--git"], "Error: git pull in "),
        (["-p", "p.yml"], "Error: h1, the only host that may be a manager, can't be used: can't"),
    ],
    ids=["playbook", "git", "host"],
)
def test_a_watch_says_why_a_round_failed(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that could not be begun; and nothing is as it should be that nobody saw."""
    assert main(["watch", "i.yml", *words, "--rounds", "1"]) == 1
    out, err = capsys.readouterr()
    assert said in err
    assert "as it should be" not in out + err


def test_a_lock_that_cannot_be_seen_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has locked the hosts; of the swarm, which doesn't answer, that is not known."""
    Path("l.yml").write_text(
        "all: {hosts: {h1: {ansible_connection: local, swarmops_socket: /nowhere/s.sock,"
        f" swarmops_data_dir: {Path.cwd()}/data}}}}}}"
    )
    assert main(["unlock-apply", "l.yml", "--reason", "why"]) == 0
    out, err = capsys.readouterr()
    assert out == "Nobody has locked it.\n"
    assert err.startswith("Warning: a lock in the swarm itself can't be seen now: no manager answe")


def one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command that must end with one sentence, and with nothing about a log."""
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (sentence,) = [text for text in err.splitlines() if text.startswith("Error: ")]
    assert said in sentence
    assert err.splitlines()[-1] == sentence
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "line",
    [
        *("plan i.yml -p p.yml", "node ls -i i.yml", "exec -i i.yml all w"),
        "tunnel -i i.yml --to h1 -- true",
    ],
)
def test_a_host_that_is_not_there(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Host, address and what to look at; the log has the rest."""
    assert main(line.split()) in {1, 3}
    err = capsys.readouterr().err
    assert "h1" in err
    assert "can't reach 127.0.0.1:1 (Connection refused): is it on, with sshd?" in err
    assert "The log of this run: " in err
    assert "Traceback" not in err
