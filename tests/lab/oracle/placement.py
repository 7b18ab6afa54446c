"""Scenarios: where the scheduler puts tasks, and in which words it says that it can't."""

from collections import Counter

from tests.lab.oracle.case import SLEEP, Case, state
from tests.lab.oracle.table import scenario

UNMET = "no suitable node (scheduling constraints not satisfied on 3 nodes)"
POOR = "no suitable node (insufficient resources on 3 nodes)"


def _nodes(case: Case, service: str, count: int) -> list[str]:
    """Return the nodes of a service's running tasks."""
    return [task["NodeID"] for task in case.running(service, count)]


@scenario
def constraint_hostname(case: Case) -> None:
    """`node.hostname==` puts all tasks on that node, `!=` on the others."""
    one = case.create("--replicas", "2", "--constraint", f"node.hostname=={case.node(1)}")
    other = case.create(
        "--replicas", "2", "--constraint", f"node.hostname!={case.node(1)}", suffix="not"
    )
    assert set(_nodes(case, one, 2)) == {case.node_id(1)}
    assert set(_nodes(case, other, 2)) == {case.node_id(0), case.node_id(2)}


@scenario
def constraint_role(case: Case) -> None:
    """`node.role` tells managers from workers."""
    boss = case.create("--mode", "global", "--constraint", "node.role==manager")
    rest = case.create("--mode", "global", "--constraint", "node.role==worker", suffix="rest")
    assert _nodes(case, boss, 1) == [case.node_id(0)]
    assert set(_nodes(case, rest, 2)) == {case.node_id(1), case.node_id(2)}


@scenario
def constraint_id_ip_and_platform(case: Case) -> None:
    """Constraints on ID, address and platform are met all together."""
    web = case.create(
        *("--constraint", f"node.id=={case.node_id(2)}"),
        *("--constraint", f"node.ip=={case.side.hosts[2].address}"),
        *("--constraint", "node.platform.os==linux"),
        *("--constraint", "node.platform.arch==x86_64"),
    )
    assert _nodes(case, web, 1) == [case.node_id(2)]


@scenario
def constraint_subnet(case: Case) -> None:
    """`node.ip` takes a subnet too."""
    address = case.side.hosts[0].address
    inside = case.create("--mode", "global", "--constraint", f"node.ip=={address}/24")
    outside = case.create("--constraint", "node.ip==192.0.2.0/24", suffix="out")
    assert len(_nodes(case, inside, 3)) == 3
    case.pending(outside, UNMET)


@scenario
def constraint_case(case: Case) -> None:
    """Values of constraints are compared without regard to case."""
    web = case.create("--mode", "global", "--constraint", "node.labels.zone==A")
    assert set(_nodes(case, web, 2)) == {case.node_id(0), case.node_id(1)}


@scenario
def constraint_unmet(case: Case) -> None:
    """Without a node that fits, a task is pending and says why; a label later it runs."""
    label = case.name("disk")
    web = case.create("--constraint", f"node.labels.{label}==ssd")
    waiting = case.pending(web, UNMET)
    assert waiting["Status"]["Message"] == "pending task scheduling"
    assert "NodeID" not in waiting
    case.docker("node", "update", "--label-add", f"{label}=ssd", case.node(2))
    assert _nodes(case, web, 1) == [case.node_id(2)]


@scenario
def constraint_lost(case: Case) -> None:
    """A node that loses the label that a task needs loses the task."""
    label = case.name("disk")
    case.docker("node", "update", "--label-add", f"{label}=ssd", case.node(1))
    web = case.create("--constraint", f"node.labels.{label}==ssd", "--restart-delay", "100ms")
    (old,) = case.running(web, 1)
    case.docker("node", "update", "--label-rm", label, case.node(1))
    case.pending(web, UNMET)

    def stopped() -> bool:
        (task,) = [each for each in case.tasks(web) if each["ID"] == old["ID"]]
        return bool(task["DesiredState"] == "shutdown")

    case.until(stopped, "the old task told to stop")
    (task,) = [each for each in case.tasks(web) if each["ID"] == old["ID"]]
    assert task["Status"]["State"] in {"rejected", "shutdown"}
    assert task["Status"]["Err"] == "assigned node no longer meets constraints"


@scenario
def engine_label_unknown(case: Case) -> None:
    """A constraint on an engine label that no node has is never met."""
    web = case.create("--constraint", "engine.labels.rack==r1")
    case.pending(web, UNMET)


@scenario
def engine_label(case: Case) -> None:
    """A constraint on an engine label is met by the nodes whose engine has it."""
    web = case.create("--mode", "global", "--constraint", "engine.labels.disk==ssd")
    assert _nodes(case, web, 1) == [case.node_id(2)]


@scenario
def too_many_cpus(case: Case) -> None:
    """More CPUs than any node has: pending, for want of resources."""
    web = case.create("--reserve-cpu", "512")
    case.pending(web, POOR)


@scenario
def memory_is_given_back(case: Case) -> None:
    """What a task reserves is nobody else's until the task is gone."""
    bytes_ = case.side.get("/nodes")[0]["Description"]["Resources"]["MemoryBytes"]
    options = ("--reserve-memory", str(bytes_ * 3 // 5), "--replicas", "3")
    first = case.create(*options)
    case.running(first, 3)
    second = case.create(*options, suffix="more")
    case.pending(second, POOR)
    case.docker("service", "rm", first)
    assert len(set(_nodes(case, second, 3))) == 3


@scenario
def generic_resources_unknown(case: Case) -> None:
    """A generic resource that no node offers: pending, for want of resources."""
    web = case.create("--generic-resource", "gpu=1")
    case.pending(web, POOR)
    wanted = case.inspect(web)["Spec"]["TaskTemplate"]["Resources"]["Reservations"]
    assert wanted == {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}]}


