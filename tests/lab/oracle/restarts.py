"""Scenarios: a service's restart policy."""

from datetime import datetime

from tests.lab.oracle.case import Case, Task, state
from tests.lab.oracle.table import scenario

BAD = ("sh", "-c", "exit 1")
GOOD = ("true",)


@scenario
def restart_none(case: Case) -> None:
    """Condition `none`: a task that failed stays, and nothing replaces it."""
    web = case.create("--restart-condition", "none", "--restart-delay", "0s", command=BAD)
    case.reach(web, "failed")
    _settled(case, web, 1)


@scenario
def restart_on_failure_leaves_success(case: Case) -> None:
    """Condition `on-failure`: a task that ended well stays."""
    web = case.create("--restart-condition", "on-failure", "--restart-delay", "0s", command=GOOD)
    case.reach(web, "complete")
    _settled(case, web, 1)
    assert case.tasks(web)[0]["DesiredState"] == "shutdown"


@scenario
def restart_on_failure(case: Case) -> None:
    """Condition `on-failure`: a task that failed is replaced."""
    web = case.create("--restart-condition", "on-failure", "--restart-delay", "0s", command=BAD)
    case.reach(web, "failed", 2)


@scenario
def restart_any(case: Case) -> None:
    """Condition `any`, the default: a task that ended well is replaced too."""
    web = case.create("--restart-delay", "0s", command=GOOD)
    case.reach(web, "complete", 2)


@scenario
def restart_delay(case: Case) -> None:
    """The replacement waits at `ready` for the restart delay."""
    web = case.create("--restart-delay", "12s", "--restart-max-attempts", "1", command=BAD)
    case.until(
        lambda: [t for t in case.tasks(web) if state(t) == t["DesiredState"] == "ready"],
        "a task that waits",
    )
    case.reach(web, "failed", 2)
    first, second = case.tasks(web)
    assert (_at(second) - _at(first)).total_seconds() >= 12


@scenario
def restart_max_attempts(case: Case) -> None:
    """After `max attempts` replacements a slot is left as it is."""
    web = case.create("--restart-delay", "50ms", "--restart-max-attempts", "2", command=BAD)
    case.reach(web, "failed", 3)
    _settled(case, web, 3)


@scenario
def restart_window(case: Case) -> None:
    """Attempts older than the window don't count."""
    web = case.create(
        *("--restart-delay", "50ms", "--restart-max-attempts", "1", "--restart-window", "1s"),
        command=("sh", "-c", "sleep 1.5; exit 1"),
    )
    seen: set[str] = set()

    def look() -> bool:
        seen.update(task["ID"] for task in case.tasks(web))
        return len(seen) >= 4

    case.until(look, "replaced three times")


@scenario
def global_job_max_attempts(case: Case) -> None:
    """A task of a global job that fails is replaced as often as `max attempts` says."""
    job = case.create(
        *("--mode", "global-job", "--restart-delay", "50ms", "--restart-max-attempts", "1"),
        *("--constraint", f"node.hostname=={case.node(1)}"),
        command=BAD,
    )
    count = case.by_side(ours=2, docker=4, because="Jobs")
    case.reach(job, "failed", count)
    if count == 2:
        _settled(case, job, 2)


def _settled(case: Case, service: str, count: int) -> None:
    """See that so many tasks were made, all ended, once another service had time to start."""
    probe = case.create("--replicas", "1", "--restart-delay", "0s", suffix="probe")
    case.running(probe, 1)
    case.update(probe, "--force")
    case.until(lambda: len(case.tasks(probe)) == 2, "the probe replaced")
    case.running(probe, 1)
    tasks = case.tasks(service)
    assert len(tasks) == count, tasks
    assert {state(task) for task in tasks} <= {"failed", "complete"}


def _at(task: Task) -> datetime:
    """Return when a task's state was last reported."""
    return datetime.fromisoformat(task["Status"]["Timestamp"][:26].rstrip("Z"))
