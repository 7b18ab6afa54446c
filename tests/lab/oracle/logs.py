"""Scenarios: what services and tasks printed, through `docker service logs`."""

from datetime import UTC, datetime, timedelta

from tests.lab.oracle.case import COMMAND_EVERY_S, SLEEP, Case
from tests.lab.oracle.table import scenario

COUNT = ("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; sleep 1000")

WAITS = (
    "no suitable node (scheduling constraints not satisfied on 2 nodes; "
    "max replicas per node limit exceed)"
)


def _until(case: Case, service: str, text: str, *options: str) -> str:
    """Return a service's logs once they hold a text."""
    case.until(
        lambda: text in case.logs(service, *options),
        f"{text} in the logs",
        every_s=COMMAND_EVERY_S,
    )
    return case.logs(service, *options)


@scenario
def logs_of_a_service(case: Case) -> None:
    """Each line is labelled with task and node; standard error goes to standard error."""
    web = case.create("--replicas", "2", command=COUNT)
    tasks = case.running(web, 2)
    case.printed(web, 12)
    names = {node: name for name, node in case.side.node_ids.items()}
    done = case.run("service", "logs", "--no-trunc", web)
    for task in tasks:
        label = f"{web}.{task['Slot']}.{task['ID']}@{names[task['NodeID']]}"
        mine = [line for line in done.out.splitlines() if line.startswith(label)]
        assert [line.split("| ")[1] for line in mine] == [f"line {i}" for i in range(1, 6)]
        assert [line for line in done.err.splitlines() if line.startswith(label)]


@scenario
def logs_raw_and_tail(case: Case) -> None:
    """`--raw` leaves the labels out; `--tail` takes the last lines of each task."""
    web = case.create("--replicas", "2", command=("sh", "-c", "seq 100; sleep 1000"))
    case.running(web, 2)
    assert len(case.printed(web, 200)) == 200
    lines = case.logs(web, "--raw", "--tail", "3").splitlines()
    assert sorted(lines) == sorted(["98", "99", "100"] * 2)
    assert case.logs(web, "--raw", "--tail", "0") == ""


@scenario
def logs_timestamps_and_since(case: Case) -> None:
    """`--timestamps` begins each line with its time; `--since` takes what came after."""
    web = case.create(command=("sh", "-c", "echo early; sleep 6; echo late; sleep 1000"))
    case.running(web, 1)
    _until(case, web, "late")
    stamped = case.logs(web, "--raw", "--timestamps").splitlines()
    times = [datetime.fromisoformat(line.split()[0][:26].rstrip("Z")) for line in stamped]
    assert [line.split()[1] for line in stamped] == ["early", "late"]
    assert (times[1] - times[0]).total_seconds() > 2
    since = (times[1].replace(tzinfo=UTC) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert case.logs(web, "--raw", "--since", since) == "late"


@scenario
def logs_details(case: Case) -> None:
    """`--details` adds the labels that tell where a line comes from."""
    web = case.create("--env", "A=1", command=("sh", "-c", "echo hello; sleep 1000"))
    (task,) = case.running(web, 1)
    _until(case, web, "hello")
    told = case.logs(web, "--details", "--raw")
    assert f"com.docker.swarm.task.id={task['ID']}" in told
    assert f"com.docker.swarm.service.id={task['ServiceID']}" in told
    assert f"com.docker.swarm.node.id={task['NodeID']}" in told
    assert told.endswith("hello")


@scenario
def logs_of_a_task(case: Case) -> None:
    """A task's own logs are had by its ID, also when it has ended."""
    web = case.create("--restart-condition", "none", command=("sh", "-c", "echo bye; exit 3"))
    (task,) = case.reach(web, "failed")
    _until(case, task["ID"], "bye", "--raw")
    assert case.logs(task["ID"], "--raw") == "bye"


@scenario
def logs_labels(case: Case) -> None:
    """`--no-task-ids` and `--no-resolve` change how the label is written."""
    web = case.create(command=("sh", "-c", "echo hello; sleep 1000"))
    (task,) = case.running(web, 1)
    _until(case, web, "hello")
    names = {node: name for name, node in case.side.node_ids.items()}
    short = case.logs(web, "--no-task-ids")
    assert short == f"{web}.1@{names[task['NodeID']]}    | hello"
    plain = case.logs(web, "--no-resolve", "--no-trunc")
    assert plain.startswith(f"{task['ServiceID']}.1.{task['ID']}@{task['NodeID']}")


@scenario
def logs_followed(case: Case) -> None:
    """`--follow` goes on with what is printed later, and with tasks that come later."""
    web = case.create(command=("sh", "-c", f"echo early; sleep 2; echo late; {SLEEP[-1]}"))
    case.running(web, 1)
    with case.following(web, "--raw") as heard:
        case.until(lambda: heard() == ["early", "late"], "both lines")
        case.docker("service", "scale", "--detach", f"{web}=2")
        case.until(lambda: heard() == ["early", "late"] * 2, "those of the second task")


@scenario
def logs_with_a_task_that_waits(case: Case) -> None:
    """A service's logs are of the tasks that have run; one without a node says that it has none."""
    web = case.create(
        *("--replicas", "2", "--replicas-max-per-node", "1"),
        *("--constraint", f"node.hostname=={case.node(1)}"),
        command=("sh", "-c", f"echo hello; {SLEEP[-1]}"),
    )
    waiting = case.pending(web, WAITS)
    case.until(
        lambda: "hello" in case.run("service", "logs", "--raw", web).out,
        "the other's line",
        every_s=COMMAND_EVERY_S,
    )
    done = case.run("service", "logs", "--raw", web)
    assert done == (0, "hello", "")
    of_it = case.run("service", "logs", "--raw", waiting["ID"])
    assert (of_it.rc, of_it.out) == (1, ""), of_it
    assert f"task {waiting['ID']} has not been scheduled" in of_it.err
