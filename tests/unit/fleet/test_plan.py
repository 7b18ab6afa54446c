"""Tables of (playbook, what was seen) → what is planned, what can't be, and what is asked first."""

from __future__ import annotations

import msgspec
import pytest

from swarmops.fleet.roster import build_roster
from swarmops.fleet.selection import spared
from swarmops.fleet.steps import Plan
from swarmops.model.node import Role
from tests.unit.fleet.worlds import M1, M3, plan, seen, short


@pytest.mark.parametrize(
    ("world", "playbook", "steps"),
    [
        ("a=leader, b=worker", M1, []),
        ("a=bare", M1, ["install:a", "start:a", "init:a manager", "update_node:a"]),
        (
            "a=new, b=new, c=new, d=new",
            M3 + "\nnodes: {d: {availability: drain}}",
            [
                "init:a manager",
                "join:b manager",
                "join:c manager",
                "join:d worker drain",
                "update_node:a",
                "update_node:b",
                "update_node:c",
                "update_node:d",
            ],
        ),
        (
            "a=leader, b=bare",
            M1,
            ["install:b", "start:b", "join:b worker", "update_node:b"],
        ),
        ("a=leader, b=stopped worker", M1, ["start:b"]),
        ("a=leader, b=old worker", M1, ["install:b", "start:b"]),
        (
            "a=leader, b=worker, c=worker",
            M3,
            ["update_node:b:role manager", "update_node:c:role manager"],
        ),
        (
            "a=leader, b=manager, c=manager",
            M1,
            ["update_node:b:role worker", "update_node:c:role worker"],
        ),
        (
            "a=manager, b=manager, c=leader",
            M1,
            ["update_node:a:role worker", "update_node:b:role worker"],
        ),
        (
            "a=leader, b=manager, c=manager, d=worker",
            M3 + "\nnodes: {a: {role: worker}}",
            ["update_node:d:role manager", "update_node:a:role worker"],
        ),
        (
            "a=leader, b=manager, c=silent manager, d=worker",
            M3 + "\nnodes: {c: {role: worker}}",
            ["update_node:c:role worker", "update_node:d:role manager"],
        ),
        ("a=leader, b=manager, c=silent manager, d=worker", M3, []),
        (
            "a=leader, b=manager, c=wiped manager, d=worker",
            M3,
            [
                "install:c",
                "start:c",
                "update_node:c:id-c:role worker",
                "remove_node:c:id-c",
                "join:c manager",
                "update_node:c",
            ],
        ),
        (
            "a=leader, b=wiped worker",
            M1,
            ["install:b", "start:b", "remove_node:b:id-b", "join:b worker", "update_node:b"],
        ),
        (
            "a=leader, b=clinging worker",
            M1,
            ["remove_node:b:id-b", "leave:b", "join:b worker", "update_node:b"],
        ),
        (
            "a=leader, b=manager, c=manager, d=clinging worker",
            M3,
            ["remove_node:d:id-d", "leave:d", "join:d worker", "update_node:d"],
        ),
        (
            "a=leader, b=worker, c=drained worker, d=worker",
            M3,
            ["update_node:b:role manager", "update_node:d:role manager"],
        ),
        (
            "a=leader, b=worker",
            M1 + "\nnodes: {b: {availability: drain, labels: {disk: ssd}}}",
            ["update_node:b drain"],
        ),
        ("a=leader, b=drained worker", M1, []),
        (
            "a=leader, b=drained worker",
            M1 + "\nnodes: {b: {availability: active}}",
            ["update_node:b active"],
        ),
        ("a=leader, b=removed", M1, ["leave:b", "join:b worker", "update_node:b"]),
        ("a=leader, b=stopped unknown", M1, ["start:b"]),
        ("a=stopped manager, b=stopped worker", M1, ["start:a", "start:b"]),
        ("a=stopped manager, b=old manager, c=deaf manager", M3, ["install:b", "start:a"]),
        ("a=deaf manager, b=old manager", M3, ["install:b", "start:a"]),
        (
            "a=old leader, b=old manager, c=old manager",
            M3,
            ["install:a", "install:b", "install:c", "start:b", "start:c", "start:a"],
        ),
        (
            "a=old leader, b=old manager, c=old sick manager",
            M3,
            ["install:a", "install:b", "install:c", "start:c", "start:b", "start:a"],
        ),
        ("a=leader, b=slow manager, c=slow manager, d=slow worker", M3, []),
        ("a=leader, b=deaf manager, c=deaf manager", M3, ["start:b", "start:c"]),
        ("a=leader, b=slow manager, c=old manager", M3, ["install:c", "start:c"]),
    ],
)
def test_steps(world: str, playbook: str, steps: list[str]):
    """Each world needs these steps and no others."""
    result = plan(world, playbook)
    assert result.refusals == ()
    assert [short(step) for step in result.steps] == steps


