"""Scenarios that change nodes: availability, roles, loss, removal. Each has the swarm to itself.

The last of them take nodes away for good.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

from tests.lab import faults
from tests.lab.oracle.case import Case, Task, state
from tests.lab.oracle.table import alone, scenario
from tests.lab.ssh import ssh
from tests.lab.swarm import SOCKET

RPC = "Error response from daemon: rpc error: code = "


@contextmanager
def _available(case: Case, node: int, availability: str) -> Iterator[None]:
    """Give a node another availability for a while."""
    _set(case, node, availability)
    try:
        yield
    finally:
        _set(case, node, "active")


def _set(case: Case, node: int, availability: str) -> None:
    case.docker("node", "update", "--availability", availability, case.node(node))


def _node(case: Case, node: int) -> dict[str, Any]:
    """Return a node as the API has it."""
    found: dict[str, Any] = case.side.get(f"/nodes/{case.node_id(node)}")
    return found


def _without(case: Case, service: str, count: int, node: int) -> list[Task]:
    """Wait until so many tasks run, none of them on a node; return them."""
    case.until(
        lambda: not _on(case.running(service, count), case.node_id(node)),
        f"{service} away from {case.node(node)}",
    )
    return case.running(service, count)


def _on(tasks: list[Task], node_id: str) -> list[Task]:
    return [task for task in tasks if task["NodeID"] == node_id]


@alone
def pause(case: Case) -> None:
    """A paused node keeps its tasks and gets no new ones, of global services neither."""
    before = case.create("--constraint", f"node.hostname=={case.node(1)}", suffix="before")
    (kept,) = case.running(before, 1)
    with _available(case, 1, "pause"):
        web = case.create("--replicas", "3")
        everywhere = case.create("--mode", "global", suffix="global")
        assert not _on(case.running(web, 3), case.node_id(1))
        assert len(case.running(everywhere, 2)) == 2
        assert [task["ID"] for task in case.running(before, 1)] == [kept["ID"]]
        assert _availability(case, 1) == "Pause"
    case.running(everywhere, 3)


@alone
def no_node_available(case: Case) -> None:
    """With every node paused, a task waits and says that none is available."""
    with _available(case, 0, "pause"), _available(case, 1, "pause"), _available(case, 2, "drain"):
        web = case.create()
        case.pending(web, "no suitable node (3 nodes not available for new tasks)")
    case.running(web, 1)


@alone
def drain(case: Case) -> None:
    """A drained node's tasks start elsewhere, at once; back again it gets global tasks only."""
    web = case.create("--replicas", "3")
    everywhere = case.create("--mode", "global", suffix="global")
    old = _on(case.running(web, 3), case.node_id(2))
    case.running(everywhere, 3)
    with _available(case, 2, "drain"):
        assert len(old) == 1
        tasks = _without(case, web, 3, 2)
        case.running(everywhere, 2)
        assert _availability(case, 2) == "Drain"
        stopped = next(task for task in case.tasks(web) if task["ID"] == old[0]["ID"])
        assert stopped["DesiredState"] == "shutdown"
        case.until(
            lambda: all(state(t) != "running" for t in _on(case.tasks(web), case.node_id(2))),
            "the node empty",
        )
    case.running(everywhere, 3)
    now = case.running(web, 3)
    assert {task["ID"] for task in now} == {task["ID"] for task in tasks}


@alone
def drain_and_restart_conditions(case: Case) -> None:
    """Tasks that end by a drain: with condition `none` they are not replaced; jobs differ."""
    here = ("--constraint", f"node.hostname!={case.node(0)}")
    single = case.create(*("--mode", "global", "--restart-condition", "none", *here), suffix="none")
    plain = case.create("--replicas", "2", *here, suffix="plain")
    lone = case.create("--replicas", "2", "--restart-condition", "none", *here, suffix="lone")
    job = case.create(
        *("--mode", "replicated-job", "--replicas", "2", *here),
        suffix="job",
        command=("sh", "-c", "trap 'exit 1' TERM; sleep 1000 & wait"),
    )
    for service in (single, plain, lone):
        case.running(service, 2)
    case.reach(job, "running", 2)
    with _available(case, 2, "drain"):
        _without(case, plain, 2, 2)
        case.until(
            lambda: [state(t) for t in _on(case.tasks(lone), case.node_id(2))] != ["running"],
            "the task that is not replaced stopped",
        )
        assert len(case.tasks(lone)) == 2
        live = case.by_side(ours=[1, 1], docker=[1, 2], because="Jobs")
        case.until(
            lambda: (
                [case.node_id(n) for n in live]
                == sorted(
                    (t["NodeID"] for t in case.tasks(job) if state(t) == "running"),
                    key=[case.node_id(n) for n in range(3)].index,
                )
            ),
            f"the job's tasks on {live}",
        )


