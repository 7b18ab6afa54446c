"""Services in a plan: when they are made, what of them is updated, and what is pruned."""

from __future__ import annotations

import msgspec
import pytest

from swarmops.fleet.spec_diff import labelled
from swarmops.fleet.steps import StepKind
from swarmops.model.object import ObjectVersion
from swarmops.model.service import Service, ServiceSpec
from tests.unit.fleet.worlds import M1, plan, play, seen


@pytest.mark.parametrize(
    ("playbook", "removed"),
    [
        (M1, []),
        (M1 + "\nprune: true", ["remove_service:web"]),
        (M1 + "\nprune: true\nservices: {web: {image: host, command: a}}", []),
    ],
)
def test_prune(playbook: str, removed: list[str]):
    """Only what this playbook made and has no more is removed, only if it says so, and asked."""
    ours = labelled(ServiceSpec(name="web"), "prod")
    other = labelled(ServiceSpec(name="db"), "other")
    services = tuple(
        Service(id=f"id-{spec.name}", version=ObjectVersion(3), spec=spec)
        for spec in (ours, other, ServiceSpec(name="byhand"))
    )
    result = plan("a=leader", playbook, services)
    steps = [step for step in result.steps if step.kind is StepKind.REMOVE_SERVICE]
    assert [step.id for step in steps] == removed
    assert all(step.destructive for step in steps)


def test_nodes_come_before_services():
    """A service is created when every node is there: no running task ever moves to a later one."""
    result = plan("a=new, b=new", M1 + "\nservices: {web: {image: host, command: sleep 9}}")
    create = result.steps[-1]
    assert create.id == "create_service:web"
    assert create.after == ("init:a",)
    assert set(create.follows) == {"join:b"}


def test_services_wait_for_what_says_where_tasks_may_run():
    """Labels of the playbook and availability come before services; our own label needn't."""
    playbook = "\nservices: {web: {image: host, command: sleep 9}}"
    playbook += "\nnodes: {a: {labels: {disk: ssd}}, c: {availability: drain}}"
    result = plan("a=leader, b=worker, c=worker, d=new", M1 + playbook)
    create = next(step for step in result.steps if step.id == "create_service:web")
    assert set(create.follows) == {"join:d", "update_node:a", "update_node:c"}


WEB = "swarm: {managers: 1}\nservices: {web: {image: 'nginx:1', %s}}"


def running(text: str, **changes: object) -> Service:
    """Return the service as a server keeps it after an apply of this playbook."""
    inventory, _ = seen("a=leader")
    playbook = play(text, inventory)
    spec = msgspec.to_builtins(labelled(playbook.services["web"], playbook.name))
    task = spec["TaskTemplate"]
    task["Runtime"] = "container"
    task["ForceUpdate"] = changes.get("force", 0)
    task["ContainerSpec"]["Isolation"] = "default"
    task["ContainerSpec"]["DNSConfig"] = {}
    task["ContainerSpec"]["Image"] += "@sha256:" + "a" * 64
    task["Placement"] = task.get("Placement", {}) | {
        "Platforms": [{"Architecture": "amd64", "OS": "linux"}]
    }
    for section in ("UpdateConfig", "RollbackConfig"):
        if section in spec:
            spec[section].setdefault("FailureAction", "pause")
    for network in task.get("Networks", []):
        network["Target"] = "0123456789abcdefghijklmno"
    if "Replicated" in spec["Mode"]:
        spec["Mode"]["Replicated"].setdefault("Replicas", changes.get("replicas", 1))
    spec["Labels"].update(changes.get("labels", {}))
    return Service(id="svc", version=ObjectVersion(7), spec=msgspec.convert(spec, ServiceSpec))


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("", "", {}),
        ("deploy: {replicas: 2}", "deploy: {replicas: 2}", {}),
        ("networks: [n], ", "networks: [n]", {}),
        ("deploy: {update_config: {delay: 1s}}", "deploy: {update_config: {delay: 1s}}", {}),
        ("deploy: {replicas: 2}", "deploy: {replicas: 3}", {"Replicas": ("2", "3")}),
        ("command: a", "command: b", {"Args": ('["a"]', '["b"]')}),
        ("command: a", "", {"Args": ('["a"]', None)}),
        ("hostname: h, ", "tty: true", {"Hostname": ("h", None), "TTY": (None, "true")}),
        ("deploy: {labels: {a: 1}}", "", {"Labels.a": ("1", None)}),
        ("networks: [n]", "networks: [n, m]", {}),
        (
            "environment: {A: 1, B: 1, C: 1}",
            "environment: {A: 1, B: 2, D: 1}",
            {"Env.B": ("1", "2"), "Env.C": ("1", None), "Env.D": (None, "1")},
        ),
        ("environment: {A: 1}", "", {"Env.A": ("1", None)}),
    ],
)
def test_services_are_updated_when_the_playbook_changes(
    before: str, after: str, changes: dict[str, tuple[str | None, str | None]]
):
    """What the playbook adds, changes or no longer says is seen; what servers fill in is not."""
    result = plan("a=leader", WEB % after, (running(WEB % before),))
    if before.strip(", ") == after:
        assert result.steps == ()
        return
    (step,) = result.steps
    assert (step.id, step.service_id, step.version) == ("update_service:web", "svc", 7)
    found = {change.what: (change.old, change.new) for change in step.changes}
    found.pop("Labels.swarmops.spec")
    found.pop("Networks", None)
    assert found == changes


def test_what_people_did_to_a_service_stays_where_the_playbook_says_nothing():
    """A scale and a label from the command line are kept; a contradiction is set right."""
    scaled = running(WEB % "", replicas=6, labels={"mine": "1"}, force=3)
    assert plan("a=leader", WEB % "", (scaled,)).steps == ()
    wanted = WEB % "deploy: {replicas: 2}"
    drifted = msgspec.structs.replace(
        running(wanted),
        spec=msgspec.convert(
            msgspec.to_builtins(running(wanted).spec) | {"Mode": {"Replicated": {"Replicas": 5}}},
            ServiceSpec,
        ),
    )
    (step,) = plan("a=leader", wanted, (drifted,)).steps
    assert [change.what for change in step.changes] == ["Replicas"]


def test_an_update_restarts_no_task_that_need_not():
    """What servers filled in is sent back: the pinned image, ForceUpdate, the scale."""
    present = running(WEB % "", replicas=6, force=3)
    (step,) = plan("a=leader", WEB % "deploy: {labels: {a: 1}}", (present,)).steps
    assert step.service is not None
    sent = msgspec.to_builtins(step.service.task_template)
    there = msgspec.to_builtins(present.spec.task_template)
    there["ContainerSpec"].pop("DNSConfig")  # empty, so absent means the same
    assert sent == there
    assert msgspec.to_builtins(step.service.mode) == {"Replicated": {"Replicas": 6}}


def test_a_mode_can_not_be_changed():
    """Docker has no update from replicated to global: the cure is named."""
    result = plan("a=leader", WEB % "deploy: {mode: global}", (running(WEB % ""),))
    assert "remove it first" in result.problems["service web"]
    assert result.steps == ()
