"""Tables of (playbook, what was seen) → what is planned."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from msgspec import UNSET

from swarmops.backends.base import Missing
from swarmops.fleet.choice import choose_managers
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS
from swarmops.fleet.inventory import Inventory, build_inventory
from swarmops.fleet.observation import HOST_LABEL, HostView, Observation, SwarmView
from swarmops.fleet.plan import make_plan
from swarmops.fleet.plan_nodes import only_names
from swarmops.fleet.playbook import Playbook, build_playbook
from swarmops.fleet.roster import build_roster
from swarmops.fleet.selection import spared
from swarmops.fleet.spec_diff import labelled
from swarmops.fleet.steps import Gate, Plan, Step, StepKind
from swarmops.model.node import (
    Availability,
    ManagerStatus,
    Node,
    NodeSpec,
    NodeState,
    NodeStatus,
    Reachability,
    Role,
)
from swarmops.model.object import ObjectVersion
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.swarm import Peer, SwarmInfo

BARE = (Missing("runtime", "nothing is installed"), Missing("process", "it does not run"))
STOPPED = (Missing("process", "it does not run"),)
AWAY = ("silent", "stopped", "wiped", "sick", "troubled", "sealed", "clinging")
OLD = (Missing("runtime", "an older release"), Missing("process", "it runs an older release"))

NEWER = (msgspec.structs.replace(OLD[0], backward=True), OLD[1])


def node(host: str, kind: str) -> Node:
    """Return the node that a kind of host has in the swarm."""
    manager = any(word in kind for word in ("leader", "manager"))
    alive = not any(word in kind for word in AWAY)
    status = ManagerStatus(
        leader="leader" in kind,
        reachability=Reachability.REACHABLE if alive else Reachability.UNREACHABLE,
        addr=f"{host}:2377",
    )
    return Node(
        id=f"id-{host}",
        spec=NodeSpec(
            labels={HOST_LABEL: host},
            role=Role.MANAGER if manager else Role.WORKER,
            availability=Availability.DRAIN if "drained" in kind else Availability.ACTIVE,
        ),
        status=NodeStatus(state=NodeState.READY if alive else NodeState.DOWN),
        manager_status=status if manager else UNSET,
    )


def view(host: str, kind: str) -> HostView:
    """Return how a kind of host looks from outside."""
    if kind in {"unreachable", "silent manager", "silent worker"}:
        return HostView(name=host, error="connection refused")
    if kind == "bare" or kind.startswith(("wiped", "moved")):  # moved: its node lives elsewhere
        return HostView(name=host, missing=BARE)
    if kind.startswith(("stopped", "deaf")):  # a deaf one's process lives, its socket is gone
        alive = kind.startswith("deaf")
        return HostView(name=host, missing=STOPPED, had_state=True, alive=alive)
    if kind.startswith("slow"):  # somebody holds its socket and says nothing
        return HostView(name=host, error="does not answer in time", silent=True, had_state=True)
    if kind == "new":
        return HostView(name=host, running=True)
    swarm = told(host, kind)
    return HostView(
        name=host,
        running=True,
        had_state=True,
        missing=NEWER if "newer" in kind else OLD if "old" in kind else (),
        swarm=swarm,
        cluster_id=("other" if "other" in kind else "swarm") if swarm.control_available else "",
    )


def told(host: str, kind: str) -> SwarmInfo:
    """Return what a runtime that is in a swarm says of it."""
    if kind.startswith(("troubled", "sealed")):  # a Docker Engine that doesn't know its own ID
        state = "error" if kind.startswith("troubled") else "locked"
        return SwarmInfo(local_node_state=state, error="can't initialize raft node")
    known = {"removed": "id-a", "foreign": "id-else"}.get(kind, "id-a")
    if kind.startswith("clinging"):  # a Docker Engine that was demoted while it was off
        return SwarmInfo(
            node_id=f"id-{host}",
            local_node_state="active",
            control_available=True,
            error="The swarm does not have a leader.",
            remote_managers=[Peer(known, "a:2377")],
        )
    return SwarmInfo(
        node_id=f"gone-{host}" if kind in {"removed", "foreign"} else f"id-{host}",
        local_node_state="locked" if kind == "locked" else "active",
        control_available=any(word in kind for word in ("leader", "manager")),
        remote_managers=[Peer(known, "a:2377")],
    )


def seen(world: str, services: tuple[Service, ...] = ()) -> tuple[Inventory, Observation]:
    """Return the inventory and the observation of ``a=leader, b=manager, c=bare``.

    A name that begins with ``x`` is a node of no host of the inventory.
    """
    kinds = dict(part.strip().split("=") for part in world.split(","))
    listed = [name for name in kinds if not name.startswith("x")]
    text = "all: {hosts: {" + ", ".join(f"{name}: " for name in listed) + "}}"
    inventory = build_inventory("inv.yml", read_groups(parse_document(text, "inv.yml"), OUR_VARS))
    views = {name: view(name, kinds[name]) for name in listed}
    outside = {"bare", "new", "unreachable", "removed", "foreign", "locked", "other manager"}
    outside |= {"stopped unknown", "slow unknown"}
    nodes = tuple(node(name, kind) for name, kind in kinds.items() if kind not in outside)
    told = any("leader" in kind for kind in kinds.values())
    swarm = SwarmView(id="swarm", seen_from="a", nodes=nodes, services=services) if told else None
    return inventory, Observation(hosts=views, swarm=swarm)


def play(text: str, inventory: Inventory) -> Playbook:
    """Return a playbook."""
    return build_playbook(parse_document(text, "prod.yml"), inventory)


def plan(world: str, text: str, services: tuple[Service, ...] = ()) -> Plan:
    """Return the plan for a world and a playbook."""
    inventory, observation = seen(world, services)
    return make_plan(inventory, play(text, inventory), observation)


def short(step: Step) -> str:
    """Return a step as the tables write it."""
    words = [step.id]
    if step.role is not None:
        words.append(step.role.value)
    if step.availability is not None:
        words.append(step.availability.value)
    return " ".join(words)


M1, M3 = "swarm: {managers: 1}", "swarm: {managers: 3}"


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


SPREAD = "swarm: {managers: 3, spread_managers_by: rack}\nnodes:\n  "
RACKS = "'a,b,c': {labels: {rack: one}}, 'd,e': {labels: {rack: two}}, f: {labels: {rack: three}}"


def test_who_clings_to_an_office_and_cannot_be_used_is_left_alone():
    """Nothing can be done on it, so nothing of it is forgotten."""
    inventory, observation = seen("a=leader, b=clinging worker")
    unusable = msgspec.structs.replace(observation.hosts["b"], error="its Python is too old")
    hosts = {**observation.hosts, "b": unusable}
    roster = build_roster(inventory, msgspec.structs.replace(observation, hosts=hosts))
    assert roster.problems == {"b": "its Python is too old"}
    assert (roster.lost, roster.leaving, roster.joining) == ({}, {}, [])


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


def test_plans_are_json():
    """A plan can be written down and read back."""
    result = plan("a=bare, b=bare, c=bare", M3 + "\nservices: {web: {image: host}}")
    assert msgspec.json.decode(msgspec.json.encode(result), type=Plan) == result


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
