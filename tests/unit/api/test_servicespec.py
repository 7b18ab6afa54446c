"""Specs are stored in Docker's normal form: as measured on Docker Engine 20.10."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from swarmops.api.servicespec import filled, in_stored_order
from swarmops.model.service import ContainerSpec, SecretReference, ServiceSpec, TaskSpec

STORED_CONTAINER = {"Image": "busybox:1", "Isolation": "default"}
STORED: dict[str, Any] = {
    "Name": "web",
    "Labels": {},
    "TaskTemplate": {"ContainerSpec": STORED_CONTAINER, "ForceUpdate": 0, "Runtime": "container"},
    "Mode": {"Replicated": {"Replicas": 1}},
}


def stored(**changes: Any) -> dict[str, Any]:
    """Return what Docker stores of the smallest spec, with changes in the task template."""
    return STORED | {"TaskTemplate": STORED["TaskTemplate"] | changes}


def sent(container: Any = None, **template: Any) -> dict[str, Any]:
    """Return the smallest spec with changes."""
    return {
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"} | (container or {})} | template,
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (sent(), stored()),
        (
            sent(
                {"Env": [], "Hosts": [], "User": "", "TTY": False, "Labels": {}, "Isolation": "odd"}
            ),
            stored(),
        ),
        (
            sent({"Init": False, "StopGracePeriod": 0, "DNSConfig": {}, "Healthcheck": {}}),
            stored(
                ContainerSpec=STORED_CONTAINER
                | {"Init": False, "StopGracePeriod": 0, "DNSConfig": {}, "Healthcheck": {}}
            ),
        ),
        (
            sent(
                Resources={"Limits": {"NanoCPUs": 0}, "Reservations": {"GenericResources": []}},
                Placement={"Constraints": [], "Preferences": [], "MaxReplicas": 0},
                Networks=[],
            ),
            stored(Resources={"Limits": {}, "Reservations": {}}, Placement={}),
        ),
        (
            sent(
                {
                    "Isolation": "HyperV",
                    "Ulimits": [{"Name": "nofile", "Soft": 1}],
                    "Mounts": [
                        {"Target": "/a", "BindOptions": {"NonRecursive": False}},
                        {"Type": "VOLUME", "Target": "/b"},
                        {"Target": "/c", "BindOptions": {"Propagation": "RSlave"}},
                    ],
                }
            ),
            stored(
                ContainerSpec=STORED_CONTAINER
                | {
                    "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 0}],
                    "Mounts": [
                        {"Type": "bind", "Target": "/a"},
                        {"Type": "volume", "Target": "/b"},
                        {
                            "Type": "bind",
                            "Target": "/c",
                            "BindOptions": {"Propagation": "rslave"},
                        },
                    ],
                    "Isolation": "hyperv",
                }
            ),
        ),
        (
            sent(RestartPolicy={}),
            stored(RestartPolicy={"Condition": "any", "MaxAttempts": 0}),
        ),
        (
            sent(RestartPolicy={"Condition": "none", "Delay": 0, "MaxAttempts": 0, "Window": 0}),
            stored(RestartPolicy={"Condition": "none", "Delay": 0, "MaxAttempts": 0, "Window": 0}),
        ),
        (
            sent() | {"EndpointSpec": {"Mode": "", "Ports": []}},
            stored() | {"EndpointSpec": {"Mode": "vip"}},
        ),
        (
            sent() | {"EndpointSpec": {"Ports": [{"TargetPort": 80}]}},
            stored()
            | {
                "EndpointSpec": {
                    "Mode": "vip",
                    "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"}],
                }
            },
        ),
        (
            sent()
            | {
                "EndpointSpec": {
                    "Mode": "dnsrr",
                    "Ports": [{"TargetPort": 80, "Protocol": "UDP", "PublishMode": "HOST"}],
                }
            },
            stored()
            | {
                "EndpointSpec": {
                    "Mode": "dnsrr",
                    "Ports": [{"Protocol": "udp", "TargetPort": 80, "PublishMode": "host"}],
                }
            },
        ),
        (
            sent() | {"UpdateConfig": {"Parallelism": 1, "Delay": 0, "Monitor": 0}},
            stored()
            | {
                "UpdateConfig": {
                    "Parallelism": 1,
                    "FailureAction": "pause",
                    "MaxFailureRatio": 0,
                    "Order": "stop-first",
                }
            },
        ),
        (sent() | {"Mode": {"Global": {}}}, stored() | {"Mode": {"Global": {}}}),
        (
            sent() | {"Mode": {"Replicated": {"Replicas": 0}}},
            stored() | {"Mode": {"Replicated": {"Replicas": 0}}},
        ),
        (
            sent() | {"Mode": {"ReplicatedJob": {"MaxConcurrent": 2}}},
            stored() | {"Mode": {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 2}}},
        ),
        (
            sent({"Secrets": [{"File": {"Name": "s"}, "SecretID": "i", "SecretName": "s"}]}),
            stored(
                ContainerSpec=STORED_CONTAINER
                | {
                    "Secrets": [
                        {
                            "File": {"Name": "s", "UID": "0", "GID": "0", "Mode": 0o444},
                            "SecretID": "i",
                            "SecretName": "s",
                        }
                    ]
                }
            ),
        ),
    ],
)
def test_what_docker_stores(spec: dict[str, Any], expected: dict[str, Any]):
    """Zeros vanish where Go omits them, choices are spelled out, and it is done once for all."""
    once = filled(msgspec.convert(spec, type=ServiceSpec))
    assert msgspec.to_builtins(once) == expected
    assert filled(once) == once


def test_the_order_of_secrets_and_configs_means_nothing():
    """The same ones in another order are the stored ones; others are not, nor more of the same."""

    def using(*names: str) -> ServiceSpec:
        secrets = [SecretReference(secret_id=name, secret_name=name) for name in names]
        container = ContainerSpec(image="busybox:1", secrets=secrets)
        return ServiceSpec(name="web", task_template=TaskSpec(container_spec=container))

    stored = using("a", "b")
    assert in_stored_order(using("b", "a"), stored) == stored
    for other in (using("b", "c"), using("b"), using("b", "a", "a"), using("b", "b")):
        assert in_stored_order(other, stored) == other
