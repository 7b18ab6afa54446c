"""Service specs that Docker refuses are refused with Docker's texts, and good ones are not."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from swarmops.api.images import is_reference
from swarmops.api.validate import check_constraint, check_name, check_service
from swarmops.errors import ApiError
from swarmops.model.service import ServiceSpec

GOOD: dict[str, Any] = {
    "Name": "web",
    "TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"}},
}
INVALID = "rpc error: code = InvalidArgument desc = "


def container(**fields: Any) -> dict[str, Any]:
    """Return a task template whose container has these fields."""
    return {"TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"} | fields}}


def template(**fields: Any) -> dict[str, Any]:
    """Return a task template with these fields."""
    return {"TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"}} | fields}


def port(published: int, mode: str = "ingress", protocol: str = "tcp") -> dict[str, Any]:
    """Return a published port."""
    return {
        "Protocol": protocol,
        "TargetPort": 80,
        "PublishedPort": published,
        "PublishMode": mode,
    }


def ports(*ports: dict[str, Any], mode: str = "vip") -> dict[str, Any]:
    """Return an endpoint with these ports."""
    return {"EndpointSpec": {"Mode": mode, "Ports": list(ports)}}


UNKNOWN = (
    "the template {{.No.Such}} is unknown: use one of .Node.Hostname, .Node.ID, "
    ".Node.Platform.Architecture, .Node.Platform.OS, .Service.ID, .Service.Name, .Task.ID, "
    ".Task.Name, .Task.Slot, .Service.Labels.<label>."
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Name": ""}, INVALID + "name must be valid as a DNS name component"),
        ({"Name": "-web"}, INVALID + "name must be valid as a DNS name component"),
        ({"Name": "a.b"}, INVALID + "name must be valid as a DNS name component"),
        ({"Name": "web\n"}, INVALID + "name must be valid as a DNS name component"),
        ({"Name": "x" * 64}, INVALID + "name must be 63 characters or fewer"),
        ({"TaskTemplate": {}}, "mismatched Runtime and *Spec fields"),
        (
            {"TaskTemplate": {"ContainerSpec": {}}},
            INVALID + "ContainerSpec: image reference must be provided",
        ),
        (
            container(Image="Bad Image"),
            INVALID + 'ContainerSpec: "Bad Image" is not a valid repository/tag',
        ),
        (
            container(Mounts=[{"Target": "/a"}, {"Target": "/a"}]),
            INVALID + "ContainerSpec: duplicate mount point: /a",
        ),
        (
            container(Mounts=[{"Target": "/a1"}, {"Target": "/a{{.Task.Slot}}"}]),
            INVALID + "ContainerSpec: duplicate mount point: /a1",
        ),
        (
            container(Env=["A={{.No.Such}}"]),
            f'{INVALID}expanding env failed: expanding env "A={{{{.No.Such}}}}": {UNKNOWN}',
        ),
        (container(Hostname="{{.No.Such}}"), f"{INVALID}expanding hostname failed: {UNKNOWN}"),
        (
            container(Hostname="h{{.Task.Slot"),
            (
                f"{INVALID}expanding hostname failed: "
                "the template 'h{{.Task.Slot' has an action without an end: write }} there."
            ),
        ),
        (
            container(Mounts=[{"Source": "{{.No.Such}}", "Target": "/a"}]),
            (
                f"{INVALID}expanding mounts failed: "
                f'expanding mount source "{{{{.No.Such}}}}": {UNKNOWN}'
            ),
        ),
        (
            container(Mounts=[{"Source": "v", "Target": "/{{.No.Such}}"}]),
            (
                f"{INVALID}expanding mounts failed: "
                f'expanding mount target "/{{{{.No.Such}}}}": {UNKNOWN}'
            ),
        ),
        (
            container(
                Mounts=[{"Target": "/a", "VolumeOptions": {"Labels": {"l": "{{.No.Such}}"}}}]
            ),
            (
                f"{INVALID}expanding mounts failed: expanding volume labels: "
                f'expanding map entry "l"="{{{{.No.Such}}}}": {UNKNOWN}'
            ),
        ),
        (container(Mounts=[{"Type": "weird"}]), 'invalid MountType: "weird"'),
        (
            container(Mounts=[{"Target": "/a", "BindOptions": {"Propagation": "odd"}}]),
            'invalid MountPropagation: "odd"',
        ),
        (template(Runtime="odd"), "unsupported runtime"),
        (template(Runtime="attachment"), "unsupported runtime"),
        (template(Runtime="plugin"), "mismatched Runtime and *Spec fields"),
        (
            container(Healthcheck={"Interval": 5}),
            INVALID + "ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
        ),
        (
            container(Healthcheck={"Retries": -1}),
            INVALID + "ContainerSpec: Retries in HealthConfig cannot be negative",
        ),
        (
            template(Resources={"Limits": {"NanoCPUs": 500_000}}),
            INVALID + "invalid cpu value 0.0005: Must be at least 0.001",
        ),
        (
            template(Resources={"Reservations": {"MemoryBytes": 4_194_303}}),
            INVALID + "invalid memory value 4194303: Must be at least 4MiB",
        ),
        (
            template(RestartPolicy={"Delay": -1}),
            INVALID + "TaskSpec: restart-delay cannot be negative",
        ),
        (
            template(RestartPolicy={"Window": -1}),
            INVALID + "TaskSpec: restart-window cannot be negative",
        ),
        (
            {"Mode": {"Global": {}, "Replicated": {}}},
            "must specify only one service mode",
        ),
        (
            {"Mode": {"Replicated": {"Replicas": 100_001}}},
            INVALID
            + "Mode.Replicated.Replicas: 100001 tasks are more than the 100000 that are allowed",
        ),
        (
            {"Mode": {"ReplicatedJob": {}}, "UpdateConfig": {}},
            INVALID + "Jobs may not have an update config",
        ),
        ({"UpdateConfig": {"FailureAction": "x"}}, "unrecognized update failure action x"),
        ({"RollbackConfig": {"Order": "x"}}, "unrecognized rollback order x"),
        ({"UpdateConfig": {"Delay": -1}}, INVALID + "TaskSpec: update-delay cannot be negative"),
        (
            {"UpdateConfig": {"MaxFailureRatio": 1.5}},
            INVALID + "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (
            ports(port(80), mode="dnsrr"),
            INVALID + "EndpointSpec: port published with ingress mode can't be used with "
            "dnsrr mode",
        ),
        (
            ports(port(80), port(80, "host")),
            INVALID + "EndpointSpec: duplicate published ports provided",
        ),
        (ports(port(65_536)), "invalid port number 65536"),
        (ports(port(80, "tunnel")), 'invalid PublishMode: "tunnel"'),
        (ports(port(80, protocol="icmp")), 'invalid protocol "icmp" of a port'),
        (ports(mode="magic"), 'invalid resolution mode: "magic"'),
    ],
)
def test_bad_specs_are_refused(change: dict[str, Any], message: str):
    """Each rule has its own text, and all are 400."""
    with pytest.raises(ApiError) as refused:
        check_service(msgspec.convert(GOOD | change, type=ServiceSpec))
    assert (refused.value.status, refused.value.message) == (400, message)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Name": "a_b-9"},
        {"Name": "x" * 63},
        {"Mode": {"Global": {}}},
        {"Mode": {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 9}}},
        {"UpdateConfig": {"Parallelism": 0, "FailureAction": "rollback", "Order": "start-first"}},
        template(Resources={"Limits": {"NanoCPUs": 0, "MemoryBytes": 4_194_304}}),
        template(Placement={"Constraints": ["node.labels.disk==ssd", "node.ip != 10.0.0.0/8"]}),
        ports(port(80), port(80, protocol="udp"), port(0), port(0)),
        ports(port(80, "host"), mode="dnsrr"),
        container(Image="host"),
        container(
            Mounts=[{"Type": "Bind", "Target": "/a", "BindOptions": {"Propagation": "RSLAVE"}}]
        ),
        ports(port(80, "HOST", "UDP"), mode="dnsrr"),
        template(Runtime="container"),
        container(
            Hostname="{{.Node.Hostname}}-{{.Task.Slot}}",
            Env=["A={{.Service.Labels.any}}", 'B={{index .Service.Labels "x.y"}}'],
            Mounts=[{"Source": "v{{.Task.Slot}}", "Target": f"/{n}"} for n in range(2)],
        ),
    ],
)
def test_good_specs_pass(change: dict[str, Any]):
    """What Docker takes is taken."""
    check_service(msgspec.convert(GOOD | change, type=ServiceSpec))


@pytest.mark.parametrize(
    ("constraint", "problem"),
    [
        ("node.role", "constraint expected one operator from ==, !="),
        ("node role==x", "key 'node role' is invalid"),
        ("==x", "key '' is invalid"),
        ("node.id==", "value '' is invalid"),
        ("node.id==a>b", "value 'a>b' is invalid"),
        ("node.id==~x", "value '~x' is invalid"),
    ],
)
def test_constraints_that_are_none(constraint: str, problem: str):
    """The part that is wrong is named; the status is Docker's, though the fault is the user's."""
    with pytest.raises(ApiError) as refused:
        check_constraint(constraint)
    expected = (500, f"rpc error: code = Unknown desc = {problem}")
    assert (refused.value.status, refused.value.message) == expected


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ("busybox", True),
        ("busybox:1.36", True),
        ("registry.example:5000/a/b_c:v1", True),
        ("[fd00::1]:5000/a:1", True),
        ("busybox:1@sha256:" + "0" * 64, True),
        ("busybox@sha256:123", False),
        ("Busybox", False),
        ("a//b", False),
        ("a:", False),
        ("a b", False),
        ("x" * 513, False),
        ("0" * 64, False),
        ("0" * 63, True),
    ],
)
def test_image_references(image: str, valid: bool):  # noqa: FBT001 - a table's column
    """The grammar is Docker's."""
    assert is_reference(image) is valid


@pytest.mark.parametrize(
    "name",
    ["a" * 100_000 + ".", "a-" * 50_000, "-_" * 50_000],
    ids=("dot", "dash-at-end", "dashes"),
)
def test_a_long_wrong_name_is_refused_in_no_time(name: str):
    """An expression that tried all ways to read it would hold the manager for hours."""
    begun_s = time.process_time()
    with pytest.raises(ApiError, match="DNS name component"):
        check_name(name)
    assert time.process_time() - begun_s < 1


@pytest.mark.parametrize(
    "wrong",
    ["x" * 100_000 + "~", "x " * 50_000 + "~", "x" * 100_000 + "\0"],
    ids=("tilde", "spaces", "zero"),
)
def test_a_long_wrong_constraint_is_refused_in_no_time(wrong: str):
    """So is a value that has all that may be in one but for its last character."""
    begun_s = time.process_time()
    with pytest.raises(ApiError, match="is invalid"):
        check_constraint(f"node.labels.a=={wrong}")
    assert time.process_time() - begun_s < 1