@alone
def drain_and_global_jobs(case: Case) -> None:
    """A global job runs once on each node, and on a drained one once it no longer is."""
    with _available(case, 2, "drain"):
        job = case.create("--mode", "global-job", command=("true",))
        case.reach(job, "complete", 2)
        assert len(case.tasks(job)) == 2
    count = case.by_side(ours=3, docker=2, because="Jobs")
    case.reach(job, "complete", count)
    assert {task["NodeID"] for task in case.tasks(job)} == {case.node_id(n) for n in range(count)}


@alone
def drain_start_first(case: Case) -> None:
    """A service that says start-first, on a node that is drained."""
    web = case.create("--update-order", "start-first", "--constraint", "node.role==worker")
    (old,) = case.running(web, 1)
    number = [case.node_id(n) for n in range(3)].index(old["NodeID"])
    with _available(case, number, "drain"):
        _replaced(case, web, old)
        (new,) = case.running(web, 1)

        def gone() -> Task | None:
            (task,) = [t for t in case.tasks(web) if t["ID"] == old["ID"]]
            return task if state(task) == "shutdown" else None

        stopped = case.until(gone, "the old task stopped")
        assert stopped is not None
        overlap = _when(stopped) >= _when(new)
        assert overlap is case.by_side(ours=True, docker=False, because="Drain")


@alone
def history_limit(case: Case) -> None:
    """The swarm's limit of history holds for every slot, and a smaller one at once."""
    web = case.create("--update-monitor", "100ms")
    for _ in range(3):
        tasks = case.running(web, 1)
        case.update(web, "--force")
        _replaced(case, web, tasks[0])
        case.updated(web, "completed")
    assert len(case.tasks(web)) == 4
    case.docker("swarm", "update", "--task-history-limit", "2")
    try:
        case.update(web, "--force")
        case.until(lambda: len(case.tasks(web)) == 2, "two tasks left")
        case.running(web, 1)
    finally:
        case.docker("swarm", "update", "--task-history-limit", "5")


@alone
def promote_and_demote(case: Case) -> None:
    """A promoted worker is a reachable manager and can't be removed; demoted it is none."""
    worker = case.node(1)
    told = case.docker("node", "promote", worker)
    assert told == f"Node {worker} promoted to a manager in the swarm."

    def reachability() -> str | None:
        """Return how the worker is reached as a manager; None where no leader answers."""
        status, found = case.side.api("GET", f"/nodes/{case.node_id(1)}")
        manager = found.get("ManagerStatus", {"Reachability": "none"}) if status == 200 else {}
        return cast("str | None", manager.get("Reachability"))

    case.until(lambda: reachability() == "reachable", "the new manager")
    assert _node(case, 1)["Spec"]["Role"] == "manager"
    assert case.docker("node", "promote", worker) == f"Node {case.node_id(1)} is already a manager."
    for force in ((), ("--force",)):
        refused = case.refused("node", "rm", *force, worker)
        assert refused.rc == 1
        assert refused.said.endswith(
            f"code = FailedPrecondition desc = node {case.node_id(1)} is a cluster manager and is "
            "a member of the raft cluster. It must be demoted to worker before removal"
        )
    # Docker gives up on it where the machine is slow, and does it all the same.
    case.until(lambda: case.run("node", "demote", worker).rc == 0, "the demotion accepted")
    case.until(lambda: reachability() == "none", "the manager gone")
    assert case.docker("node", "demote", worker) == f"Node {case.node_id(1)} is already a worker."


@scenario
def the_last_manager(case: Case) -> None:
    """The last manager can be neither demoted nor removed, and leaves by force only."""
    refused = case.refused("node", "demote", case.node(0))
    assert refused == (
        1,
        f"{RPC}FailedPrecondition desc = attempting to demote the last manager of the swarm",
    )
    refused = case.refused("swarm", "leave")
    assert refused.rc == 1
    assert "You are attempting to leave the swarm on a node that is participating" in refused.said


@scenario
def a_node_that_is_up(case: Case) -> None:
    """A node that answers is not removed."""
    refused = case.refused("node", "rm", case.node(2))
    assert refused == (
        1,
        f"{RPC}FailedPrecondition desc = node {case.node_id(2)} is not down and can't be removed",
    )


@scenario
def nodes_that_are_not_there(case: Case) -> None:
    """Commands on a node that isn't there say so."""
    for words in (
        ("node", "inspect", "nothing"),
        ("node", "rm", "nothing"),
        ("node", "update", "--availability", "active", "nothing"),
        ("node", "promote", "nothing"),
        ("node", "demote", "nothing"),
        ("node", "ps", "nothing"),
    ):
        refused = case.refused(*words)
        assert refused.rc == 1
        assert "node nothing not found" in refused.said, words


