"""Who manages: which hosts are chosen, and in which order managers come, go and restart."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from swarmops.fleet.choice import choose_managers
from swarmops.fleet.observation import HOST_LABEL
from swarmops.fleet.plan import make_plan
from swarmops.fleet.plan_nodes import only_names
from swarmops.fleet.steps import Gate
from tests.unit.fleet.worlds import M1, M3, plan, play, seen, short

SPREAD = "swarm: {managers: 3, spread_managers_by: rack}\nnodes:\n  "
RACKS = "'a,b,c': {labels: {rack: one}}, 'd,e': {labels: {rack: two}}, f: {labels: {rack: three}}"


@pytest.mark.parametrize(
    ("world", "playbook", "managers"),
    [
        ("a=new, b=new, c=new, d=new, e=new, f=new", SPREAD, ["a", "d", "f"]),
        ("a=new, b=new, c=new, d=new, e=new, f=unreachable", SPREAD, ["a", "b", "d"]),
        (
            "a=leader, b=manager, c=worker, d=worker, e=worker, f=worker",
            SPREAD,
            ["a", "b", "d"],
        ),
        (
            "a=leader, b=manager, c=manager, d=manager, e=worker, f=manager",
            SPREAD,
            ["a", "d", "f"],
        ),
        ("a=leader, b=worker, c=old worker, d=worker", M3, ["a", "b", "d"]),
        ("a=leader, b=manager, c=silent manager, d=worker", M3, ["a", "b", "c"]),
        (
            "a=leader, b=manager, c=silent manager, d=worker",
            "swarm: {managers: 3, replace_dead_after: 0s}",
            ["a", "b", "d"],
        ),
        (
            "a=leader, b=manager, c=stopped manager, d=worker",
            "swarm: {managers: 3, replace_dead_after: 0s}",
            ["a", "b", "c"],
        ),
        (
            "a=leader, b=manager, c=silent manager",
            "swarm: {managers: 3, replace_dead_after: 0s}",
            ["a", "b", "c"],
        ),
    ],
)
def test_choice(world: str, playbook: str, managers: list[str]):
    """Fewest changes first, then spread, then current ones; a dead one only where it may go."""
    inventory, observation = seen(world)
    text = f"{playbook}{{{RACKS}}}" if playbook is SPREAD else playbook
    assert choose_managers(inventory, play(text, inventory), observation) == managers


@pytest.mark.parametrize(
    ("nodes", "managers"),
    [
        ("", ["a", "c", "d"]),
        ("\nnodes: {d: {labels: {zone: one}}}", ["a", "b", "c"]),
        ("\nnodes: {c: {labels: {zone: null}}, d: {labels: {zone: one}}}", ["a", "b", "c"]),
    ],
)
def test_zones_are_what_the_files_say_and_else_what_nodes_are_labelled(
    nodes: str, managers: list[str]
):
    """A label that was set by hand spreads managers too, unless the playbook changes it."""
    inventory, observation = seen("a=leader, b=worker, c=worker, d=worker")
    swarm = observation.swarm
    assert swarm is not None
    zones = {"a": "one", "b": "one", "c": "two", "d": "three"}
    labelled_nodes = tuple(
        msgspec.structs.replace(
            one,
            spec=msgspec.structs.replace(one.spec, labels={HOST_LABEL: host, "zone": zones[host]}),
        )
        for host, one in zip(zones, swarm.nodes, strict=True)
    )
    labelled_swarm = msgspec.structs.replace(swarm, nodes=labelled_nodes)
    world = msgspec.structs.replace(observation, swarm=labelled_swarm)
    assert choose_managers(inventory, play(M3 + nodes, inventory), world) == managers


def test_a_dead_manager_is_replaced_after_its_time():
    """It is demoted before another is added; how long it has been down is told by its node."""
    inventory, observation = seen("a=leader, b=manager, c=silent manager, d=worker")
    text = "swarm: {managers: 3, replace_dead_after: 10m}"
    assert observation.swarm is not None
    down_at = observation.swarm.nodes[2].updated_at.timestamp()
    for after_s, ids in (
        (599, []),
        (600, ["update_node:c:role", "update_node:d:role"]),
    ):
        swarm = msgspec.structs.replace(observation.swarm, now_s=down_at + after_s)
        later = msgspec.structs.replace(observation, swarm=swarm)
        result = make_plan(inventory, play(text, inventory), later)
        assert [step.id for step in result.steps] == ids
        assert not any(step.destructive for step in result.steps)


def test_managers_are_added_one_at_a_time_and_workers_at_once():
    """Each new manager waits for the one before it; workers wait for the swarm only."""
    result = plan("a=new, b=new, c=new, d=new, e=new", M3)
    steps = {step.id: step for step in result.steps}
    assert steps["join:b"].after == ("init:a",)
    assert steps["join:b"].follows == ()
    assert steps["join:c"].follows == ("join:b",)
    assert steps["join:d"].after == steps["join:e"].after == ("init:a",)
    assert steps["join:d"].follows == steps["join:e"].follows == ()


def test_demotion_waits_for_the_replacement_to_succeed():
    """No manager is given up before the new one is proven."""
    result = plan("a=leader, b=manager, c=manager, d=worker", M3 + "\nnodes: {a: {role: worker}}")
    steps = {step.id: step for step in result.steps}
    assert steps["update_node:a:role"].after == ("update_node:d:role",)


def test_a_release_is_tried_on_one_worker_then_rolled_out_managers_last():
    """Each batch waits for the success of the one before; managers one by one, the leader last."""
    world = "a=old leader, b=old manager, c=manager old, " + ", ".join(
        f"{name}=old worker" for name in "defghi"
    )
    steps = {step.id: step for step in plan(world, M3).steps}
    waits = {
        one: sorted(e for e in step.after if e.startswith("start"))
        for one, step in steps.items()
        if one.startswith("start")
    }
    assert waits == {
        "start:d": [],
        "start:e": ["start:d"],
        "start:f": ["start:d"],
        "start:g": ["start:e", "start:f"],
        "start:h": ["start:e", "start:f"],
        "start:i": ["start:g", "start:h"],
        "start:b": ["start:i"],
        "start:c": ["start:b"],
        "start:a": ["start:c"],
    }


def test_what_lives_is_restarted_one_by_one_while_nobody_tells_who_manages():
    """No socket answers, and any of the hosts may be a manager that the others need."""
    steps = plan(", ".join(f"{name}=deaf manager" for name in "abcdefghi"), M3).steps
    assert [step.id for step in steps] == [f"start:{name}" for name in "abcdefghi"]
    for one, other in pairwise(steps):
        assert one.id in other.after


@pytest.mark.parametrize(
    ("world", "nodes", "steps"),
    [
        ("a=leader, b=worker, c=worker, d=worker", "{}", []),
        ("a=leader, b=manager, c=manager, d=manager, e=manager", "{}", []),
        ("a=leader, b=manager, c=dead manager, d=worker", "{}", []),
        ("a=leader, b=manager, c=manager, d=bare", "{}", ["install:d", "start:d", "join:d worker"]),
        ("a=leader, b=worker, c=worker", "{b: {role: manager}}", ["update_node:b:role manager"]),
        ("a=leader, b=manager, c=manager", "{c: {role: worker}}", ["update_node:c:role worker"]),
    ],
)
def test_who_says_nothing_of_the_swarm_leaves_its_managers(
    world: str, nodes: str, steps: list[str]
):
    """A playbook of services alone neither promotes nor demotes; roles that it names it gives."""
    made = plan(world, f"nodes: {nodes}")
    found = [short(step) for step in made.steps if not only_names(step)]
    assert found == steps
    assert not made.refusals


def test_the_only_manager_of_many_hosts_is_told():
    """With the cure; where the number was said, or can't be larger, it is no warning."""
    [warning] = plan("a=leader, b=worker, c=worker", "{}").warnings
    assert warning == (
        "prod.yml says nothing of the swarm, so its 1 manager stays, where 3 could bear a loss: say"
        " 'swarm: {managers: 3}' to have them"
    )
    assert not plan("a=leader, b=worker, c=worker", M1).warnings
    assert not plan("a=leader, b=worker", "{}").warnings
    assert not plan("a=bare, b=bare, c=bare", "{}").warnings


def test_managers_whose_processes_live_are_restarted_one_by_one():
    """That a socket is gone says nothing of the manager behind it: each waits for all others."""
    steps = {s.id: s for s in plan("a=leader, b=deaf manager, c=deaf manager", M3).steps}
    assert steps["start:c"].after == ("start:b",)
    assert [steps[one].gate for one in ("start:b", "start:c")] == [Gate.RESTART_MANAGER] * 2
    assert [steps[one].node_id for one in ("start:b", "start:c")] == ["id-b", "id-c"]
    stopped = plan("a=leader, b=manager, c=stopped manager, d=stopped worker", M3).steps
    assert [(s.id, s.gate, s.after) for s in stopped] == [
        ("start:c", Gate.NONE, ()),
        ("start:d", Gate.NONE, ()),
    ]
