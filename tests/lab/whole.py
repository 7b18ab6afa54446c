"""What must be so after an apply that went wrong and one that then went well."""

import json
from typing import Any

from tests.lab.swarm import Swarm, answers, ask

LOCK = "swarmops.lock"


def whole(swarm: Swarm, managers: int) -> None:
    """Assert that all is as the playbook says, and nothing is left of any lock."""
    swarm.settle()
    assert len(swarm.managers()) == managers
    assert len(swarm.placed()) == 3
    assert all(map(answers, swarm.urls()))
    assert "Nothing needs doing" in swarm.apply().out
    assert not locked(swarm)


def locked(swarm: Swarm) -> dict[str, Any]:
    """Return the swarm's lock, empty if it is free."""
    status, found = ask(swarm.leader(), "GET", "/swarm")
    assert status == 200
    text = (found["Spec"].get("Labels") or {}).get(LOCK, "")
    lock: dict[str, Any] = json.loads(text) if text else {}
    return lock