@scenario
def node_updates_refused(case: Case) -> None:
    """A node's update names the version, and a role and an availability that exist."""
    refused = case.refused("node", "update", "--availability", "gone", case.node(1))
    assert refused.rc == 1
    assert 'invalid Availability: "gone"' in refused.said
    refused = case.refused("node", "update", "--role", "boss", case.node(1))
    assert refused.rc == 1
    assert 'invalid Role: "boss"' in refused.said
    refused = case.refused("node", "update", "--label-rm", "nothing", case.node(1))
    assert refused.rc == 1
    assert "key nothing doesn't exist in node's labels" in refused.said
    found = _node(case, 1)
    path = f"/nodes/{case.node_id(1)}/update?version="
    status, said = case.side.api("POST", f"{path}1", found["Spec"])
    assert (status, said["message"]) == (
        500,
        "rpc error: code = Unknown desc = update out of sequence",
    )


@alone
def a_worker_is_lost(case: Case) -> None:
    """A node that dies is down; its tasks start elsewhere, those that may; then it is removed."""
    here = ("--constraint", f"node.hostname!={case.node(0)}")
    web = case.create("--replicas", "2", *here)
    everywhere = case.create("--mode", "global", suffix="global")
    lone = case.create("--replicas", "2", "--restart-condition", "none", *here, suffix="lone")
    job = case.create("--mode", "replicated-job", "--replicas", "2", *here, suffix="job")
    case.running(web, 2)
    case.running(lone, 2)
    case.running(everywhere, 3)
    case.reach(job, "running", 2)
    (old,) = _on(case.tasks(web), case.node_id(2))
    faults.power_off(case.side.hosts[2])
    case.until(lambda: _node(case, 2)["Status"]["State"] == "down", "the node down")
    assert _node(case, 2)["Status"]["Message"] == "heartbeat failure"
    _without(case, web, 2, 2)
    case.running(everywhere, 2)
    (lost,) = [task for task in case.tasks(web) if task["ID"] == old["ID"]]
    assert (lost["DesiredState"], state(lost)) == ("shutdown", "running")
    assert len(case.tasks(lone)) == 2
    moved = case.by_side(ours=2, docker=1, because="Jobs")
    case.until(lambda: len(_on(case.tasks(job), case.node_id(1))) == moved, "the job's tasks moved")
    refused = case.refused("node", "rm", case.node(0))
    assert "is a cluster manager and is a member of the raft cluster" in refused.said
    assert case.docker("node", "rm", case.node(2)) == case.node(2)
    listed = case.docker("node", "ls", "--format", "{{.Hostname}}").split()
    assert sorted(listed) == [case.node(0), case.node(1)]
    case.until(
        lambda: [state(t) for t in case.tasks(web) if t["ID"] == old["ID"]] in ([], ["orphaned"]),
        "its task orphaned",
    )


@alone
def a_worker_leaves(case: Case) -> None:
    """A worker that leaves takes its containers away, and is down; its tasks start elsewhere."""
    here = ("--constraint", f"node.hostname!={case.node(2)}")
    web = case.create("--replicas", "2", *here)
    assert len({task["NodeID"] for task in case.running(web, 2)}) == 2
    host = case.side.hosts[1]
    of_tasks = "docker ps -aq --filter label=com.docker.swarm.service.name=" + web
    assert len(ssh(host, of_tasks).stdout.split()) == 1
    socket = SOCKET if case.side.kind == "ours" else "/run/docker.sock"
    ssh(host, f"docker -H unix://{socket} swarm leave")
    case.until(lambda: not ssh(host, of_tasks).stdout.split(), "its container gone")
    case.until(lambda: _node(case, 1)["Status"]["State"] == "down", "the node down")
    _without(case, web, 2, 1)
    assert case.docker("node", "rm", case.node(1)) == case.node(1)


def _replaced(case: Case, service: str, old: Task) -> None:
    """Wait until another task is the service's only one."""
    case.until(lambda: [t["ID"] for t in case.running(service, 1)] != [old["ID"]], "the new task")


def _availability(case: Case, node: int) -> str:
    """Return a node's availability as `docker node ls` shows it."""
    words = ("--filter", f"name={case.node(node)}", "--format", "{{json .}}")
    shown: str = json.loads(case.docker("node", "ls", *words))["Availability"]
    return shown


def _when(task: Task) -> datetime:
    """Return when a task's state was last reported."""
    return datetime.fromisoformat(task["Status"]["Timestamp"][:26].rstrip("Z"))
