"""Scenarios: the four modes of a service, their slots, and how jobs run and run again."""

import json

from tests.lab.oracle.case import Case, state
from tests.lab.oracle.table import scenario

QUICK = ("sh", "-c", "exit 0")


@scenario
def replicated_slots(case: Case) -> None:
    """A replicated service has one task a slot, slots from 1, spread over the nodes."""
    web = case.create("--replicas", "3")
    tasks = case.running(web, 3)
    assert [task["Slot"] for task in tasks] == [1, 2, 3]
    assert len({task["NodeID"] for task in tasks}) == 3
    rows = case.ps(web)
    assert sorted(row["Name"] for row in rows) == [f"{web}.1", f"{web}.2", f"{web}.3"]
    assert {row["DesiredState"] for row in rows} == {"Running"}
    assert _row(case, web) == ("replicated", "3/3")


@scenario
def replicas_default_and_zero(case: Case) -> None:
    """Without a number a service has one replica, and the number can be zero."""
    web = case.create()
    case.running(web, 1)
    assert case.inspect(web)["Spec"]["Mode"] == {"Replicated": {"Replicas": 1}}
    case.update(web, "--replicas", "0")
    case.until(lambda: not case.tasks(web), "no task left")
    assert _row(case, web) == ("replicated", "0/0")


@scenario
def scale_fills_lowest_slots(case: Case) -> None:
    """Scaled down and up again, a service fills its lowest free slots."""
    web = case.create("--replicas", "4")
    case.running(web, 4)
    case.docker("service", "scale", "--detach", f"{web}=1")
    (left,) = case.running(web, 1)
    case.docker("service", "scale", "--detach", f"{web}=3")
    tasks = case.running(web, 3)
    wanted = [1, 2, 3] if left["Slot"] < 4 else [1, 2, 4]
    assert [task["Slot"] for task in tasks] == wanted
    assert left["ID"] in {task["ID"] for task in tasks}


@scenario
def scale_down_from_the_fullest_node(case: Case) -> None:
    """Scaled down, a service keeps tasks on as many nodes as it can."""
    web = case.create("--replicas", "6")
    case.running(web, 6)
    case.docker("service", "scale", "--detach", f"{web}=3")
    tasks = case.running(web, 3)
    assert len({task["NodeID"] for task in tasks}) == 3


@scenario
def global_service(case: Case) -> None:
    """A global service has one task a node, named after the node, and no slot."""
    web = case.create("--mode", "global")
    tasks = case.running(web, 3)
    assert sorted(task["NodeID"] for task in tasks) == sorted(case.side.node_ids.values())
    assert not any(task.get("Slot") for task in tasks)
    assert sorted(row["Name"] for row in case.ps(web)) == sorted(
        f"{web}.{node}" for node in case.side.node_ids.values()
    )
    assert _row(case, web) == ("global", "3/3")


@scenario
def global_follows_labels(case: Case) -> None:
    """A global service follows its constraint as nodes get and lose a label."""
    label = case.name("here")
    web = case.create("--mode", "global", "--constraint", f"node.labels.{label}==yes")
    case.until(lambda: case.service(web), "the service")
    assert _row(case, web) == ("global", "0/0")
    case.docker("node", "update", "--label-add", f"{label}=yes", case.node(1))
    (task,) = case.running(web, 1)
    assert task["NodeID"] == case.node_id(1)
    case.docker("node", "update", "--label-rm", label, case.node(1))
    case.until(
        lambda: all(task["DesiredState"] == "shutdown" for task in case.tasks(web)),
        "its task told to stop",
    )
    case.running(web, 0)


@scenario
def replicated_job(case: Case) -> None:
    """A replicated job runs each of its tasks to completion, once."""
    job = case.create("--mode", "replicated-job", "--replicas", "3", command=QUICK)
    tasks = case.reach(job, "complete", 3)
    assert sorted(task["Slot"] for task in tasks if "Slot" in task)[-2:] == [1, 2]
    assert {task["DesiredState"] for task in tasks} == {"complete"}
    assert {task["Status"]["ContainerStatus"]["ExitCode"] for task in tasks} == {0}
    mode = case.inspect(job)["Spec"]["Mode"]["ReplicatedJob"]
    assert mode == {"MaxConcurrent": 3, "TotalCompletions": 3}
    assert _row(case, job) == ("replicated job", "0/3 (3/3 completed)")
    assert len(case.tasks(job)) == 3


@scenario
def job_max_concurrent(case: Case) -> None:
    """A replicated job never has more tasks under way than it may, and ends complete."""
    job = case.create(
        *("--mode", "replicated-job", "--replicas", "4", "--max-concurrent", "2"),
        command=("sh", "-c", "sleep 0.3"),
    )
    most = 0

    def all_complete() -> bool:
        nonlocal most
        tasks = case.tasks(job)
        live = [task for task in tasks if state(task) not in {"complete", "failed"}]
        most = max(most, len(live))
        return sum(state(task) == "complete" for task in tasks) == 4

    case.until(all_complete, "4 completed")
    assert 1 <= most <= 2
    assert _row(case, job) == ("replicated job", "0/2 (4/4 completed)")


@scenario
def global_job(case: Case) -> None:
    """A global job runs once on every node."""
    job = case.create("--mode", "global-job", command=QUICK)
    tasks = case.reach(job, "complete", 3)
    assert sorted(task["NodeID"] for task in tasks) == sorted(case.side.node_ids.values())
    assert case.inspect(job)["Spec"]["Mode"] == {"GlobalJob": {}}
    assert _row(case, job) == ("global job", "0/0 (3/3 completed)")


@scenario
def job_runs_again_by_force(case: Case) -> None:
    """A job runs again when it is updated by force: a new iteration."""
    job = case.create("--mode", "replicated-job", "--replicas", "2", command=QUICK)
    case.reach(job, "complete", 2)
    first = case.service(job)["JobStatus"]
    assert first["JobIteration"].get("Index", 0) == 0
    case.update(job, "--force")
    tasks = case.reach(job, "complete", 4)
    again = case.service(job)["JobStatus"]
    assert again["JobIteration"]["Index"] > 0
    assert again["LastExecution"] > first["LastExecution"]
    iterations = [task["JobIteration"].get("Index", 0) for task in tasks]
    assert sorted(set(iterations)) == [0, again["JobIteration"]["Index"]]
    assert _row(case, job) == ("replicated job", "0/2 (2/2 completed)")


@scenario
def job_retries(case: Case) -> None:
    """A job's failed task is replaced in its slot until one completes."""
    job = case.create(
        *("--mode", "replicated-job", "--restart-delay", "100ms"),
        *("--restart-condition", "on-failure", "--restart-max-attempts", "2"),
        command=("sh", "-c", "exit 4"),
    )
    tasks = case.reach(job, "failed", 3)
    assert {task["Status"]["Err"] for task in tasks} == {"task: non-zero exit (4)"}
    assert len({task.get("Slot", 0) for task in tasks}) == 1
    assert _row(case, job) == ("replicated job", "0/1 (0/1 completed)")


def _row(case: Case, service: str) -> tuple[str, str]:
    """Return mode and replicas as `docker service ls` shows them."""
    words = ("--filter", f"name={service}", "--format", "{{json .}}")
    for line in case.docker("service", "ls", *words).splitlines():
        row = json.loads(line)
        if row["Name"] == service:
            return row["Mode"], row["Replicas"]
    return "", ""
