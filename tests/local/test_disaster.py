"""When more than half of the managers are lost for good: one survivor's disk is enough."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal

from tests.local.addresses import node_address
from tests.local.conftest import Local, command_lines, wait_for

LOST = ("node2", "node3")


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


def test_a_swarm_that_lost_its_quorum_for_good_goes_on_from_one_manager(swarm: Local):
    """Refused until forced; then services and nodes are there, and apply makes it whole again."""
    swarm.docker("node1", "service", "create", "-d", "--name", "kept", "host", "sleep", "1000")
    for node in LOST:
        lose(swarm, node)

    def error() -> str:
        return swarm.docker("node1", "info", "--format", "{{.Swarm.Error}}").stdout

    wait_for(lambda: "does not have a leader" in error(), "no leader")
    refused = swarm.docker("node1", "service", "rm", "kept", expect=1)
    assert "The swarm does not have a leader" in refused.stderr
    swarm.docker("node1", "swarm", "init", "--force-new-cluster")
    listed = swarm.docker("node1", "service", "ls", "--format", "{{.Name}}").stdout.split()
    assert sorted(listed) == ["kept", "web"]
    swarm.docker("node1", "service", "rm", "kept")
    swarm.swarmops("apply", str(swarm.inventory))
    nodes = swarm.nodes()
    assert sorted(nodes) == ["node1", "node2", "node3", "node4", "node5"]
    wait_for(
        lambda: sum(row["manager_status"] != "" for row in swarm.nodes().values()) == 3,
        "three managers",
    )
