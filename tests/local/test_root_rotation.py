"""A new root for a running swarm: every node changes over and nobody loses touch.

The tests run in the order of the file, on one swarm, with the real docker CLI.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from swarmops.pki.root import new_root
from swarmops.pki.tokens import root_digest
from tests.local.conftest import Local, wait_for

NODES = ["node1", "node2", "node3", "node4", "node5"]


def swarm_object(swarm: Local) -> dict[str, Any]:
    """What a manager's API says of the swarm, join tokens included."""
    url = "http://localhost/swarm"
    done = subprocess.run(
        ["curl", "-sf", "--unix-socket", str(swarm.socket("node1")), url],
        capture_output=True,
        check=True,
        timeout=20,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trusted(swarm: Local, node: str) -> str:
    """The root on a node's disk."""
    return (swarm.folder / ".demo" / node / "data" / "certificates" / "ca.crt").read_text()


def rotate(swarm: Local, *flags: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `docker swarm ca --rotate` on a manager."""
    return swarm.docker("node2", "swarm", "ca", "--rotate", *flags, expect=expect)


def test_every_node_changes_over_while_the_swarm_works_on(swarm: Local):
    """The command shows progress and ends; writes succeed all the while; no node goes down."""
    before = swarm_object(swarm)
    failed: list[str] = []
    ended = threading.Event()

    def use() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            node = NODES[number % 3]
            done = subprocess.run(
                [
                    *("docker", "-H", f"unix://{swarm.socket(node)}"),
                    *("node", "update", f"--label-add=n={number}", "node5"),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            listed = swarm.docker(node, "node", "ls", "--format", "{{.Status}}").stdout
            if done.returncode and "out of sequence" not in done.stderr:
                failed.append(done.stderr)
            if set(listed.split()) != {"Ready"}:
                failed.append(listed)
            time.sleep(0.05)

    user = threading.Thread(target=use)
    user.start()
    try:
        told = rotate(swarm)
    finally:
        ended.set()
        user.join()
    assert failed == []
    assert "rotated TLS certificates" in told.stdout + told.stderr
    after = swarm_object(swarm)
    root = after["TLSInfo"]["TrustRoot"]
    assert root != before["TLSInfo"]["TrustRoot"]
    assert not after["RootRotationInProgress"]
    assert {trusted(swarm, node) for node in NODES} == {root}
    assert after["JoinTokens"]["Worker"].split("-")[2] == root_digest(root)
    assert after["JoinTokens"]["Worker"] != before["JoinTokens"]["Worker"]
    assert swarm.docker("node3", "swarm", "ca").stdout.strip() == root.strip()


def test_nodes_that_restart_find_each_other_with_the_new_root(swarm: Local):
    """All managers at once, and a worker."""
    for node in NODES[:4]:
        swarm.kill_daemon(node)
    wait_for(swarm.all_ready, "ready nodes", within_s=30)


def test_a_node_that_is_down_holds_the_rotation_up_until_it_is_back(swarm: Local):
    """Meanwhile every other node has its new certificate, and the old root still counts."""
    old = swarm_object(swarm)["TLSInfo"]["TrustRoot"]
    with swarm.stopped("node5"):
        rotate(swarm, "--detach")

        def issued() -> bool:
            listed = json.loads(swarm.docker("node1", "node", "inspect", *NODES[:4]).stdout)
            wanted = swarm_object(swarm)["TLSInfo"]["CertIssuerPublicKey"]
            seen = {one["Description"]["TLSInfo"]["CertIssuerPublicKey"] for one in listed}
            return seen == {wanted}

        wait_for(issued, "new certificates of the four")
        state = swarm_object(swarm)
        assert state["RootRotationInProgress"]
        assert state["TLSInfo"]["TrustRoot"] == old
        swarm.kill_daemon("node2")  # comes back in the middle of it
    wait_for(lambda: not swarm_object(swarm)["RootRotationInProgress"], "the end of the rotation")
    wait_for(swarm.all_ready, "ready nodes")
    wait_for(lambda: {trusted(swarm, node) for node in NODES} != {old}, "another root")
    wait_for(lambda: len({trusted(swarm, node) for node in NODES}) == 1, "one root")


def test_a_node_that_missed_the_end_still_gets_in_and_learns_the_root(swarm: Local):
    """It trusts the new root because the old one signed it."""
    rotate(swarm, "--detach")

    def changed(node: str) -> bool:
        shown = json.loads(swarm.docker("node1", "node", "inspect", node).stdout)
        wanted = swarm_object(swarm)["TLSInfo"]["CertIssuerPublicKey"]
        return bool(shown[0]["Description"]["TLSInfo"]["CertIssuerPublicKey"] == wanted)

    wait_for(lambda: changed("node4"), "node4's certificate")
    with swarm.stopped("node4"):
        wait_for(lambda: not swarm_object(swarm)["RootRotationInProgress"], "the end")
        root = swarm_object(swarm)["TLSInfo"]["TrustRoot"]
        wait_for(lambda: trusted(swarm, "node3") == root, "the root on the others")
    wait_for(lambda: trusted(swarm, "node4") == root, "the root on the one that was away")
    wait_for(swarm.all_ready, "ready nodes")


def test_a_root_of_ones_own_can_be_brought(swarm: Local, tmp_path: Path):
    """With its key; the swarm never shows the key."""
    own = new_root(datetime.now(UTC))
    cert, key = tmp_path / "ca.crt", tmp_path / "ca.key"
    cert.write_text(own.cert_pem)
    key.write_text(own.key_pem)
    rotate(swarm, f"--ca-cert={cert}", f"--ca-key={key}", "--quiet")
    state = swarm_object(swarm)
    assert state["TLSInfo"]["TrustRoot"] == own.cert_pem
    assert "PRIVATE KEY" not in json.dumps(state)
    rotate(swarm, f"--ca-cert={cert}", f"--ca-key={key}", "--quiet")
    assert swarm_object(swarm)["TLSInfo"] == state["TLSInfo"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--ca-cert={cert}", "--external-ca=protocol=cfssl,url=https://ca.example"],
            "not supported",
        ),
        (["--ca-cert={key}", "--ca-key={key}"], "can't be read"),
        (["--ca-cert={cert}", "--ca-key={key}"], "does not belong to the CA certificate"),
    ],
)
def test_what_can_not_be_a_root_is_refused(
    swarm: Local, tmp_path: Path, flags: list[str], said: str
):
    """And changes nothing."""
    before = swarm_object(swarm)
    one, other = (new_root(datetime.now(UTC)) for _ in range(2))
    cert, key = tmp_path / "ca.crt", tmp_path / "ca.key"
    cert.write_text(one.cert_pem)
    key.write_text(other.key_pem)
    told = rotate(swarm, *(flag.format(cert=cert, key=key) for flag in flags), expect=1)
    assert said in told.stderr
    assert swarm_object(swarm) == before
