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
            "Mounts": [
                {
                    "Type": "tmpfs",
                    "Target": "/x",
                    "TmpfsOptions": {"SizeBytes": 1, "Options": [["noexec"], ["uid", "1"]]},
                },
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/v",
                    "VolumeOptions": {
                        "Labels": {"a": "b"},
                        "DriverConfig": {"Name": "local", "Options": {"type": "nfs", "o": "ro"}},
                    },
                },
            ],
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
NETWORK: dict[str, Any] = {
    "Name": "full",
    "Driver": "overlay",
    "Labels": {"a": "b"},
    "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097", "encrypted": ""},
    "IPAM": {
        "Driver": "default",
        "Options": {"a": "b"},
        "Config": [
            {
                "Subnet": "10.9.0.0/16",
                "IPRange": "10.9.1.0/24",
                "Gateway": "10.9.0.1",
                "AuxiliaryAddresses": {"a": "10.9.0.2"},
            }
        ],
    },
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


@pytest.mark.parametrize("seed", range(2))
async def test_no_mutation_of_a_network_is_an_internal_error(manager: Api, seed: int):
    """Its options and its subnets' too; one that was made is shown, joined and removed."""
    rng = random.Random(seed)
    stored = 0
    for _ in range(100):
        spec = mutated(NETWORK, rng)
        answer = await manager.ask("POST", "/networks/create", spec)
        assert "internal error" not in str(answer.body), spec
        if answer.status != 201:
            continue
        stored += 1
        shown = await manager.get(f"/networks/{answer.body['Id']}?verbose=true")
        options = {"Target": shown["Id"], "DriverOpts": {"a": "b"}}
        template = {"ContainerSpec": {"Image": "busybox"}, "Networks": [options]}
        joined = await manager.ask(
            "POST", "/services/create", {"Name": "joins", "TaskTemplate": template}
        )
        assert joined.status == 201, (joined, spec)
        found = await manager.get("/services/joins")
        assert found["Spec"]["TaskTemplate"]["Networks"] == [options]
        assert (await manager.ask("DELETE", "/services/joins")).status == 200
        assert (await manager.ask("DELETE", f"/networks/{shown['Id']}")).status == 204
    assert stored > 5
