"""Scenarios: a task's states and what it says of itself, and how a slot's history is kept."""

from tests.lab.hosts import run_in
from tests.lab.oracle.case import Case, state
from tests.lab.oracle.table import scenario


@scenario
def a_running_task(case: Case) -> None:
    """A task that runs says `started`, its container and its process."""
    web = case.create()
    (task,) = case.running(web, 1)
    assert task["DesiredState"] == "running"
    assert task["Status"]["Message"] == "started"
    assert "Err" not in task["Status"]
    container = task["Status"]["ContainerStatus"]
    assert len(container["ContainerID"]) == 64
    assert container["PID"] > 0
    assert task["Status"]["PortStatus"] == {}
    assert task["NodeID"] in case.side.node_ids.values()
    assert task["ServiceID"] == case.service(web)["ID"]


@scenario
def a_failed_task(case: Case) -> None:
    """A task that exits is failed with its exit code, and another takes its slot."""
    web = case.create("--restart-delay", "60s", command=("sh", "-c", "sleep 0.1; exit 3"))
    (task,) = case.reach(web, "failed")
    assert task["Status"]["Err"] == "task: non-zero exit (3)"
    assert task["Status"]["Message"] == "started"
    assert task["Status"]["ContainerStatus"]["ExitCode"] == 3
    case.until(lambda: len(case.tasks(web)) == 2, "its replacement")
    old, new = case.tasks(web)
    assert (old["DesiredState"], new["DesiredState"]) == ("shutdown", "ready")
    assert old["Slot"] == new["Slot"] == 1
    failed = next(row for row in case.ps(web) if row["CurrentState"].startswith("Failed"))
    assert failed["Error"] == '"task: non-zero exit (3)"'
    assert failed["Name"] == f"{web}.1"


@scenario
def a_completed_task(case: Case) -> None:
    """A task that ends well is complete, with the message `finished`."""
    web = case.create("--restart-condition", "none", command=("true",))
    (task,) = case.reach(web, "complete")
    assert task["Status"]["Message"] == "finished"
    assert task["Status"]["ContainerStatus"]["ExitCode"] == 0
    assert "Err" not in task["Status"]


@scenario
def a_task_shut_down(case: Case) -> None:
    """A task that is replaced by an update is shut down, with the message `shutdown`."""
    web = case.create()
    (old,) = case.running(web, 1)
    case.update(web, "--force", "--update-monitor", "100ms")
    case.reach(web, "shutdown")
    (new,) = case.running(web, 1)
    assert new["ID"] != old["ID"]
    (stopped,) = [task for task in case.tasks(web) if task["ID"] == old["ID"]]
    assert (stopped["DesiredState"], stopped["Status"]["Message"]) == ("shutdown", "shutdown")


@scenario
def a_rejected_task(case: Case) -> None:
    """A task whose image is nowhere is rejected and says which image."""
    web = case.create("--restart-condition", "none", image="nowhere:1")
    (task,) = case.reach(web, "rejected")
    told, _, why = task["Status"]["Err"].partition(" (pulling it failed: ")
    assert told == "No such image: nowhere:1"
    assert bool(why) is case.by_side(ours=True, docker=False, because="Images")
    assert task["Status"]["Message"] == "preparing"


@scenario
def a_task_without_its_command(case: Case) -> None:
    """A task whose command is not in the image fails at its start."""
    web = case.create("--restart-delay", "60s", command=("/no/such/command",))
    task = case.until(
        lambda: next((t for t in case.tasks(web) if state(t) in {"failed", "rejected"}), None),
        "the task failed",
    )
    assert task is not None
    assert state(task) == "failed"
    assert task["Status"]["Message"] == "starting"
    assert task["Status"]["Err"].startswith("starting container failed: ")
    assert "/no/such/command" in task["Status"]["Err"]


@scenario
def a_container_removed_from_outside(case: Case) -> None:
    """A container that something else removes is a failed task, and is replaced."""
    web = case.create("--restart-delay", "100ms")
    (task,) = case.running(web, 1)
    host = next(host for host in case.side.hosts if case.side.node_ids[host.name] == task["NodeID"])
    container = task["Status"]["ContainerStatus"]["ContainerID"]
    run_in(host, "docker", "kill", container)
    (dead,) = case.reach(web, "failed")
    assert dead["Status"]["Err"] == "task: non-zero exit (137)"
    (new,) = case.running(web, 1)
    assert (new["ID"] != task["ID"], new["Slot"]) == (True, 1)


@scenario
def history_is_kept_and_reaped(case: Case) -> None:
    """A slot's history is kept to five tasks, the one that is wanted among them."""
    web = case.create("--restart-delay", "10ms", command=("false",))
    seen: set[str] = set()

    def look() -> bool:
        seen.update(task["ID"] for task in case.tasks(web))
        return len(seen) >= 7

    case.until(look, "seven tasks made")
    case.update(web, "--replicas", "0")
    case.until(lambda: len(case.tasks(web)) <= 5, "at most five left")


@scenario
def removal(case: Case) -> None:
    """A removed service's tasks are gone with their containers."""
    web = case.create("--replicas", "2")
    case.running(web, 2)
    assert case.docker("service", "rm", web) == web
    case.until(lambda: not case.tasks(web), "its tasks gone")
    refused = case.refused("service", "ps", web)
    assert refused == (1, f"no such service: {web}")