def test_who_clings_to_an_office_and_cannot_be_used_is_left_alone():
    """Nothing can be done on it, so nothing of it is forgotten."""
    inventory, observation = seen("a=leader, b=clinging worker")
    unusable = msgspec.structs.replace(observation.hosts["b"], error="its Python is too old")
    hosts = {**observation.hosts, "b": unusable}
    roster = build_roster(inventory, msgspec.structs.replace(observation, hosts=hosts))
    assert roster.problems == {"b": "its Python is too old"}
    assert (roster.lost, roster.leaving, roster.joining) == ({}, {}, [])


@pytest.mark.parametrize(
    ("world", "playbook", "asked"),
    [
        ("a=leader, b=manager, c=manager", M1, {"update_node:b:role", "update_node:c:role"}),
        ("a=leader, b=worker, c=worker", M3, set()),
        ("a=leader, b=manager, c=manager, d=worker", M3 + "\nnodes: {a: {role: worker}}", set()),
        ("a=leader, b=manager, c=wiped manager, d=worker", M3, set()),
        ("a=leader, b=old worker, c=newer worker", M1, {"install:c"}),
        ("a=leader, b=moved worker", M1, {"remove_node:b:id-b"}),
        (
            "a=leader, b=manager, c=moved manager",
            M3,
            {"update_node:c:id-c:role", "remove_node:c:id-c"},
        ),
    ],
)
def test_asked_first(world: str, playbook: str, asked: set[str]):
    """Demotions after which the swarm could bear fewer losses, and the way to an older version."""
    assert {step.id for step in plan(world, playbook).steps if step.destructive} == asked


@pytest.mark.parametrize("kind", ["worker", "manager"])
def test_a_node_that_is_heard_is_not_taken_for_wiped(kind: str):
    """An address that names another machine: who allows nothing gets no second node of the host."""
    result = plan(f"a=leader, b=manager, c=moved {kind}", M3)
    asked = [step for step in result.steps if step.destructive]
    assert all("wiped a moment ago, or is another one" in step.reason for step in asked)
    kept, left = spared(result.steps)
    assert {step.id for step in kept} == {"install:c", "start:c"}
    assert {"remove_node:c:id-c", "join:c"} <= {step.id for step in left}


def test_every_step_says_why_what_must_hold_and_what_proves_it():
    """A person who reviews a plan needs nothing else."""
    text = M3 + "\nservices: {web: {image: host, command: sleep 9}}"
    result = plan("a=leader, b=wiped manager, c=old worker, d=removed, e=bare", text)
    assert len({step.kind for step in result.steps}) >= 6
    for step in result.steps:
        assert step.reason, step.id
        assert step.precondition, step.id
        assert step.proof, step.id


