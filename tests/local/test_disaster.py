"""When more than half of the managers are lost for good: one survivor's disk is enough."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from tests.local.addresses import node_address
from tests.local.conftest import Local, command_lines, wait_for

MANAGERS = ("node1", "node2", "node3")


def lose(swarm: Local, node: str) -> None:
    """End a node as a lost machine ends: supervisor, daemon, tasks, and everything that it kept."""
    home = swarm.folder / ".demo" / node / "data"
    address = f"--bind {node_address(node[-1])}"
    tasks = [
        pid
        for pid, command in command_lines()
        if address in command or f"{home}/worker/tasks" in command
    ]
    for pid in (int((home / "supervisor.pid").read_text()), swarm.daemon_pid(node), *tasks):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(home)


@pytest.mark.parametrize("survivor", ["node2", "node3"])
def test_a_swarm_that_lost_its_quorum_for_good_goes_on_from_one_manager(
    swarm: Local, survivor: str
):
    """Refused until forced; then services and nodes are there, and apply makes it whole again.

    Not from the disk of node1, which made the swarm, but of one that joined: the second time of
    one that joined what was forced the first time, if both are played.
    """

    def docker(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        return swarm.docker(survivor, *arguments, expect=expect)

    docker("service", "create", "-d", "--name", "kept", "host", "sleep", "1000")
    for node in MANAGERS:
        if node != survivor:
            lose(swarm, node)

    def error() -> str:
        return docker("info", "--format", "{{.Swarm.Error}}").stdout

    wait_for(lambda: "does not have a leader" in error(), "no leader")
    refused = docker("service", "rm", "kept", expect=1)
    assert "The swarm does not have a leader" in refused.stderr
    docker("swarm", "init", "--force-new-cluster")
    listed = docker("service", "ls", "--format", "{{.Name}}").stdout.split()
    assert sorted(listed) == ["kept", "web"]
    docker("service", "rm", "kept")
    swarm.swarmops("apply", str(swarm.inventory))
    nodes = swarm.nodes()
    assert sorted(nodes) == ["node1", "node2", "node3", "node4", "node5"]
    wait_for(
        lambda: sum(row["manager_status"] != "" for row in swarm.nodes().values()) == 3,
        "three managers",
    )
