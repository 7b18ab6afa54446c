"""Scenarios: lists and their filters: services, tasks and nodes."""

import json
from urllib.parse import quote

from tests.lab.oracle.case import Case, state
from tests.lab.oracle.table import scenario

NONE = ("--replicas", "0")


def _services(case: Case, *filters: str) -> set[str]:
    """Return the names of this scenario's services that pass filters."""
    words = [word for each in filters for word in ("--filter", each)]
    listed = case.docker("service", "ls", *words, "--format", "{{.Name}}").split()
    return {name for name in listed if name == case.prefix or name.startswith(f"{case.prefix}-")}


@scenario
def services_filtered(case: Case) -> None:
    """Services are found by the beginning of name and ID, by label and by mode."""
    one = case.create(*NONE, "--label", "tier=front", suffix="one")
    two = case.create(*NONE, "--label", "tier=back", "--label", "x", suffix="two")
    all_ = case.create("--mode", "global", "--constraint", "node.id==none", suffix="all")
    assert _services(case) == {one, two, all_}
    assert _services(case, f"name={one[:-1]}") == {one}
    assert _services(case, f"id={case.service(two)['ID'][:12]}") == {two}
    assert _services(case, "label=tier") == {one, two}
    assert _services(case, "label=tier=back") == {two}
    assert _services(case, "label=tier=back", "label=x") == {two}
    assert _services(case, "mode=global") == {all_}
    assert _services(case, "mode=replicated") == {one, two}
    assert _services(case, f"name={one}", f"name={two}") == {one, two}
    assert _services(case, "mode=global", "label=tier") == set()


@scenario
def tasks_filtered(case: Case) -> None:
    """Tasks are found by name, node, ID and desired state."""
    web = case.create("--replicas", "3", "--update-monitor", "100ms")
    tasks = case.running(web, 3)
    words = ("--format", "{{.ID}}", "--no-trunc")

    def ps(*filters: str) -> set[str]:
        chosen = [word for each in filters for word in ("--filter", each)]
        return set(case.docker("service", "ps", web, *words, *chosen).split())

    by_slot = {task["Slot"]: task["ID"] for task in tasks}
    assert ps(f"name={web}.2") == {by_slot[2]}
    assert ps(f"id={by_slot[3][:12]}") == {by_slot[3]}
    assert ps(f"node={case.node(1)}") == {
        task["ID"] for task in tasks if task["NodeID"] == case.node_id(1)
    }
    assert ps("desired-state=running") == set(by_slot.values())
    assert ps("desired-state=shutdown") == set()
    refused = case.refused("service", "ps", web, "--filter", "desired-state=dancing")
    assert refused.rc == 1
    assert "invalid desired-state filter" in refused.said or "Invalid" in refused.said
    refused = case.refused("service", "ps", web, "--filter", "node=nothing")
    assert refused.rc == 1
    assert "node nothing not found" in refused.said


@scenario
def tasks_of_the_present_spec(case: Case) -> None:
    """The filter by which the CLI shows progress leaves out tasks of an older spec."""
    web = case.create("--update-monitor", "100ms")
    (old,) = case.running(web, 1)
    case.update(web, "--force")
    case.updated(web, "completed")
    (new,) = case.running(web, 1)
    chosen = quote(json.dumps({"service": [web], "_up-to-date": ["true"]}))
    listed = case.side.get(f"/tasks?filters={chosen}")
    assert [task["ID"] for task in listed] == [new["ID"]]
    assert old["ID"] != new["ID"]


@scenario
def nodes_filtered(case: Case) -> None:
    """Nodes are found by name, ID, role, membership and label."""

    def ls(*filters: str) -> set[str]:
        words = [word for each in filters for word in ("--filter", each)]
        return set(case.docker("node", "ls", "--format", "{{.Hostname}}", *words).split())

    everyone = {case.node(number) for number in range(3)}
    assert ls() == everyone
    assert ls("role=manager") == {case.node(0)}
    assert ls("role=worker") == {case.node(1), case.node(2)}
    assert ls(f"name={case.node(2)}") == {case.node(2)}
    assert ls(f"id={case.node_id(1)[:10]}") == {case.node(1)}
    # An update of a node, as it got its labels by one, loses this in Docker.
    pending = case.by_side(ours=False, docker=True, because="Nodes")
    assert ls("membership=accepted") == (set() if pending else everyone)
    assert ls("node.label=zone=b") == {case.node(2)}
    assert ls("node.label=zone") == everyone
    refused = case.refused("node", "ls", "--filter", "role=boss")
    assert refused.rc == 1
    assert "boss" in refused.said


@scenario
def node_ps(case: Case) -> None:
    """`node ps` lists what a node runs and has run."""
    web = case.create("--constraint", f"node.hostname=={case.node(2)}")
    (task,) = case.running(web, 1)
    words = ("--filter", f"name={web}.1", "--format", "{{.ID}} {{.Name}} {{.DesiredState}}")
    listed = case.docker("node", "ps", "--no-trunc", *words, case.node(2))
    assert listed == f"{task['ID']} {web}.1 Running"


@scenario
def by_name_id_and_prefix(case: Case) -> None:
    """A service answers to its name, its ID and the beginning of its ID; a task to its ID."""
    web = case.create()
    (task,) = case.running(web, 1)
    found = case.service(web)["ID"]
    for word in (web, found, found[:14]):
        assert case.inspect(word)["ID"] == found
    shown = json.loads(case.docker("inspect", task["ID"]))[0]
    assert shown["ServiceID"] == found
    assert state(shown) == "running"


@scenario
def node_inspect(case: Case) -> None:
    """`node inspect` shows what a node is: spec, description, status, and of managers theirs."""
    manager = json.loads(case.docker("node", "inspect", case.node(0)))[0]
    worker = json.loads(case.docker("node", "inspect", case.node(1)))[0]
    assert manager["Spec"]["Role"] == "manager"
    assert manager["ManagerStatus"] == {
        "Leader": True,
        "Reachability": "reachable",
        "Addr": f"{case.side.hosts[0].address}:2377",
    }
    assert "ManagerStatus" not in worker
    assert worker["Spec"]["Availability"] == "active"
    assert worker["Status"] == {"State": "ready", "Addr": case.side.hosts[1].address}
    assert worker["Description"]["Platform"] == {"Architecture": "x86_64", "OS": "linux"}
    assert worker["Description"]["Resources"]["NanoCPUs"] >= 10**9
    kinds = {plugin["Type"] for plugin in worker["Description"]["Engine"]["Plugins"]}
    assert {"Volume", "Log", "Network"} <= kinds
    assert json.loads(case.docker("node", "inspect", "self"))[0]["ID"] == manager["ID"]
    assert "State:\t\t\tReady" in case.docker("node", "inspect", "--pretty", case.node(1))
