"""The commands on a running swarm, against a real HTTP server on a unix socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from swarmops.cli import main

if TYPE_CHECKING:
    from tests.unit.conftest import Engine

LEADER: dict[str, Any] = {
    "ID": "aaaaaaaaaaaaaaaaaaaaaaaaa",
    "Version": {"Index": 4},
    "Spec": {"Role": "manager", "Availability": "active", "Labels": {"swarmops.host": "host1"}},
    "Description": {"Hostname": "box1", "Engine": {"EngineVersion": "0.1.0"}},
    "Status": {"State": "ready", "Addr": "10.0.0.1"},
    "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "10.0.0.1:2377"},
}
WORKER: dict[str, Any] = {
    "ID": "bbbbbbbbbbbbbbbbbbbbbbbbb",
    "Version": {"Index": 9},
    "Spec": {"Role": "worker", "Availability": "drain", "Labels": {"swarmops.host": "host2"}},
    "Description": {"Hostname": "box2"},
    "Status": {"State": "down"},
}
WEB: dict[str, Any] = {
    "ID": "ssssssssssssssssssssssssw",
    "Version": {"Index": 12},
    "Spec": {
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": "host"}},
        "Mode": {"Replicated": {"Replicas": 2}},
    },
    "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 0},
}
TASK: dict[str, Any] = {
    "ID": "ttttttttttttttttttttttttt",
    "ServiceID": WEB["ID"],
    "NodeID": LEADER["ID"],
    "Slot": 1,
    "Spec": {"ContainerSpec": {"Image": "host"}},
    "Status": {"State": "running", "Timestamp": "2026-01-01T00:00:00Z"},
    "DesiredState": "running",
}

Run = Callable[..., tuple[int, str, str]]


def dump(value: Any) -> bytes:
    """Encode JSON."""
    return json.dumps(value).encode()


@pytest.fixture
def run(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Return what runs the program on the server's swarm: exit code, stdout, stderr."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SWARMOPS_SOCKET", str(engine.server_address))
    monkeypatch.delenv("SWARMOPS_INVENTORY", raising=False)
    engine.answer("GET /nodes", (200, dump([LEADER, WORKER])))
    engine.answer("GET /services", (200, dump([WEB])))
    engine.answer("GET /tasks", (200, dump([TASK])))
    engine.answer(f"GET /nodes/{WORKER['ID']}", (200, dump(WORKER)))
    engine.answer(f"POST /nodes/{WORKER['ID']}/update", (200, b""))
    engine.answer(f"GET /services/{WEB['ID']}", (200, dump(WEB)))
    engine.answer(f"POST /services/{WEB['ID']}/update", (200, b"{}"))
    engine.answer(f"DELETE /services/{WEB['ID']}", (200, b""))
    engine.answer("POST /services/create", (201, dump({"ID": WEB["ID"]})))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        said = captured.err.partition("The log of this run: ")[0]  # it is test_cli_run_log's matter
        return code, captured.out, said

    return call


def written(engine: Engine, method: str = "POST") -> list[tuple[str, Any]]:
    """Return what was sent to be changed."""
    return [
        (request.target, json.loads(request.body) if request.body else None)
        for request in engine.requests
        if request.method == method
    ]


def test_node_ls(run: Run) -> None:
    """Nodes are listed by their hosts' names, in Docker's columns."""
    code, out, err = run("node", "ls")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == (
        "ID HOST STATUS AVAILABILITY MANAGER STATUS ADDRESS VERSION"
    )
    assert " ".join(lines[1].split()) == "aaaaaaaaaaaa host1 Ready Active Leader 10.0.0.1 0.1.0"
    assert " ".join(lines[2].split()) == "bbbbbbbbbbbb host2 Down Drain"


def test_node_ls_json(run: Run) -> None:
    """As JSON the same rows come with whole IDs."""
    _, out, _ = run("node", "ls", "--format", "json")
    rows = json.loads(out)
    assert [(row["id"], row["host"], row["manager_status"]) for row in rows] == [
        (LEADER["ID"], "host1", "Leader"),
        (WORKER["ID"], "host2", ""),
    ]


def test_service_ls(run: Run) -> None:
    """Services are listed with running and wanted tasks."""
    code, out, _ = run("service", "ls")
    assert code == 0
    assert out.splitlines()[1].split() == ["ssssssssssss", "web", "replicated", "1/2", "host"]


@pytest.mark.parametrize("command", [("service", "ps", "web"), ("node", "ps", "host1")])
def test_ps(run: Run, command: tuple[str, ...]) -> None:
    """Tasks are listed with their service's and their host's names."""
    code, out, _ = run(*command)
    assert code == 0
    line = out.splitlines()[1]
    assert line.split()[:5] == ["tttttttttttt", "web.1", "host", "host1", "Running"]
    assert "ago" in line


def test_ps_filters(engine: Engine, run: Run) -> None:
    """Only the named node's tasks are asked for, by its ID."""
    run("node", "ps", "host2")
    targets = [request.target for request in engine.requests if "/tasks" in request.target]
    assert WORKER["ID"] in targets[0]


