"""Specs with something odd in them are stored or refused; none is an internal error."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from tests.unit.api.conftest import Api

FULL: dict[str, Any] = {
    "Name": "full",
    "Labels": {"a": "b"},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "busybox:1",
            "Args": ["sleep", "9"],
            "Env": ["A=B"],
            "Init": True,
            "StopGracePeriod": 1,
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Retries": 3},
            "Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1}}],
            "DNSConfig": {"Nameservers": ["10.0.0.1"]},
            "Privileges": {"SELinuxContext": {"Disable": True}},
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
            "Sysctls": {"a": "b"},
        },
        "Resources": {
            "Limits": {"NanoCPUs": 10**9, "MemoryBytes": 2**30, "Pids": 9},
            "Reservations": {
                "GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}]
            },
        },
        "RestartPolicy": {"Condition": "any", "Delay": 1, "MaxAttempts": 2, "Window": 3},
        "Placement": {
            "Constraints": ["node.role==worker"],
            "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.z"}}],
            "MaxReplicas": 2,
            "Platforms": [{"OS": "linux"}],
        },
        "Networks": [],
        "LogDriver": {"Name": "json-file", "Options": {"a": "b"}},
        "ForceUpdate": 1,
        "Runtime": "container",
    },
    "Mode": {"Replicated": {"Replicas": 2}},
    "UpdateConfig": {"Parallelism": 1, "Delay": 1, "MaxFailureRatio": 0.5, "Order": "stop-first"},
    "EndpointSpec": {"Mode": "vip", "Ports": [{"TargetPort": 80, "PublishedPort": 80}]},
}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    1e308,
    "",
    "x",
    "\x00",
    "\ud7ff\U0001f600",
    "x" * 300,
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"Name": {"x": []}},
]


def mutated(value: Any, rng: random.Random) -> Any:
    """Return the value with one part, however deep, replaced by something odd."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.15:
        return rng.choice(ODD)
    changed = copy.copy(value)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    changed[key] = mutated(value[key], rng)
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_no_mutation_is_an_internal_error(manager: Api, seed: int):
    """Whatever is stored can be listed, inspected, sent back and removed."""
    rng = random.Random(seed)
    stored = 0
    for _ in range(150):
        spec = mutated(FULL, rng)
        answer = await manager.ask("POST", "/services/create", spec)
        assert "internal error" not in str(answer.body), spec
        if answer.status != 201:
            assert answer.status in (400, 500), (answer, spec)
            continue
        stored += 1
        service_id = answer.body["ID"]
        shown = await manager.get(f"/services/{service_id}?insertDefaults=true")
        await manager.get("/services?status=true")
        index = shown["Version"]["Index"]
        again = await manager.ask(
            "POST", f"/services/{service_id}/update?version={index}", shown["Spec"]
        )
        assert again.status == 200, (again, spec)
        assert (await manager.ask("DELETE", f"/services/{service_id}")).status == 200
    assert stored > 10
