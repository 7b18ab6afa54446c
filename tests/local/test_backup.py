"""A swarm's state in a file, and back onto a swarm that is new in every respect."""

from __future__ import annotations

import json
from pathlib import Path

from tests.local.conftest import Local, wait_for

SERVICE = [
    *("service", "create", "--detach", "--name", "reader", "--secret", "token"),
    *("--config", "greeting", "--label", "team=web", "--replicas", "2"),
    *("host", "sh", "-c", 'cat "$SWARMOPS_SECRETS_DIR/token"; exec sleep 1000'),
]


def said(swarm: Local) -> str:
    """Return what the service prints: its secret."""
    return swarm.swarmops("service", "logs", "reader").stdout


def ready(swarm: Local) -> None:
    """Wait until both tasks have printed."""
    wait_for(lambda: said(swarm).count("open sesame") >= 2, "the secret in the output")


def test_a_backup_comes_back_on_a_swarm_that_is_new(local: Local, tmp_path: Path):
    """Services, what they use, settings, labels: all gone with destroy, all there after restore."""
    local.swarmops("apply", str(local.inventory))
    for kind, name, text in (("secret", "token", "open sesame\n"), ("config", "greeting", "hi\n")):
        path = tmp_path / name
        path.write_text(text)
        local.docker("node1", kind, "create", name, str(path))
    local.docker("node1", "network", "create", "--driver", "overlay", "--label", "a=b", "back")
    local.docker("node1", "node", "update", "--label-add", "disk=ssd", "node4")
    local.docker("node1", "swarm", "update", "--task-history-limit", "3")
    local.docker("node1", *SERVICE)
    ready(local)

    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse\n")
    file = tmp_path / "all.swarmops-backup"
    words = ("--passphrase-file", str(phrase))
    done = local.swarmops("backup", "create", str(file), *words)
    assert "2 services, 1 secrets, 1 configs, 1 networks, 5 nodes" in done.stdout
    assert b"sesame" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    listed = json.loads(local.swarmops("backup", "ls", str(tmp_path), "--format", "json").stdout)
    assert [one["header"]["counts"]["services"] for one in listed] == [2]

    local.swarmops("destroy", "--yes", str(local.inventory))
    done = local.swarmops("backup", "restore", str(file), str(local.inventory), *words)
    assert "service reader: restored" in done.stdout
    ready(local)
    spec = json.loads(local.docker("node1", "service", "inspect", "reader").stdout)[0]["Spec"]
    assert spec["Labels"]["team"] == "web"
    node = json.loads(local.docker("node1", "node", "inspect", "node4").stdout)[0]
    assert node["Spec"]["Labels"]["disk"] == "ssd"
    network = json.loads(local.docker("node1", "network", "inspect", "back").stdout)[0]
    assert network["Labels"] == {"a": "b"}
    limit = "{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}"
    assert local.docker("node1", "info", "--format", limit).stdout.strip() == "3"

    again = local.swarmops("backup", "restore", str(file), *words).stdout
    assert "restored" not in again
    assert "service reader: was there already, left as it is" in again
    assert_settings_in_use_are_asked_about(local, file, words, limit)
    # What apply compares is the playbook's part of it: a restored swarm is as the playbook says.
    local.swarmops("plan", str(local.inventory))


def assert_settings_in_use_are_asked_about(
    local: Local, file: Path, words: tuple[str, ...], limit: str
) -> None:
    """A swarm that runs something keeps its settings and nodes' labels unless a person says so."""
    local.docker("node1", "swarm", "update", "--task-history-limit", "7")
    local.docker("node1", "node", "update", "--label-add", "disk=hdd", "node4")
    refused = local.swarmops("backup", "restore", str(file), *words, expect=1).stderr
    assert (
        "restore would replace what a swarm in use has (the swarm's settings, labels or"
        " availability of node4) and asks first, and nobody is here to answer: give --yes"
    ) in refused
    assert local.docker("node1", "info", "--format", limit).stdout.strip() == "7"
    done = local.swarmops("backup", "restore", "--yes", str(file), *words).stdout
    assert "swarm settings: restored" in done
    assert "node node4: restored" in done
    assert local.docker("node1", "info", "--format", limit).stdout.strip() == "3"


def test_a_wrong_passphrase_and_a_spoilt_file_are_refused(local: Local, tmp_path: Path):
    """One sentence each, and nothing is changed."""
    local.swarmops("apply", str(local.inventory))
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("right")
    wrong.write_text("wrong")
    file = tmp_path / "all.swarmops-backup"
    local.swarmops("backup", "create", str(file), "--passphrase-file", str(right))
    restore = ("backup", "restore", str(file), "--passphrase-file")
    assert "passphrase is wrong" in local.swarmops(*restore, str(wrong), expect=1).stderr
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"nodes":5', b'"nodes":9'))
    assert "the file is spoilt" in local.swarmops(*restore, str(right), expect=1).stderr
    file.write_bytes(b"something else\n")
    assert "is no backup of swarmops" in local.swarmops(*restore, str(right), expect=1).stderr
