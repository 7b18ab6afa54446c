"""Scenarios: what is refused at the API's border, in which words and with which status."""

import json

from tests.lab.oracle.case import Case
from tests.lab.oracle.table import scenario

NONE = ("--replicas", "0")
RPC = "Error response from daemon: rpc error: code = "
BAD = f"{RPC}InvalidArgument desc = "


@scenario
def name_that_exists(case: Case) -> None:
    """Names of services are unique, whatever their case."""
    web = case.create(*NONE)
    conflict = "AlreadyExists desc = name conflicts with an existing object: service"
    assert case.create_refused(*NONE) == (1, f"{RPC}{conflict} {web} already exists")
    refused = case.create_refused(*NONE, "--name", web.upper())
    assert refused == (1, f"{RPC}{conflict} {web.upper()} already exists")


@scenario
def names(case: Case) -> None:
    """Names are DNS labels of 63 characters at most."""
    for name in ("a.b", "-a", "a_b-"):
        refused = case.create_refused(*NONE, f"--name={name}")
        assert refused == (1, f"{BAD}name must be valid as a DNS name component"), name
    refused = case.create_refused(*NONE, f"--name={'x' * 64}")
    assert refused == (1, f"{BAD}name must be 63 characters or fewer")


@scenario
def image_references(case: Case) -> None:
    """An image's name must be one."""
    refused = case.create_refused(*NONE, image="No/Such:::thing")
    assert refused.rc == 1
    assert 'ContainerSpec: "No/Such:::thing" is not a valid repository/tag' in refused.said


@scenario
def constraints(case: Case) -> None:
    """A constraint has a key, an operator and a value."""
    for text, said in (
        ("node.role", "constraint expected one operator from ==, !="),
        ("node.role=manager", "constraint expected one operator from ==, !="),
        ("a!b==c", "key 'a!b' is invalid"),
        ("node.role==a;b", "value 'a;b' is invalid"),
    ):
        refused = case.create_refused(*NONE, "--constraint", text)
        assert refused == (1, f"{RPC}Unknown desc = {said}")


@scenario
def resources(case: Case) -> None:
    """CPUs from 0.001, memory from 4 MiB; no fewer processes than none."""
    for option, value, said in (
        ("--limit-cpu", "0.0005", "invalid cpu value 0.0005: Must be at least 0.001"),
        ("--reserve-cpu", "0.0005", "invalid cpu value 0.0005: Must be at least 0.001"),
        ("--limit-memory", "1MB", "invalid memory value 1048576: Must be at least 4MiB"),
        ("--reserve-memory", "1MB", "invalid memory value 1048576: Must be at least 4MiB"),
    ):
        assert case.create_refused(*NONE, option, value) == (1, f"{BAD}{said}")


@scenario
def restart_policies(case: Case) -> None:
    """Conditions are known ones, durations aren't negative."""
    refused = case.create_refused(*NONE, "--restart-condition", "sometimes")
    assert refused.rc == 1
    assert 'invalid RestartCondition: "sometimes"' in refused.said
    refused = case.create_refused(*NONE, "--restart-delay", "-1s")
    assert refused == (1, f"{BAD}TaskSpec: restart-delay cannot be negative")
    refused = case.create_refused(*NONE, "--restart-window", "-1s")
    assert refused == (1, f"{BAD}TaskSpec: restart-window cannot be negative")