@pytest.mark.parametrize(
    ("world", "playbook", "host", "problem"),
    [
        ("a=leader, b=unreachable", M1, "b", "connection refused"),
        ("a=leader, b=foreign", M1, "b", "it is in another swarm"),
        ("a=leader, b=locked", M1, "b", "unlock it"),
        ("a=leader, b=slow manager, c=manager", M3, "b", "does not answer in time"),
        (
            "a=leader, b=manager, c=silent manager, d=worker, e=worker",
            "swarm: {managers: 5}",
            "d",
            "it is not made a manager while only 2 of 3 managers answer",
        ),
        (
            "a=leader, b=manager, c=silent manager",
            "swarm: {managers: 2}\nnodes: {b: {role: worker}}",
            "b",
            "it stays a manager while only 2 of 3 managers answer",
        ),
        (
            "a=leader, b=manager, c=manager, d=unreachable",
            M3 + "\nnodes: {d: {role: manager}, c: {role: worker}}",
            "c",
            "it stays a manager until d can be one instead",
        ),
        (
            "a=leader, b=troubled worker",
            M1,
            "b",
            "its runtime is in trouble (can't initialize raft",
        ),
        ("a=leader, b=manager, c=troubled manager", M3, "c", "its runtime is in trouble (can't"),
        ("a=leader, b=manager, c=sealed manager", M3, "c", "its swarm is locked: unlock it"),
        (
            "a=leader, b=silent worker",
            "nodes: {b: {role: manager}}\nswarm: {managers: 2}",
            "b",
            "connection refused",
        ),
    ],
)
def test_problems(world: str, playbook: str, host: str, problem: str):
    """What can't be done safely is told for its host, and no role is changed."""
    result = plan(world, playbook)
    assert result.problems[host].startswith(problem) or problem in result.problems[host]
    assert not [step for step in result.steps if step.role is not None]


@pytest.mark.parametrize(
    ("world", "refusal"),
    [
        ("a=leader, b=other manager", "a and b manage different swarms"),
        ("a=manager, b=manager, c=unreachable", "no manager tells its state, c can't be reached"),
        ("a=worker, b=new", "a is in a swarm, but no manager tells its state"),
        ("a=manager, b=unreachable, c=unreachable", "gone for good, let one that is left go on al"),
        (
            "a=new, b=unreachable, c=unreachable",
            "b and c, 2 of the 3 hosts that may be managers, can't be used (connection refused), a",
        ),
        ("a=unreachable", "a, the only host that may be a manager, can't be used: connection ref"),
        ("a=unreachable, b=unreachable", "a and b, all that may be managers, can't be used: conn"),
        ("a=slow unknown, b=new, c=new, d=new", "a may be in a swarm, but the runtime there"),
    ],
)
def test_refusals(world: str, refusal: str):
    """Where a plan could do harm, there is none."""
    result = plan(world, M1)
    assert refusal in result.refusals[0]
    assert result.steps == ()
    told = [why for why in result.problems.values() if why in result.refusals[0]]
    assert told == [], "said twice"


def test_one_unreachable_host_does_not_stop_the_others():
    """A new swarm is formed by the others, and the host is named."""
    result = plan("a=new, b=unreachable, c=new, d=new", M3)
    managers = [short(step) for step in result.steps if step.role is Role.MANAGER]
    assert managers == ["init:a manager", "join:c manager", "join:d manager"]
    assert result.problems == {"b": "connection refused"}


def test_unknown_membership_is_looked_at_again():
    """A stopped host that may be a member is started first, and then everything is seen anew."""
    assert plan("a=leader, b=stopped unknown", M1).again
    assert plan("a=stopped manager", M1).again
    assert not plan("a=leader, b=stopped worker", M1).again


def test_strangers_are_left_alone():
    """A node that is in no inventory is warned of and not touched."""
    result = plan("a=leader, x1=worker", M1)
    assert result.steps == ()
    assert "(id-x1) is in the swarm and not in inv.yml: it is left alone" in result.warnings[0]


def test_plans_are_json():
    """A plan can be written down and read back."""
    result = plan("a=bare, b=bare, c=bare", M3 + "\nservices: {web: {image: host}}")
    assert msgspec.json.decode(msgspec.json.encode(result), type=Plan) == result
