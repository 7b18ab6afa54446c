"""Secrets on a real swarm of five nodes: where they are, and where they never are."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.local.conftest import Local, command_lines, wait_for

CLEAR = f"open-sesame-{secrets.token_hex(6)}"
"""Found on this machine, it is of this run: others may be under way beside it."""
ENCODED = [
    base64.b64encode(b"x" * before + CLEAR.encode()).decode()[-(-before * 8 // 6) : -4]
    for before in (0, 1, 2)
]
"""In the middle of something that is encoded as a whole it may begin at any of three places."""
SHOW = 'cat "$SWARMOPS_SECRETS_DIR/pw" | wc -c; cat "$SWARMOPS_CONFIGS_DIR/conf"; exec sleep 1000'
TEMPLATE = "I am {{.Service.Name}}.{{.Task.Slot}} on {{.Node.Hostname}}\n"


@pytest.mark.parametrize("around", ["", "a", "ab", "abc", "abcd"])
def test_the_encoded_forms_are_found_wherever_they_stand(around: str):
    """Else the search below could not fail."""
    whole = base64.b64encode(f"{around}{CLEAR}{around}".encode()).decode()
    assert any(text in whole for text in ENCODED)


def create(swarm: Local) -> None:
    """Make a secret, a templated config and a service of one task that uses both."""
    (swarm.folder / "pw").write_text(CLEAR)
    (swarm.folder / "conf").write_text(TEMPLATE)
    swarm.docker("node1", "secret", "create", "pw", str(swarm.folder / "pw"))
    (swarm.folder / "pw").unlink()
    swarm.docker(
        "node1",
        "config",
        "create",
        "--template-driver=golang",
        "conf",
        str(swarm.folder / "conf"),
    )
    swarm.docker(
        "node2",
        "service",
        "create",
        "-d",
        "--no-resolve-image",
        "--name=reader",
        "--secret=pw",
        "--config=conf",
        "--constraint=node.role==worker",
        "host",
        "sh",
        "-c",
        SHOW,
    )


def has(swarm: Local, text: str) -> list[str]:
    """Return the files of all nodes, logs and databases included, that have a text in them."""
    command = ["grep", "-rlaF", text, str(swarm.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def in_memory() -> set[Path]:
    """Return the files in memory that hold the secret."""
    command = "grep -rlaF " + CLEAR + " /run/swarmops-tasks* /dev/shm/swarmops-tasks* 2>/dev/null"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return {Path(line) for line in done.stdout.split()}


def hosts(swarm: Local) -> list[str]:
    """Return where the service's tasks run."""
    shown = swarm.docker("node1", "service", "ps", "reader", "--format={{.Node}} {{.CurrentState}}")
    return [line.split()[0] for line in shown.stdout.splitlines() if " Running" in line]


def output(swarm: Local) -> str:
    """Return what the service's tasks wrote, nothing until their nodes answer."""
    try:
        return swarm.docker("node1", "service", "logs", "--raw", "reader").stdout
    except AssertionError:
        return ""


def test_a_task_reads_its_files_and_a_template_is_filled_in(swarm: Local):
    """A process finds them in a folder that the environment names."""
    create(swarm)
    wait_for(lambda: hosts(swarm) == ["node4"], "a running task")
    said = f"{len(CLEAR)}\nI am reader.1 on node4\n"
    wait_for(
        lambda: swarm.docker("node1", "service", "logs", "--raw", "reader").stdout == said,
        "what the task read",
    )
    assert len(in_memory()) == 1


def test_the_secret_is_nowhere_in_clear(swarm: Local):
    """Not on the disk of any node, not in a log, an event, an error or an answer."""
    refused = swarm.docker("node1", "secret", "rm", "pw", expect=1).stderr
    assert "is in use by the following service: reader" in refused
    same = subprocess.run(
        ["docker", "-H", f"unix://{swarm.socket('node3')}", "secret", "create", "pw", "-"],
        input=CLEAR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "secret pw already exists" in same.stderr
    answers = [
        refused,
        same.stderr,
        *(
            swarm.docker("node2", *words.split()).stdout
            for words in (
                "secret inspect pw",
                "service inspect reader",
                "service ps --no-trunc reader",
                "service logs reader",
                f"events --since 1 --until {int(time.time()) + 1}",  # whole seconds are compared
                "node inspect node4",
            )
        ),
    ]
    assert '"Name": "pw"' in answers[2]
    assert "secret create" in answers[6]
    for text in (CLEAR, *ENCODED):
        assert has(swarm, text) == []
        assert not any(text in answer for answer in answers)


def test_only_the_node_of_the_task_has_it_and_keeps_it_sealed(swarm: Local):
    """Also after its daemon was killed: nothing is on its disk."""
    swarm.kill_daemon("node4")
    wait_for(swarm.all_ready, "all nodes ready")
    wait_for(lambda: hosts(swarm) == ["node4"], "the task")
    wait_for(lambda: len(in_memory()) == 1, "one task's file in memory")
    assert has(swarm, CLEAR) == []
    [key] = swarm.folder.rglob("secrets.key")
    assert "node4" in key.parts


def test_without_managers_the_task_is_restarted_with_its_secret(swarm: Local):
    """On its node, by its daemon or by the next one; managers hear of no end."""

    def process() -> int:
        return next((pid for pid, command in command_lines() if is_reader(command)), 0)

    def is_reader(command: str) -> bool:
        return command.startswith("sleep 1000 ") and f"{swarm.folder}/.demo/node4/" in command

    def kill_task() -> int:
        killed = process()
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: process() != killed, "its end")
        return killed

    def runs_again(killed: int) -> bool:
        return process() not in {0, killed} and len(in_memory()) == 1

    (task,) = swarm.docker("node1", "service", "ps", "-q", "reader").stdout.split()
    with contextlib.ExitStack() as managers:
        for node in ("node1", "node2", "node3"):
            managers.enter_context(swarm.stopped(node))
        killed = kill_task()
        wait_for(lambda: runs_again(killed), "another process")
        with swarm.stopped("node4"):
            killed = kill_task()
            for file in in_memory():
                shutil.rmtree(file.parent)
        wait_for(lambda: runs_again(killed), "another process")
    said = f"{len(CLEAR)}\nI am reader.1 on node4\n"
    wait_for(lambda: output(swarm) == said, "what the last process read, and no other's output")
    assert swarm.docker("node1", "service", "ps", "-q", "reader").stdout.split() == [task]
    assert hosts(swarm) == ["node4"]
    assert not any(has(swarm, text) for text in (CLEAR, *ENCODED))


def test_removed_it_is_gone_from_memory(swarm: Local):
    """With the task; then the secret can be removed."""
    swarm.docker("node1", "service", "rm", "reader")
    wait_for(lambda: not in_memory(), "nothing in memory")
    swarm.docker("node1", "secret", "rm", "pw")
    swarm.docker("node1", "config", "rm", "conf")
    assert swarm.docker("node1", "secret", "ls", "--quiet").stdout == ""
