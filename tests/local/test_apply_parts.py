"""Plans in files and parts of plans, with real processes; every exit code as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.local.conftest import Local


@pytest.fixture
def plan_file(swarm: Local) -> Path:
    """A plan to run three replicas instead of four."""
    swarm.playbook.write_text(swarm.playbook.read_text().replace("replicas: 4", "replicas: 3"))
    path = swarm.folder / "plan.json"
    swarm.swarmops("plan", str(swarm.inventory), "--out", str(path), expect=2)
    return path


def test_a_reviewed_plan_is_carried_out_once(swarm: Local, plan_file: Path) -> None:
    """Exactly its steps; a second time the world has moved, and nothing is done."""
    saved = json.loads(plan_file.read_text())
    assert [step["id"] for step in saved["plan"]["steps"]] == ["update_service:web"]
    text = swarm.playbook.read_text()
    swarm.playbook.write_text(f"{text}\nhooks: {{before: [{{command: 'touch {plan_file}.ran'}}]}}")
    moved = swarm.swarmops("apply", "--plan", str(plan_file), expect=1)
    assert "the playbook's hooks are others" in moved.stderr
    assert not plan_file.with_name("plan.json.ran").exists()
    swarm.playbook.write_text(text)
    done = swarm.swarmops("apply", "--plan", str(plan_file), "--format", "json")
    assert [step["id"] for step in json.loads(done.stdout)["steps"]] == ["update_service:web"]
    refused = swarm.swarmops("apply", "--plan", str(plan_file), expect=1)
    assert "the world has moved since the plan was made" in refused.stderr
    assert "The log of this run: " in refused.stderr


def test_a_check_changes_nothing(swarm: Local) -> None:
    """Exit code 2 while something needs doing, 0 when nothing does."""
    swarm.swarmops("apply", "--check", str(swarm.inventory))
    text = swarm.playbook.read_text()
    swarm.playbook.write_text(text.replace("replicas: 3", "replicas: 2"))
    for _ in range(2):
        swarm.swarmops("apply", "--check", str(swarm.inventory), expect=2)


def test_a_part_is_done_and_no_more(swarm: Local) -> None:
    """Without services, then only them."""
    done = swarm.swarmops("apply", str(swarm.inventory), "--limit", "all")
    assert "Nothing needs doing" in done.stdout
    done = swarm.swarmops("apply", str(swarm.inventory), "--only", "services", "-v")
    assert "web: updating the service …" in done.stderr
    swarm.swarmops("plan", str(swarm.inventory))


def test_a_dead_host_outside_of_the_limit_is_no_failure(swarm: Local) -> None:
    """Inside it, it is: exit code 3, and the host is named."""
    text = swarm.inventory.read_text()
    ghost = "{ansible_connection: ssh, ansible_host: 127.255.255.254, address: 127.9.9.9}"
    swarm.inventory.write_text(
        text.replace("  children:\n", f"  hosts:\n    ghost: {ghost}\n  children:\n", 1)
    )
    try:
        swarm.swarmops("apply", str(swarm.inventory), "--limit", "all:!ghost")
        failed = swarm.swarmops("apply", str(swarm.inventory), expect=3)
        assert "Error: ghost: " in failed.stderr
    finally:
        swarm.inventory.write_text(text)


def test_fewer_managers_are_asked_about_first(swarm: Local) -> None:
    """Nobody is there to answer: nothing is done without --yes."""
    text = swarm.playbook.read_text()
    swarm.playbook.write_text(text.replace("managers: 3", "managers: 1"))
    refused = swarm.swarmops("apply", str(swarm.inventory), expect=1)
    assert "give --yes" in refused.stderr
    swarm.swarmops("apply", str(swarm.inventory), "--yes")
    managers = [row for row in swarm.nodes().values() if row["role"] == "manager"]
    assert len(managers) == 1
    swarm.playbook.write_text(text)
    swarm.swarmops("apply", str(swarm.inventory))