def test_inspect(run: Run) -> None:
    """Inspect shows the object as the API has it."""
    _, out, _ = run("node", "inspect", "host2")
    assert json.loads(out)[0]["Spec"] == WORKER["Spec"]
    _, out, _ = run("service", "inspect", "web")
    assert json.loads(out)[0]["Spec"] == WEB["Spec"]


def test_inspect_as_a_table(run: Run) -> None:
    """A line a field, named by its path in the API's object."""
    _, out, _ = run("node", "inspect", "host2", "--format", "table")
    lines = dict(line.split(None, 1) for line in out.splitlines() if len(line.split()) > 1)
    assert lines["ID"].strip() == WORKER["ID"]
    assert lines["Spec.Role"].strip() == "worker"


@pytest.mark.parametrize(
    ("verb", "availability", "said"),
    [
        ("activate", "active", "host2 is now active.\n"),
        ("pause", "pause", "host2 is now paused.\n"),
    ],
)
def test_availability(engine: Engine, run: Run, verb: str, availability: str, said: str) -> None:
    """Availability is changed where it is another, with the version that was read."""
    assert run("node", verb, "host2") == (0, said, "")
    target, spec = written(engine)[0]
    assert target == f"/nodes/{WORKER['ID']}/update?version=9"
    assert spec == WORKER["Spec"] | {"Availability": availability}


def test_drain(engine: Engine, run: Run) -> None:
    """It returns when nothing runs there, or says what does; --no-wait returns at once."""
    code, out, err = run("node", "drain", "host2")
    assert (code, out) == (0, "host2 is already drained.\n")
    assert "Warning: host2 is down" in err
    assert written(engine) == []
    engine.answer(f"GET /nodes/{LEADER['ID']}", (200, dump(LEADER)))
    engine.answer(f"POST /nodes/{LEADER['ID']}/update", (200, b""))
    assert run("node", "drain", "--no-wait", "host1") == (0, "host1 is now drained.\n", "")
    assert [spec["Availability"] for _, spec in written(engine)] == ["drain"]
    code, out, err = run("node", "drain", "--wait", "--timeout", "0s", "host1")
    assert (code, out) == (1, "")
    assert "Error: after 0 s host1 still has web.1 (running); the swarm goes on draining" in err


def test_already(run: Run) -> None:
    """What is so already is said, and is no error."""
    assert run("node", "promote", "host1") == (0, "host1 is already a manager.\n", "")
    assert run("node", "demote", "host2") == (0, "host2 is already a worker.\n", "")


def test_rm(engine: Engine, run: Run) -> None:
    """A node and a service are removed by name."""
    engine.answer(f"DELETE /nodes/{WORKER['ID']}", (200, b""))
    assert run("node", "rm", "--force", "host2") == (0, "host2 is removed.\n", "")
    assert run("service", "rm", "web") == (0, "web\n", "")
    assert [target for target, _ in written(engine, "DELETE")] == [
        f"/nodes/{WORKER['ID']}?force=1",
        f"/services/{WEB['ID']}",
    ]


