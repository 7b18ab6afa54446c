"""Scenarios: what a task's container is made of, when it is healthy, and how it is stopped."""

from collections.abc import Callable
from datetime import datetime

from tests.lab.hosts import run_in
from tests.lab.oracle.case import Case
from tests.lab.oracle.table import scenario

ASKED = ("--health-interval", "200ms", "--health-timeout", "2s", "--health-retries", "2")


@scenario
def healthcheck_gates_running(case: Case) -> None:
    """A task with a healthcheck is `starting` until the check succeeds."""
    web = case.create(
        *(*ASKED, "--health-cmd", "test -e /tmp/ok", "--health-retries", "100"),
        command=("sh", "-c", "trap 'exit 0' TERM; sleep 4; touch /tmp/ok; sleep 1000 & wait"),
    )
    (task,) = case.reach(web, "starting")
    assert task["DesiredState"] == "running"
    (task,) = case.running(web, 1)
    assert task["Status"]["Message"] == "started"


@scenario
def unhealthy_tasks_fail(case: Case) -> None:
    """A task whose check fails is stopped and failed, and says that it was unhealthy."""
    web = case.create(
        *(*ASKED, "--health-cmd", "test ! -e /tmp/ill", "--restart-condition", "none"),
        command=("sh", "-c", "sleep 2; touch /tmp/ill; sleep 1000"),
    )
    (task,) = case.reach(web, "failed")
    assert task["Status"]["Err"] == "task: non-zero exit (137): dockerexec: unhealthy container"


@scenario
def unhealthy_from_the_start(case: Case) -> None:
    """A task that never is healthy fails without ever running."""
    web = case.create(
        *(*ASKED, "--health-cmd", "false", "--restart-condition", "none"),
        *("--stop-grace-period", "1s"),
        command=("sleep", "1000"),
    )
    (task,) = case.reach(web, "failed")
    assert "unhealthy container" in task["Status"]["Err"]
    assert task["Status"]["Message"] == "starting"


@scenario
def unhealthy_and_obedient(case: Case) -> None:
    """A task that was never healthy and ends well when it is stopped for that."""
    web = case.create(*ASKED, "--health-cmd", "false", "--restart-condition", "none")
    wanted = case.by_side(ours="failed", docker="complete", because="Healthchecks")
    (task,) = case.reach(web, wanted)
    assert task["Status"]["ContainerStatus"]["ExitCode"] == 0


@scenario
def stop_signal(case: Case) -> None:
    """A task is stopped with the signal that its service names."""
    web = case.create(
        *("--stop-signal", "SIGUSR1", "--stop-grace-period", "30s", "--update-monitor", "100ms"),
        command=("sh", "-c", "trap 'exit 0' USR1; echo trapped; sleep 1000 & wait"),
    )
    (old,) = case.running(web, 1)
    case.printed(web, 1)
    case.update(web, "--force")
    stopped = case.reach(web, "shutdown")
    assert [task["ID"] for task in stopped] == [old["ID"]]
    assert stopped[0]["Status"]["ContainerStatus"]["ExitCode"] == 0
    assert case.inspect(web)["Spec"]["TaskTemplate"]["ContainerSpec"]["StopSignal"] == "SIGUSR1"


@scenario
def stop_grace_period(case: Case) -> None:
    """A task that ignores its stop signal is killed after the grace period."""
    web = case.create(
        *("--stop-grace-period", "4s", "--update-monitor", "100ms"),
        command=("sh", "-c", "trap '' TERM; while true; do sleep 1; done"),
    )
    (old,) = case.running(web, 1)
    case.update(web, "--force")
    (stopped,) = case.reach(web, "shutdown")
    (new,) = case.running(web, 1)
    # The old task is told to stop when the new one is made.
    grace_s = (_when(stopped["Status"]["Timestamp"]) - _when(new["CreatedAt"])).total_seconds()
    assert grace_s >= 3
    assert stopped["ID"] == old["ID"]
    assert stopped["Status"]["ContainerStatus"]["ExitCode"] == 137


@scenario
def what_a_container_is_made_of(case: Case) -> None:
    """User, directory, hostname, environment, hosts and read-only root are as the service says."""
    asked = (
        'id -u; pwd; hostname; echo "$COLOUR"; grep -c extra.example /etc/hosts;'
        " touch /x 2>/dev/null || echo read-only; touch /scratch/y && echo scratch;"
        " cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ulimit -n"
    )
    web = case.create(
        *("--user", "nobody", "--workdir", "/tmp", "--hostname", "there", "--env", "COLOUR=red"),
        *("--host", "extra.example:192.0.2.7", "--read-only", "--restart-condition", "none"),
        *("--mount", "type=tmpfs,target=/scratch,tmpfs-mode=1777"),
        *("--sysctl", "net.ipv4.ip_unprivileged_port_start=500", "--ulimit", "nofile=123:456"),
        command=("sh", "-c", asked),
    )
    case.reach(web, "complete")
    wanted = ["65534", "/tmp", "there", "red", "1", "read-only", "scratch", "500", "123"]
    assert case.printed(web, len(wanted)) == wanted


