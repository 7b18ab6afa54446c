"""What the flags of ``service create`` become."""

from __future__ import annotations

from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.flags import ServiceFlags, published, service_spec
from swarmops.model.base import to_builtins

ONE = {"Replicated": {"Replicas": 1}}


def spec(**flags: Any) -> Any:
    """Return the spec as it goes over the wire."""
    return to_builtins(service_spec(ServiceFlags(image="busybox:1", **flags)))


def test_least() -> None:
    """What was not given is not sent."""
    assert spec() == {"TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"}}, "Mode": ONE}


def test_most() -> None:
    """Each flag lands in Docker's field for it."""
    made = spec(
        name="web",
        args=("sleep", "9"),
        entrypoint=("/bin/sh", "-c"),
        env=("A=1", "B"),
        label=("x=1", "y"),
        container_label=("c=2",),
        constraint=("node.role==worker",),
        placement_pref=("spread=node.labels.zone",),
        replicas_max_per_node=2,
        publish=("8080:80",),
        limit_cpu=500_000_000,
        reserve_memory=1024,
        stop_grace_period=3,
        restart_condition="on-failure",
        restart_max_attempts=0,
        tty=False,
        update_order="start-first",
        replicas=0,
    )
    assert made == {
        "Name": "web",
        "Labels": {"x": "1", "y": ""},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox:1",
                "Labels": {"c": "2"},
                "Command": ["/bin/sh", "-c"],
                "Args": ["sleep", "9"],
                "Env": ["A=1", "B"],
                "TTY": False,
                "StopGracePeriod": 3,
            },
            "Resources": {
                "Limits": {"NanoCPUs": 500_000_000},
                "Reservations": {"MemoryBytes": 1024},
            },
            "RestartPolicy": {"Condition": "on-failure", "MaxAttempts": 0},
            "Placement": {
                "Constraints": ["node.role==worker"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
                "MaxReplicas": 2,
            },
        },
        "Mode": {"Replicated": {"Replicas": 0}},
        "UpdateConfig": {"Order": "start-first"},
        "EndpointSpec": {
            "Ports": [
                {
                    "Protocol": "tcp",
                    "TargetPort": 80,
                    "PublishedPort": 8080,
                    "PublishMode": "ingress",
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        ({"mode": "global"}, {"Global": {}}),
        ({"mode": "global-job"}, {"GlobalJob": {}}),
        (
            {"mode": "replicated-job", "replicas": 3},
            {"ReplicatedJob": {"MaxConcurrent": 3, "TotalCompletions": 3}},
        ),
        (
            {"mode": "replicated-job", "replicas": 3, "max_concurrent": 1},
            {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 3}},
        ),
    ],
)
def test_modes(flags: dict[str, Any], mode: dict[str, Any]) -> None:
    """Each mode is Docker's, and an empty one is kept."""
    assert spec(**flags)["Mode"] == mode


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [(None, 80, "tcp", "ingress")]),
        ("8080:80/udp", [(8080, 80, "udp", "ingress")]),
        ("90-91:80-81", [(90, 80, "tcp", "ingress"), (91, 81, "tcp", "ingress")]),
        ("published=90,target=80,mode=host", [(90, 80, "tcp", "host")]),
        ("target=80,protocol=sctp", [(None, 80, "sctp", "ingress")]),
    ],
)
def test_publish(text: str, ports: list[tuple[Any, ...]]) -> None:
    """A published port may be written short or long."""
    keys = ("PublishedPort", "TargetPort", "Protocol", "PublishMode")
    assert [tuple(port.get(key) for key in keys) for port in published(text)] == ports


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ({"publish": ("x:80",)}, "--publish x:80: 'x' is no port"),
        ({"publish": ("0:80",)}, "'0' is no port"),
        ({"publish": ("80/tpc",)}, "the protocol is tcp, udp or sctp, not 'tpc'"),
        ({"publish": ("80-81:90",)}, "both ranges must have the same length"),
        ({"publish": ("81-80:90",)}, "'81-80' is no port"),
        ({"publish": ("published=80",)}, "say the service's own port"),
        ({"publish": ("target=80,mod=host",)}, "'mod' is not known"),
        ({"publish": ("target=80,mode=hots",)}, "'ingress' or 'host', not 'hots'"),
        ({"label": ("=x",)}, "--label =x: name a key"),
        ({"placement_pref": ("zone",)}, "spread=node.labels.zone"),
        ({"mode": "global", "replicas": 2}, "--replicas is not for --mode global"),
        ({"max_concurrent": 2}, "--max-concurrent is for --mode replicated-job only"),
    ],
)
def test_refusals(flags: dict[str, Any], error: str) -> None:
    """A wrong value is refused with the flag, the cause and the cure."""
    with pytest.raises(InputError, match=error):
        spec(**flags)