def test_create_shows_the_registry_what_docker_login_got_if_told_to(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``docker service create --with-registry-auth`` does."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    login = {"auths": {"r.example.com": {"auth": "YW5uOnNlY3JldA=="}}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    for told in ((), ("--with-registry-auth",)):
        assert run("service", "create", "-d", *told, "r.example.com/web")[0] == 0
    first, second = (r.headers for r in engine.requests if r.target == "/services/create")
    assert "X-Registry-Auth" not in first
    assert json.loads(base64.b64decode(second["X-Registry-Auth"]))["password"] == "secret"


def test_create(engine: Engine, run: Run) -> None:
    """Everything after the image is the command, flags among it."""
    code, out, err = run(
        *[
            "service",
            "create",
            "-d",
            "--name",
            "web",
            "-e",
            "A=1",
            "--limit-memory",
            "64m",
            "--stop-grace-period",
            "1m30s",
        ],
        *("host", "python3", "-m", "http.server", "--name", "x", "8080"),
    )
    assert (code, out, err) == (0, f"{WEB['ID']}\n", "")
    assert written(engine)[0][1] == {
        "Name": "web",
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "host",
                "Args": ["python3", "-m", "http.server", "--name", "x", "8080"],
                "Env": ["A=1"],
                "StopGracePeriod": 90_000_000_000,
            },
            "Resources": {"Limits": {"MemoryBytes": 64 << 20}},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
    }


def test_scale(engine: Engine, run: Run) -> None:
    """Scaling changes the number of replicas and nothing else of the spec."""
    assert run("service", "scale", "-d", "web=5") == (0, "web scaled to 5\n", "")
    target, spec = written(engine)[0]
    assert target == f"/services/{WEB['ID']}/update?version=12"
    assert spec == WEB["Spec"] | {"Mode": {"Replicated": {"Replicas": 5}}}


def test_rebalance(engine: Engine, run: Run) -> None:
    """The wish is an update with the same spec; the answer says what runs where."""
    done = {"State": "completed", "Message": "rebalanced"}
    engine.answer(f"GET /services/{WEB['ID']}", (200, dump(WEB | {"UpdateStatus": done})))
    assert run("service", "rebalance", "web") == (0, "web: it was even already; 1 on host1.\n", "")
    target, spec = written(engine)[0]
    assert target == f"/services/{WEB['ID']}/update?version=12&rebalance=true"
    assert spec == WEB["Spec"]
    said = "web: rebalancing has begun.\n"
    assert run("service", "rebalance", "--detach", "web") == (0, said, "")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ({}, "does not rebalance: 'docker service update --force web'"),
        (
            {"State": "completed", "Message": "rebalancing given up: not all tasks run"},
            "web: rebalancing given up: not all tasks run",
        ),
        (
            {"State": "updating", "Message": "rebalancing"},
            "web is not rebalanced after 0 s, 0 tasks moved so far; the swarm goes on",
        ),
    ],
)
def test_rebalance_in_vain(engine: Engine, run: Run, status: dict[str, str], error: str) -> None:
    """An engine that knows no rebalancing, one that gave it up, and time that is up."""
    engine.answer(f"GET /services/{WEB['ID']}", (200, dump(WEB | {"UpdateStatus": status})))
    code, out, err = run("service", "rebalance", "--timeout", "0s", "web")
    assert (code, out) == (1, "")
    assert error in err


@pytest.mark.parametrize(
    ("swarm", "said"),
    [
        ({"LocalNodeState": "active"}, "box9 running worker"),
        ({"LocalNodeState": "locked", "Error": "needs a key"}, "box9 running locked needs a key"),
        ({"LocalNodeState": "inactive"}, "box9 running inactive"),
    ],
)
def test_status_of_worker(engine: Engine, run: Run, swarm: dict[str, Any], said: str) -> None:
    """On a node that is no manager, status shows what it knows: itself."""
    engine.answer("GET /info", (200, dump({"Name": "box9", "Swarm": swarm})))
    code, out, _ = run("status")
    assert code == 0
    assert " ".join(out.splitlines()[1].split()) == said