@scenario
def names_groups_and_terminals(case: Case) -> None:
    """DNS settings, further groups and a terminal are as the service says."""
    asked = "test -t 1 && echo terminal; id -G; grep -v '^#' /etc/resolv.conf | grep . | sort"
    web = case.create(
        *("--tty", "--group", "123", "--restart-condition", "none"),
        *("--dns", "192.0.2.53", "--dns-search", "example", "--dns-option", "ndots:3"),
        command=("sh", "-c", asked),
    )
    case.reach(web, "complete")
    terminal, groups, *names = [line.strip() for line in case.printed(web, 5)]
    assert terminal == "terminal"
    assert "123" in groups.split()
    assert names == ["nameserver 192.0.2.53", "options ndots:3", "search example"]


@scenario
def templates(case: Case) -> None:
    """Placeholders in hostname, environment and mounts are filled in for each task."""
    web = case.create(
        *("--hostname", "{{.Service.Name}}-{{.Task.Slot}}", "--restart-condition", "none"),
        *("--env", "NODE={{.Node.Hostname}}", "--env", "TASK={{.Task.Name}}"),
        *("--env", 'LABEL={{index .Service.Labels "tier"}}', "--label", "tier=front"),
        *("--constraint", f"node.hostname=={case.node(1)}"),
        command=("sh", "-c", 'hostname; echo "$NODE"; echo "$TASK"; echo "$LABEL"'),
    )
    (task,) = case.reach(web, "complete")
    wanted = [f"{web}-1", case.node(1), f"{web}.1.{task['ID']}", "front"]
    assert case.printed(web, 4) == wanted


@scenario
def container_labels(case: Case) -> None:
    """A container has its own labels, and Docker's that say which task it is."""
    web = case.create(
        "--container-label", "mine=yes", "--constraint", f"node.hostname=={case.node(2)}"
    )
    (task,) = case.running(web, 1)
    found = _inspect_container(case, 2, task["Status"]["ContainerStatus"]["ContainerID"])
    listed = found("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}\n{{end}}")
    labels = dict(line.split("=", 1) for line in listed if line)
    assert labels == {
        "mine": "yes",
        "com.docker.swarm.node.id": case.node_id(2),
        "com.docker.swarm.service.id": task["ServiceID"],
        "com.docker.swarm.service.name": web,
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": task["ID"],
        "com.docker.swarm.task.name": f"{web}.1.{task['ID']}",
    }
    assert found("{{.Name}}") == [f"/{web}.1.{task['ID']}"]


@scenario
def limits_and_capabilities(case: Case) -> None:
    """Limits, capabilities, init, log driver and stop signal reach the container."""
    web = case.create(
        *("--limit-memory", "64MB", "--limit-cpu", "0.5", "--limit-pids", "50", "--init"),
        *("--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN", "--log-driver", "json-file"),
        *("--log-opt", "max-size=1m", "--constraint", f"node.hostname=={case.node(0)}"),
    )
    task = case.until(lambda: next(iter(case.tasks(web)), None), "a task")
    assert task is not None
    container = case.until(
        lambda: (case.tasks(web)[0]["Status"].get("ContainerStatus") or {}).get("ContainerID"),
        "its container",
    )
    found = _inspect_container(case, 0, str(container))
    assert found(
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} "
        "{{.HostConfig.Init}} {{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} "
        "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}}"
    ) == ["67108864 500000000 50 true [CAP_NET_ADMIN] [CAP_CHOWN] json-file map[max-size:1m]"]


@scenario
def mounts(case: Case) -> None:
    """A volume is made for a task and outlives it; bind mounts show the host's files."""
    name = case.name("data")
    web = case.create(
        *("--mount", f"type=volume,source={name},target=/data"),
        *("--mount", "type=bind,source=/etc/hostname,target=/host-name,readonly"),
        *("--constraint", f"node.hostname=={case.node(1)}", "--update-monitor", "100ms"),
        command=(
            *("sh", "-c"),
            "echo once >> /data/f; cat /host-name; trap 'exit 0' TERM; sleep 1000 & wait",
        ),
    )
    case.running(web, 1)
    case.printed(web, 1)
    case.update(web, "--args", "cat /data/f", "--restart-condition", "none")
    case.reach(web, "complete")
    assert sorted(case.printed(web, 2)) == sorted([case.node(1), "once"])


@scenario
def bind_source_missing(case: Case) -> None:
    """A bind mount of a path that the host lacks is rejected, with Docker's sentence."""
    web = case.create(
        "--mount", "type=bind,source=/no/such,target=/x", "--restart-condition", "none"
    )
    (task,) = case.reach(web, "rejected")
    assert task["Status"]["Err"] == (
        'invalid mount config for type "bind": bind source path does not exist: /no/such'
    )


def _inspect_container(case: Case, node: int, container: str) -> Callable[[str], list[str]]:
    """Return what reads a container on its node with a template, line by line."""

    def read(template: str) -> list[str]:
        host = case.side.hosts[node]
        done = run_in(host, "docker", "inspect", "--format", template, container)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1] if done.stdout.endswith("\n") else [done.stdout]

    return read


def _when(timestamp: str) -> datetime:
    """Read a timestamp, to the microsecond."""
    return datetime.fromisoformat(timestamp[:26].rstrip("Z"))