@scenario
def generic_resources_are_given_out(case: Case) -> None:
    """Each named thing is one task's, which is told its name; the third task waits."""
    web = case.create(
        *("--replicas", "2", "--generic-resource", "fpga=1"),
        command=("sh", "-c", 'echo "$DOCKER_RESOURCE_FPGA"; sleep 1000'),
    )
    # Of a task that Docker has given up on the way there are lines too.
    said = [case.printed(task["ID"], 1) for task in case.running(web, 2)]
    assert sorted(said) == [["x"], ["y"]]
    case.docker("service", "scale", "--detach", f"{web}=3")
    case.pending(web, POOR)
    placed = [task["NodeID"] for task in case.tasks(web) if state(task) == "running"]
    assert placed == [case.node_id(2)] * 2


@scenario
def host_port_taken(case: Case) -> None:
    """A port of the host is one task's; the fourth on three nodes waits."""
    web = case.create("--replicas", "4", "--publish", "mode=host,target=80,published=18080")
    case.pending(web, "no suitable node (host-mode port already in use on 3 nodes)")
    assert len({task["NodeID"] for task in case.reach(web, "running", 3)}) == 3


@scenario
def max_replicas_per_node(case: Case) -> None:
    """No node gets more tasks of a service than it may have."""
    web = case.create("--replicas", "4", "--replicas-max-per-node", "1")
    case.pending(web, "no suitable node (max replicas per node limit exceed)")
    assert len({task["NodeID"] for task in case.reach(web, "running", 3)}) == 3
    assert case.inspect(web)["Spec"]["TaskTemplate"]["Placement"] == {"MaxReplicas": 1}


@scenario
def spread_over_zones(case: Case) -> None:
    """A preference spreads tasks evenly over a label's values, not over nodes."""
    web = case.create("--replicas", "4", "--placement-pref", "spread=node.labels.zone")
    nodes = Counter(_nodes(case, web, 4))
    assert nodes[case.node_id(2)] == 2
    assert nodes[case.node_id(0)] == nodes[case.node_id(1)] == 1
    assert case.inspect(web)["Spec"]["TaskTemplate"]["Placement"] == {
        "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]
    }


@scenario
def spread_nested(case: Case) -> None:
    """Preferences are nested in their order: the first decides, the second inside of a branch."""
    pair = case.name("pair")
    for node, value in enumerate(("x", "y", "y")):
        case.docker("node", "update", "--label-add", f"{pair}={value}", case.node(node))
    zone, own = "spread=node.labels.zone", f"spread=node.labels.{pair}"
    web = case.create("--replicas", "4", "--placement-pref", own, "--placement-pref", zone)
    nodes = Counter(_nodes(case, web, 4))
    assert [nodes[case.node_id(number)] for number in range(3)] == [2, 1, 1]
    nowhere = f"spread=node.labels.{case.name('none')}"
    inside = case.create(
        *("--replicas", "6", "--placement-pref", nowhere, "--placement-pref", zone), suffix="in"
    )
    assert Counter(_nodes(case, inside, 6))[case.node_id(2)] == 3


@scenario
def a_node_where_it_fails_is_avoided(case: Case) -> None:
    """After five failures on a node within five minutes, a service's tasks go elsewhere first."""
    here = f"test $NODE = {case.node(1)} && exit 1; {SLEEP[-1]}"
    web = case.create(
        *("--replicas", "3", "--restart-delay", "100ms", "--env", "NODE={{.Node.Hostname}}"),
        command=("sh", "-c", here),
    )
    case.until(lambda: case.node_id(1) not in _nodes(case, web, 3), "all of them elsewhere")
    failed = [task for task in case.tasks(web) if state(task) == "failed"]
    assert {task["NodeID"] for task in failed} == {case.node_id(1)}
    assert len(failed) >= 4, "of five, the slot's history may have lost one"


@scenario
def platform_unsupported(case: Case) -> None:
    """An image for another platform runs nowhere."""
    name = case.keep("service", case.name())
    body = {
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:1", "Args": ["sleep", "1000"]},
            "Placement": {"Platforms": [{"OS": "linux", "Architecture": "s390x"}]},
        },
    }
    assert case.side.api("POST", "/services/create", body)[0] == 201
    case.pending(name, "no suitable node (unsupported platform on 3 nodes)")


@scenario
def volume_driver_missing(case: Case) -> None:
    """A volume whose driver no node has: a plugin is missing."""
    web = case.create("--mount", "type=volume,source=v,target=/v,volume-driver=nosuch")
    case.pending(web, "no suitable node (missing plugin on 3 nodes)")


@scenario
def several_reasons(case: Case) -> None:
    """Reasons stand side by side, each with the number of nodes it holds for."""
    web = case.create("--constraint", f"node.hostname!={case.node(0)}", "--reserve-memory", "100TB")
    case.pending(web, POOR)
    mixed = case.create(
        *("--constraint", f"node.hostname!={case.node(0)}", "--replicas", "3"),
        *("--publish", "mode=host,target=80,published=18081"),
        suffix="mixed",
    )
    taken = "host-mode port already in use on 2 nodes"
    unmet = "scheduling constraints not satisfied on 1 node"
    reasons = {f"no suitable node ({taken}; {unmet})", f"no suitable node ({unmet}; {taken})"}
    case.until(
        lambda: reasons & {task["Status"].get("Err", "") for task in case.tasks(mixed)},
        "both reasons",
    )