def test_status(engine: Engine, run: Run) -> None:
    """On a manager, status shows nodes and services."""
    manager = {"LocalNodeState": "active", "ControlAvailable": True}
    engine.answer("GET /info", (200, dump({"Name": "box1", "Swarm": manager})))
    labels = {"swarmops.applied-playbook": "prod.yml", "swarmops.revision": "abc"}
    swarm = {"ID": "c", "Version": {"Index": 3}, "Spec": {"Labels": labels}}
    engine.answer("GET /swarm", (200, dump(swarm)))
    code, out, _ = run("status")
    assert code == 0
    assert "host1" in out
    assert "web" in out
    assert "Applied: prod.yml at abc" in out


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("node inspect host9", "Error: no node is called 'host9': did you mean 'host"),
        ("service ps wbe", "Error: no service is called 'wbe': did you mean 'web'?"),
        ("service create -d --publish x host", "Error: --publish x: 'x' is no port"),
        ("service create --limit-memory lots host", "'lots' is no size: write it as in 512m"),
        ("service create --stop-grace-period 9 host", "'9' is no duration: write it as in 10s"),
        ("service create --limit-cpu many host", "'many' is no number of CPUs"),
        ("service scale web=x", "'web=x' is not SERVICE=REPLICAS"),
        ("node demote", "Missing argument 'NODE...'"),
        ("-i /none/such.yml node ls", "Error: /none/such.yml: no such inventory"),
        ("node ls -i /none/such.yml", "Error: /none/such.yml: no such inventory"),
        ("apply /none/such.yml", "Error: /none/such.yml: no such inventory"),
        ("plan", "Error: this works on an inventory"),
        ("srvice ls", "Error: no command is called 'srvice': did you mean 'service'?"),
    ],
)
def test_refusals(run: Run, command: str, error: str) -> None:
    """Wrong input is one sentence on stderr and exit code 1."""
    code, out, err = run(*command.split())
    assert (code, out) == (1, "")
    assert error in err
    assert "Traceback" not in err


def test_destroy_asks(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is removed unless somebody said yes."""
    inventory = tmp_path / "i.yml"
    inventory.write_text("all: {hosts: {h1: {ansible_connection: local}}}")
    code, out, err = run("destroy", str(inventory))
    assert (code, out) == (1, "")
    assert "nobody is here to answer: give --yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert run("destroy", str(inventory)) == (1, "", "Nothing was changed.\n")


def test_the_swarms_refusal(engine: Engine, run: Run) -> None:
    """What the swarm refuses is said in its own words."""
    engine.answer("GET /nodes", (503, b'{"message":"This node is not a swarm manager."}'))
    assert run("node", "ls") == (1, "", "Error: This node is not a swarm manager.\n")


def frame(stream: int, text: str) -> bytes:
    """Return a log frame."""
    return bytes((stream, 0, 0, 0)) + len(text).to_bytes(4) + text.encode()


def details(task_id: str) -> str:
    """Return what stands before a line."""
    return f"com.docker.swarm.node.id={LEADER['ID']},com.docker.swarm.task.id={task_id}"


def test_logs(engine: Engine, run: Run) -> None:
    """Lines with task and host, each on its own stream; a new task's name is looked up."""
    engine.answer("GET /tasks/new", (200, dump(TASK | {"ID": "new", "Slot": 2})))
    lines = frame(1, f"TIME {details(TASK['ID'])} one two\n") + frame(
        2, f"TIME {details('new')} oops\n"
    )
    engine.answer(f"GET /services/{WEB['ID']}/logs", (200, lines))
    code, out, err = run("service", "logs", "-t", "-n", "5", "--since", "1970-01-02", "web")
    assert (code, out, err) == (
        0,
        "TIME web.1@host1    | one two\n",
        "TIME web.2@host1    | oops\n",
    )
    target = next(r.target for r in engine.requests if "/logs" in r.target)
    assert "tail=5" in target
    assert "since=1970-01-02" in target
    assert "follow" not in target


def test_logs_with_a_gap(engine: Engine, run: Run) -> None:
    """What there is is shown, then the swarm's sentence, and the exit code says that it lacks."""
    lines = frame(1, f"{details(TASK['ID'])} one\n") + frame(3, "node x is not available\n")
    engine.answer(f"GET /services/{WEB['ID']}/logs", (200, lines))
    assert run("service", "logs", "-f", "--since", "10m", "web") == (
        1,
        "web.1@host1    | one\n",
        "Error: node x is not available\n",
    )
    code, _, err = run("service", "logs", "nope")
    assert (code, "no service is called 'nope'" in err) == (1, True)


def test_logs_since_before_there_were_dates(engine: Engine, run: Run) -> None:
    """A duration of a hundred thousand years is all there is."""
    engine.answer(f"GET /services/{WEB['ID']}/logs", (200, b""))
    assert run("service", "logs", "--since", "999999999h", "web") == (0, "", "")


def test_logs_of_a_terminal(engine: Engine, run: Run) -> None:
    """As they came."""
    engine.headers["Content-Type"] = "application/vnd.docker.raw-stream"
    engine.answer(f"GET /services/{WEB['ID']}/logs", (200, b"bare\n"))
    assert run("service", "logs", "web") == (0, "bare\n", "")
