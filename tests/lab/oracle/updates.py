"""Scenarios: rolling updates, what they do when a new task fails, and rollback."""

from datetime import datetime
from typing import Any

from tests.lab.oracle.case import SLEEP, Case, Task, briefly, state
from tests.lab.oracle.table import scenario

FAST = ("--update-monitor", "300ms", "--update-delay", "0s")
WATCHED = ("--update-monitor", "10s", "--update-delay", "0s")
"""Long enough that a failure is seen while it counts, however busy the machine is."""

SLOWLY = ("sh", "-c", "trap 'sleep 4; exit 0' TERM; sleep 100000 & wait")
"""Runs until it is told to stop, and takes its time then."""

BAD = ("--args", "sh -c 'exit 1'")
"""Options that make every new task fail."""

LATE = ("--args", "sh -c 'sleep 3; exit 1'")
"""The same, but only after the monitor has looked away."""


@scenario
def update_completes(case: Case) -> None:
    """An update replaces every task in its slot, and its status ends `completed`."""
    web = case.create("--replicas", "3", *FAST)
    old = case.running(web, 3)
    case.update(web, "--env-add", "X=1")
    assert case.updated(web, "completed") == "update completed"
    new = case.running(web, 3)
    assert [task["Slot"] for task in new] == [1, 2, 3]
    assert not _ids(old) & _ids(new)
    status = case.inspect(web)["UpdateStatus"]
    assert status["StartedAt"] < status["CompletedAt"]
    spec = case.inspect(web)
    assert spec["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["X=1"]
    assert "Env" not in spec["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]
    pretty = case.docker("service", "inspect", "--pretty", web)
    assert "UpdateStatus:\n State:\t\tcompleted\n Started:" in pretty
    assert "Message:\tupdate completed" in pretty


@scenario
def update_one_at_a_time(case: Case) -> None:
    """With parallelism 1 no two slots are ever between their old and their new task."""
    web = case.create("--replicas", "3", *FAST)
    case.running(web, 3)
    least = 3

    def done() -> bool:
        nonlocal least
        running = [t for t in case.tasks(web) if state(t) == t["DesiredState"] == "running"]
        least = min(least, len({task["Slot"] for task in running}))
        return case.update_status(web)[0] == "completed"

    case.update(web, "--force")
    case.until(done, "the update completed")
    assert least >= 2


@scenario
def update_all_at_once(case: Case) -> None:
    """With parallelism 0 every new task is made before an old one has stopped."""
    web = case.create("--replicas", "3", *FAST, "--update-parallelism", "0", command=SLOWLY)
    old = case.running(web, 3)
    case.update(web, "--force")
    case.updated(web, "completed")
    new = case.running(web, 3)
    by_id = {task["ID"]: task for task in case.tasks(web)}
    created = max(_when(task["CreatedAt"]) for task in new)
    assert all(_when(by_id[task["ID"]]["Status"]["Timestamp"]) > created for task in old)


@scenario
def update_delay(case: Case) -> None:
    """The delay passes between one slot's new task and the next's."""
    web = case.create("--replicas", "2", "--update-delay", "3s", "--update-monitor", "100ms")
    case.running(web, 2)
    case.update(web, "--force")
    case.updated(web, "completed")
    first, second = sorted(_when(task["CreatedAt"]) for task in case.running(web, 2))
    assert (second - first).total_seconds() >= 3


@scenario
def update_two_at_a_time(case: Case) -> None:
    """With parallelism 2 two slots are updated side by side, and the delay lies before the next."""
    web = case.create(
        *("--replicas", "4", "--update-parallelism", "2"),
        *("--update-delay", "8s", "--update-monitor", "100ms"),
    )
    case.running(web, 4)
    case.update(web, "--force")
    case.updated(web, "completed")
    created = sorted(_when(task["CreatedAt"]) for task in case.running(web, 4))
    since = [(each - created[0]).total_seconds() for each in created]
    assert since[1] < 8 <= since[2]


@scenario
def update_stop_first(case: Case) -> None:
    """Order stop-first, the default: the old task has stopped before the new one starts."""
    web = case.create(*FAST)
    (old,) = case.running(web, 1)
    case.update(web, "--force")
    case.updated(web, "completed")
    (new,) = case.running(web, 1)
    (stopped,) = [task for task in case.tasks(web) if task["ID"] == old["ID"]]
    assert _when(stopped["Status"]["Timestamp"]) <= _when(new["Status"]["Timestamp"])
    assert state(stopped) == "shutdown"


@scenario
def update_start_first(case: Case) -> None:
    """Order start-first: the new task runs before the old one is told to stop."""
    web = case.create(*FAST, "--update-order", "start-first")
    (old,) = case.running(web, 1)
    case.update(web, "--force")
    case.updated(web, "completed")
    (new,) = case.running(web, 1)
    case.until(
        lambda: any(t["ID"] == old["ID"] and state(t) == "shutdown" for t in case.tasks(web)),
        "the old task stopped",
    )
    (stopped,) = [task for task in case.tasks(web) if task["ID"] == old["ID"]]
    assert _when(stopped["Status"]["Timestamp"]) >= _when(new["Status"]["Timestamp"])


@scenario
def update_pauses(case: Case) -> None:
    """Action pause, the default: a failing task halts the update; the other slots keep theirs."""
    web = case.create(
        "--replicas", "3", *WATCHED, "--update-delay", "30s", "--restart-condition", "none"
    )
    old = case.running(web, 3)
    case.update(web, *BAD)
    message = case.updated(web, "paused")
    failed = case.reach(web, "failed")
    assert message == (
        f"update paused due to failure or early termination of task {failed[0]['ID']}"
    )
    assert len(_ids(case.running(web, 2)) & _ids(old)) == 2


@scenario
def update_of_a_paused_service(case: Case) -> None:
    """A new spec takes a paused update up again."""
    web = case.create("--replicas", "2", *WATCHED, "--restart-delay", "100ms")
    case.running(web, 2)
    case.update(web, *BAD)
    case.updated(web, "paused")
    case.update(web, "--args", _line(SLEEP), "--update-monitor", "100ms")
    case.updated(web, "completed")
    case.running(web, 2)


@scenario
def update_continues(case: Case) -> None:
    """Action continue: the update goes through all slots whatever fails."""
    web = case.create(
        *("--replicas", "2", *FAST, "--update-failure-action", "continue"),
        *("--restart-condition", "none"),
    )
    case.running(web, 2)
    case.update(web, *BAD)
    assert case.updated(web, "completed") == "update completed"
    failed = case.reach(web, "failed", 2)
    assert sorted(task["Slot"] for task in failed) == [1, 2]


@scenario
def update_rolls_back(case: Case) -> None:
    """Action rollback: the spec before comes back by itself, and can't be gone back to again."""
    web = case.create(
        *("--replicas", "2", *WATCHED, "--update-failure-action", "rollback"),
        *("--rollback-monitor", "300ms", "--restart-delay", "100ms"),
    )
    case.running(web, 2)
    case.update(web, *BAD)
    assert case.updated(web, "rollback_completed") == "rollback completed"
    case.running(web, 2)
    found = case.inspect(web)
    assert found["Spec"]["TaskTemplate"]["ContainerSpec"]["Args"] == list(SLEEP)
    assert "PreviousSpec" not in found
    refused = case.refused("service", "rollback", "--detach", web)
    assert refused.rc == 1
    assert refused.said.endswith(f"service {case.service(web)['ID']} does not have a previous spec")


@scenario
def update_rollback_fails(case: Case) -> None:
    """A rollback whose own tasks fail is paused.

    The new spec fails in one slot only: in Docker a slot that is empty when the rollback comes to
    it is filled outside of the rollback, and nobody watches that task. The old one fails once the
    new one was there, which a volume tells it.
    """
    web = case.create(
        *("--replicas", "2", *WATCHED, "--update-parallelism", "2", "--restart-delay", "1s"),
        *("--update-failure-action", "rollback", "--rollback-monitor", "20s"),
        *("--env", "SLOT={{.Task.Slot}}", "--constraint", f"node.hostname=={case.node(1)}"),
        *("--mount", f"type=volume,source={case.name('seen')},target=/seen"),
        command=("sh", "-c", f"test -e /seen/it && exit 1; {SLEEP[-1]}"),
    )
    case.running(web, 2)
    case.update(
        web, "--args", "sh -c 'touch /seen/it; sleep 2; test $SLOT = 1 && exit 1; sleep 1000'"
    )
    message = case.updated(web, "rollback_paused")
    what = case.by_side(ours="rollback", docker="update", because="Rollback")
    assert message.startswith(f"{what} paused due to failure or early termination of task ")


@scenario
def update_failure_ratio(case: Case) -> None:
    """As many failures as the ratio allows don't stop an update; all are counted."""
    web = case.create(
        *("--replicas", "2", *FAST, "--update-max-failure-ratio", "1"),
        *("--restart-condition", "none"),
    )
    case.running(web, 2)
    case.update(web, *BAD)
    case.updated(web, "completed")
    assert len(case.reach(web, "failed", 2)) == 2


@scenario
def update_failure_ratio_between(case: Case) -> None:
    """Half of the tasks may fail where the ratio is a half, and no more."""
    web = case.create(
        *("--replicas", "4", "--update-monitor", "20s", "--update-delay", "8s"),
        *("--update-max-failure-ratio", "0.5", "--restart-condition", "none"),
    )
    old = _ids(case.running(web, 4))
    case.update(web, *BAD)
    case.updated(web, "paused")
    assert len(_ids(case.tasks(web)) - old) == 3


@scenario
def update_monitor_ends(case: Case) -> None:
    """A failure after the monitor's time is none of the update's business."""
    web = case.create("--replicas", "2", *FAST, "--restart-condition", "none")
    case.running(web, 2)
    case.update(web, *LATE)
    assert case.updated(web, "completed") == "update completed"
    case.reach(web, "failed", 2)
    assert case.update_status(web)[0] == "completed"


@scenario
def rollback_by_hand(case: Case) -> None:
    """`service rollback` swaps the spec with the one before, and back again."""
    web = case.create("--replicas", "1", *FAST, "--rollback-monitor", "100ms", "--env", "X=old")
    case.running(web, 1)
    case.update(web, "--env-add", "X=new")
    case.updated(web, "completed")
    case.docker("service", "rollback", "--detach", web)
    assert case.updated(web, "rollback_completed") == "rollback completed"
    assert _env(case.inspect(web)["Spec"]) == ["X=old"]
    assert _env(case.inspect(web)["PreviousSpec"]) == ["X=new"]
    (task,) = case.running(web, 1)
    assert _env({"TaskTemplate": task["Spec"]}) == ["X=old"]
    case.docker("service", "update", "--detach", "--rollback", web)
    case.until(lambda: _env(case.service(web)["Spec"]) == ["X=new"], "the newer spec again")


@scenario
def rollback_without_a_past(case: Case) -> None:
    """A service that was never updated can't be rolled back."""
    web = case.create("--replicas", "0")
    refused = case.refused("service", "rollback", "--detach", web)
    assert refused.rc == 1
    assert refused.said.endswith(f"service {case.service(web)['ID']} does not have a previous spec")


@scenario
def force_counts(case: Case) -> None:
    """`--force` replaces tasks of an unchanged spec and is counted in it."""
    web = case.create(*FAST)
    (old,) = case.running(web, 1)
    assert case.inspect(web)["Spec"]["TaskTemplate"]["ForceUpdate"] == 0
    case.update(web, "--force")
    case.updated(web, "completed")
    assert case.inspect(web)["Spec"]["TaskTemplate"]["ForceUpdate"] == 1
    (new,) = case.running(web, 1)
    assert new["ID"] != old["ID"]


@scenario
def scaling_is_no_update(case: Case) -> None:
    """Scaling, labels and update settings replace no task and leave no update status."""
    web = case.create("--replicas", "1", *FAST)
    (old,) = case.running(web, 1)
    case.docker("service", "scale", "--detach", f"{web}=2")
    case.running(web, 2)
    case.update(web, "--label-add", "x=y", "--update-parallelism", "2")
    case.until(lambda: case.service(web)["Spec"]["Labels"] == {"x": "y"}, "the label")
    tasks = case.running(web, 2)
    assert old["ID"] in _ids(tasks)
    assert len(case.tasks(web)) == 2
    assert case.update_status(web) == ("", "")


@scenario
def scaling_during_an_update(case: Case) -> None:
    """Scaled up while an update runs, a service ends with every task of the new spec."""
    web = case.create("--replicas", "2", "--update-delay", "6s", "--update-monitor", "100ms")
    case.running(web, 2)
    case.update(web, "--env-add", "X=1")
    case.until(lambda: case.update_status(web)[0] == "updating", "the update begun")
    case.docker("service", "scale", "--detach", f"{web}=4")
    case.updated(web, "completed")
    tasks = case.running(web, 4)
    assert [_env({"TaskTemplate": task["Spec"]}) for task in tasks] == [["X=1"]] * 4


@scenario
def constraint_that_fits_already(case: Case) -> None:
    """A constraint that a task's node fulfils is no reason to replace the task."""
    web = case.create("--constraint", f"node.hostname=={case.node(1)}", *FAST)
    (old,) = case.running(web, 1)
    case.update(web, "--constraint-add", "node.platform.os==linux")
    spec = case.service(web)["Spec"]
    assert "node.platform.os==linux" in spec["TaskTemplate"]["Placement"]["Constraints"]
    (task,) = case.running(web, 1)
    assert task["ID"] == old["ID"], briefly(case.tasks(web))


@scenario
def progress_is_shown(case: Case) -> None:
    """Not detached, `create` and `update` report progress; a pause is an error."""
    name = case.keep("service", case.name())
    words = ("--no-resolve-image", "--update-monitor", "100ms", "--restart-condition", "none")
    told = case.docker("service", "create", "--name", name, *words, "busybox:1", *SLEEP)
    assert "overall progress: 1 out of 1 tasks" in told
    assert "verify: Service" in told
    done = case.run("service", "update", "--no-resolve-image", *WATCHED, *BAD, name)
    assert done.rc == 1
    assert "service update paused: update paused due to failure or early termination" in done.err


def _ids(tasks: list[Task]) -> set[str]:
    return {str(task["ID"]) for task in tasks}


def _env(spec: dict[str, Any]) -> Any:
    return spec["TaskTemplate"]["ContainerSpec"].get("Env")


def _line(words: tuple[str, ...]) -> str:
    *first, last = words
    return f'{" ".join(first)} "{last}"'


def _when(timestamp: str) -> datetime:
    """Read a timestamp, to the microsecond."""
    return datetime.fromisoformat(timestamp[:26].rstrip("Z"))