@scenario
def update_configs(case: Case) -> None:
    """Update settings are within their bounds."""
    for option, value, said in (
        ("--update-delay", "-1s", "TaskSpec: update-delay cannot be negative"),
        ("--update-monitor", "-1s", "TaskSpec: update-monitor cannot be negative"),
        (
            "--update-max-failure-ratio",
            "2",
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
    ):
        assert case.create_refused(*NONE, option, value) == (1, f"{BAD}{said}"), option
    refused = case.create_refused(*NONE, "--update-failure-action", "shrug")
    assert refused.rc == 1
    assert "unrecognized update failure action shrug" in refused.said
    refused = case.create_refused(*NONE, "--update-order", "both-first")
    assert refused.rc == 1
    assert "both-first" in refused.said


@scenario
def jobs_have_no_updates(case: Case) -> None:
    """A job can't have an update config, nor be rolled back or scaled like a service."""
    body = {
        "Name": case.keep("service", case.name()),
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"}},
        "Mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 1}},
        "UpdateConfig": {"Parallelism": 1},
    }
    status, said = case.side.api("POST", "/services/create", body)
    assert (status, said["message"]) == (
        400,
        "rpc error: code = InvalidArgument desc = Jobs may not have an update config",
    )


@scenario
def mode_and_name_stay(case: Case) -> None:
    """A service keeps its mode and its name."""
    web = case.create(*NONE)
    found = case.service(web)
    path = f"/services/{web}/update?version={found['Version']['Index']}"
    status, said = case.side.api("POST", path, found["Spec"] | {"Mode": {"Global": {}}})
    assert (status, said["message"]) == (
        501,
        "rpc error: code = Unimplemented desc = service mode change is not allowed",
    )
    status, said = case.side.api("POST", path, found["Spec"] | {"Name": f"{web}-else"})
    assert (status, said["message"]) == (
        501,
        "rpc error: code = Unimplemented desc = renaming services is not supported",
    )


@scenario
def stale_versions(case: Case) -> None:
    """An update names the version that it changes."""
    web = case.create(*NONE)
    found = case.service(web)
    index = found["Version"]["Index"]
    case.update(web, "--label-add", "x=y")
    path = f"/services/{web}/update?version="
    status, said = case.side.api("POST", f"{path}{index}", found["Spec"])
    assert (status, said["message"]) == (
        500,
        "rpc error: code = Unknown desc = update out of sequence",
    )
    status, said = case.side.api("POST", f"{path}", found["Spec"])
    assert status == 400
    assert "invalid service version ''" in said["message"]


@scenario
def mounts_refused(case: Case) -> None:
    """Two mounts at one place, and types of mount that don't exist."""
    refused = case.create_refused(
        *NONE, "--mount", "type=tmpfs,target=/x", "--mount", "type=volume,target=/x"
    )
    assert refused == (1, f"{BAD}ContainerSpec: duplicate mount point: /x")
    refused = case.create_refused(*NONE, "--mount", "type=magic,target=/x,source=/y")
    assert refused.rc == 1
    assert "magic" in refused.said


@scenario
def templates_refused(case: Case) -> None:
    """A template that no task could fill in, and mounts that are at one place once it is filled."""
    unknown = case.by_side(
        ours="the template {{.No}} is unknown: use one of .Node.Hostname, ",
        docker="template: expansion:1",
        because="Templates",
    )
    unclosed = case.by_side(
        ours="the template '{{.Task.Slot' has an action without an end",
        docker="template: expansion:1: unclosed action",
        because="Templates",
    )
    place = "type=volume,source=v,target=/v"
    for option, said in (
        ("--env=A={{.No}}", f'expanding env failed: expanding env "A={{{{.No}}}}": {unknown}'),
        ("--hostname={{.No}}", f"expanding hostname failed: {unknown}"),
        ("--hostname={{.Task.Slot", f"expanding hostname failed: {unclosed}"),
        (
            "--mount=type=volume,source={{.No}},target=/v",
            f'expanding mounts failed: expanding mount source "{{{{.No}}}}": {unknown}',
        ),
        (
            f"--mount={place}{{{{.No}}}}",
            f'expanding mounts failed: expanding mount target "/v{{{{.No}}}}": {unknown}',
        ),
        (
            f"--mount={place},volume-label=a={{{{.No}}}}",
            (
                "expanding mounts failed: expanding volume labels: "
                f'expanding map entry "a"="{{{{.No}}}}": {unknown}'
            ),
        ),
    ):
        refused = case.create_refused(*NONE, option)
        assert refused.rc == 1
        assert refused.said.startswith(f"{BAD}{said}"), refused.said
    twice = (f"--mount={place}1", f"--mount={place}{{{{.Task.Slot}}}}")
    refused = case.create_refused(*NONE, *twice)
    assert refused == (1, f"{BAD}ContainerSpec: duplicate mount point: /v1")


@scenario
def healthchecks_refused(case: Case) -> None:
    """Times of a healthcheck are a millisecond or more."""
    refused = case.create_refused(*NONE, "--health-cmd", "true", "--health-interval", "10us")
    assert refused.rc == 1
    assert "Interval in HealthConfig cannot be less than 1ms" in refused.said
    refused = case.create_refused(*NONE, "--health-cmd", "true", "--health-retries", "-1")
    assert refused.rc == 1
    assert "--health-retries cannot be negative" in refused.said or "Retries" in refused.said


@scenario
def what_is_not_there(case: Case) -> None:
    """Commands on a service that isn't there say so and exit with 1."""
    for words, said in (
        (("service", "rm", "nothing"), "service nothing not found"),
        (("service", "update", "nothing"), "service nothing not found"),
        (("service", "scale", "nothing=2"), "service nothing not found"),
        (("service", "rollback", "nothing"), "service nothing not found"),
        (("service", "inspect", "nothing"), "no such service: nothing"),
        (("service", "ps", "nothing"), "no such service: nothing"),
        (("service", "logs", "nothing"), "no such task or service: nothing"),
    ):
        refused = case.refused(*words)
        assert refused.rc == 1
        assert said in refused.said


@scenario
def network_that_is_missing(case: Case) -> None:
    """A service can't join a network that isn't there."""
    refused = case.create_refused(*NONE, "--network", "nothing")
    assert refused.rc == 1
    assert "network nothing not found" in refused.said


@scenario
def global_services_are_not_scaled(case: Case) -> None:
    """Scaling is for what has replicas."""
    web = case.create("--mode", "global", "--constraint", "node.id==none")
    refused = case.refused("service", "scale", f"{web}=2")
    assert refused.rc == 1
    assert f"{web}: scale can only be used with replicated or replicated-job mode" in refused.said


@scenario
def bad_requests(case: Case) -> None:
    """What is no JSON, no filter or no path is refused with Docker's status."""
    status, said = case.side.api("GET", "/services?filters=nonsense")
    assert status == 400
    filters = json.dumps({"nonsense": ["x"]})
    status, said = case.side.api("GET", f"/services?filters={filters.replace(' ', '')}")
    assert (status, said["message"].lower()) == (400, "invalid filter 'nonsense'")
    status, said = case.side.api("GET", "/nonsense")
    assert (status, said["message"]) == (404, "page not found")
    status, said = case.side.api("POST", "/services/create")
    assert status == 400
    status, said = case.side.api("POST", "/services/create", {"Name": 7})
    assert status == 400
    status, said = case.side.api("POST", "/services/create", {})
    assert status == 400
