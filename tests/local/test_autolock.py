"""Managers that lock themselves, on a real swarm with the real docker CLI.

The tests run in the order of the file, on one swarm.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.local.conftest import Local, wait_for

MANAGERS = ["node1", "node2", "node3"]
LOCKED = "Swarm is encrypted and needs to be unlocked before it can be used."
KEY = re.compile(r"SWMKEY-1-[A-Za-z0-9+/]{43}")


def data_of(swarm: Local, node: str) -> Path:
    """A node's data directory."""
    return swarm.folder / ".demo" / node / "data"


def in_clear(swarm: Local, node: str) -> bool:
    """Whether a node's keys can be read by whoever has its disk."""
    raft_key = (data_of(swarm, node) / "raft.key").read_bytes()
    node_key = (data_of(swarm, node) / "certificates" / "node.crt").read_text()
    return len(raft_key) == 32 and "ENCRYPTED" not in node_key


def sealed(swarm: Local, node: str) -> bool:
    """Whether both keys of a manager are wrapped."""
    raft_key = (data_of(swarm, node) / "raft.key").read_bytes()
    node_key = (data_of(swarm, node) / "certificates" / "node.crt").read_text()
    return len(raft_key) > 32 and node_key.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def unlock(swarm: Local, node: str, key: str) -> subprocess.CompletedProcess[str]:
    """Run `docker swarm unlock` with this key on its input."""
    return subprocess.run(
        ["docker", "-H", f"unix://{swarm.socket(node)}", "swarm", "unlock"],
        input=key + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def unlock_key(swarm: Local, node: str = "node2") -> str:
    """The present key, from a manager that is open."""
    return swarm.docker(node, "swarm", "unlock-key", "-q").stdout.strip()


def local_state(swarm: Local, node: str) -> str:
    """What `docker info` says of a node's part in the swarm; empty while it doesn't answer."""
    words = ["docker", "-H", f"unix://{swarm.socket(node)}", "info"]
    done = subprocess.run(
        [*words, "--format", "{{.Swarm.LocalNodeState}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def locking(swarm: Local) -> Local:
    """The swarm, with autolock on."""
    assert all(in_clear(swarm, node) for node in MANAGERS)
    told = swarm.docker("node1", "swarm", "update", "--autolock=true").stdout
    assert "Swarm updated." in told
    assert KEY.search(told)
    return swarm


def test_keys_on_every_managers_disk_are_wrapped(locking: Local):
    """Workers have nothing to lock."""
    wait_for(lambda: all(sealed(locking, node) for node in MANAGERS), "wrapped keys")
    assert "ENCRYPTED" not in (data_of(locking, "node4") / "certificates/node.crt").read_text()
    assert not (data_of(locking, "node1") / "worker" / "secrets.key").exists()
    shown = locking.docker("node3", "swarm", "unlock-key").stdout
    assert unlock_key(locking) in shown


def test_a_restarted_manager_is_locked_and_says_so(locking: Local):
    """Every command that needs the swarm gets Docker's sentence; the others go on."""
    locking.kill_daemon("node1")
    wait_for(lambda: local_state(locking, "node1") == "locked", "the locked state")
    for words in (["node", "ls"], ["service", "ls"], ["swarm", "unlock-key"], ["secret", "ls"]):
        assert LOCKED in locking.docker("node1", *words, expect=1).stderr
    assert "locked" in locking.docker("node1", "swarm", "leave", expect=1).stderr

    def unreachable() -> bool:
        shown = "{{.Hostname}} {{.ManagerStatus}}"
        listed = locking.docker("node2", "node", "ls", "--format", shown).stdout
        return "node1 Unreachable" in listed

    wait_for(unreachable, "node1 unreachable")


def test_a_wrong_key_opens_nothing(locking: Local):
    """401 for another key, 400 for what is none."""
    other = "SWMKEY-1-" + "A" * 43
    assert "invalid key provided" in unlock(locking, "node1", other).stderr
    assert "invalid key string" in unlock(locking, "node1", "nonsense").stderr
    assert local_state(locking, "node1") == "locked"


def test_the_right_key_opens_it_and_its_tasks_went_on(locking: Local):
    """The node is what it was; a second unlock says that there is nothing to unlock."""
    done = unlock(locking, "node1", unlock_key(locking))
    assert done.returncode == 0, done.stderr
    wait_for(lambda: local_state(locking, "node1") == "active", "the node")
    wait_for(locking.all_ready, "ready nodes")
    again = unlock(locking, "node1", unlock_key(locking))
    assert again.returncode == 1
    assert "swarm is not locked" in again.stderr


def test_a_manager_that_was_down_while_the_key_changed_needs_the_old_one(locking: Local):
    """As with Docker; afterwards it has the new one."""
    old = unlock_key(locking)
    locking.kill_daemon("node3")
    wait_for(lambda: local_state(locking, "node3") == "locked", "the locked state")
    told = locking.docker("node1", "swarm", "unlock-key", "--rotate").stdout
    assert "Successfully rotated manager unlock key." in told
    new = unlock_key(locking)
    assert old != new
    assert unlock(locking, "node3", new).returncode == 1
    assert unlock(locking, "node3", old).returncode == 0
    wait_for(locking.all_ready, "ready nodes")
    locking.kill_daemon("node3")
    wait_for(lambda: local_state(locking, "node3") == "locked", "the locked state")

    def opened() -> bool:
        return unlock(locking, "node3", new).returncode == 0

    assert opened()
    wait_for(locking.all_ready, "ready nodes")


def test_all_managers_locked_at_once_come_back_one_after_the_other(locking: Local):
    """The first one is open before there is a quorum, and reached from the operator's machine."""
    key = unlock_key(locking)
    for node in MANAGERS:
        locking.kill_daemon(node)
    for node in MANAGERS:
        wait_for(lambda: local_state(locking, node) == "locked", "the locked state")  # noqa: B023 - called at once
    refused = locking.swarmops("tunnel", "--", "docker", "node", "ls", expect=1).stderr
    assert "needs to be unlocked" in refused
    for node in MANAGERS:
        words = ["tunnel", "--to", node, "--", "docker", "swarm", "unlock"]
        locking.swarmops(*words, answer=f"{key}\n")
    wait_for(locking.all_ready, "ready nodes")
    listed = json.loads(locking.swarmops("service", "ls", "--format", "json").stdout)
    assert [row["name"] for row in listed] == ["web"]


def test_a_demoted_manager_has_nothing_to_unlock_and_a_promoted_one_has(locking: Local):
    """Keys follow the role."""
    locking.swarmops("node", "promote", "node4")
    wait_for(lambda: sealed(locking, "node4"), "wrapped keys")
    locking.swarmops("node", "demote", "node4")
    crt = data_of(locking, "node4") / "certificates" / "node.crt"
    wait_for(lambda: "ENCRYPTED" not in crt.read_text(), "a key in clear")
    assert not (data_of(locking, "node4") / "raft.key").exists()
    locking.kill_daemon("node4")
    wait_for(locking.all_ready, "ready nodes")


def test_with_autolock_off_a_restart_needs_no_key(locking: Local):
    """Keys are in clear again, and the old key is gone."""
    locking.docker("node1", "swarm", "update", "--autolock=false")
    wait_for(lambda: all(in_clear(locking, node) for node in MANAGERS), "keys in clear")
    told = locking.docker("node1", "swarm", "unlock-key", expect=1).stderr
    assert "no unlock key is set" in told
    locking.kill_daemon("node2")
    wait_for(lambda: local_state(locking, "node2") == "active", "the node")
    wait_for(locking.all_ready, "ready nodes")
