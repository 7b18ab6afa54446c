"""Logs, events and metrics of a real swarm: from any manager, of tasks on any node."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker
import pytest
from docker.types import SecretReference

from tests.local.conftest import Local, wait_for

SCRIPT = "for i in 1 2 3; do echo $SWARMOPS_TASK_SLOT line $i; done; echo oops >&2; exec sleep 1000"
FOLLOW = ("service", "logs", "-f", "--raw", "talk")
MANAGERS = ["node1", "node2", "node3"]
PING, EVENTS, LOGS = (
    f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for path in ("/_ping", "/events", "/services/talk/logs?stdout=1&follow=1")
)
ANSWER_S = 60
"""Within which whatever is under way comes, on a machine that does other things too."""


@pytest.fixture(scope="module")
def talk(swarm: Local) -> Iterator[Local]:
    """A service of four tasks that each print three lines and one error."""
    swarm.swarmops(
        "service", "create", "--name", "talk", "--replicas", "4", "host", "sh", "-c", SCRIPT
    )
    yield swarm
    swarm.swarmops("service", "rm", "talk")


def lines(output: str) -> list[str]:
    """Return what was said, without by whom, sorted."""
    return sorted(line.partition("| ")[2] for line in output.splitlines())


def test_any_manager_shows_the_output_of_all_nodes(talk: Local):
    """Whichever manager holds a node's session."""
    wanted = sorted(f"{slot} line {n}" for slot in (1, 2, 3, 4) for n in (1, 2, 3))
    for node in MANAGERS:
        done = talk.docker(node, "service", "logs", "talk")
        assert lines(done.stdout) == wanted
        assert lines(done.stderr) == ["oops"] * 4
    own = talk.swarmops("service", "logs", "talk")
    assert (lines(own.stdout), lines(own.stderr)) == (wanted, ["oops"] * 4)


def test_tail_since_and_timestamps(talk: Local):
    """The last line of each task; nothing from the future; times of the last minutes."""
    last = talk.docker("node2", "service", "logs", "--tail", "1", "talk")
    assert lines(last.stdout) == [f"{slot} line 3" for slot in (1, 2, 3, 4)]
    future = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1000))
    assert talk.docker("node1", "service", "logs", "--since", future, "talk").stdout == ""
    recent = talk.docker("node3", "service", "logs", "--since", "10m", "-t", "--raw", "talk")
    stamps = [line.split()[0] for line in recent.stdout.splitlines()]
    assert len(stamps) == 12
    assert all(
        stamp > time.strftime("%Y-%m-%d", time.gmtime(time.time() - 900)) for stamp in stamps
    )


@contextlib.contextmanager
def follower(swarm: Local) -> Iterator[IO[str]]:
    """Follow the service's stdout with the real CLI."""
    with subprocess.Popen(
        [
            "docker",
            "-H",
            f"unix://{swarm.socket('node1')}",
            *["service", "logs", "-f", "--raw", "talk"],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def test_a_follower_sees_new_tasks(talk: Local):
    """From the same command, on whichever node they come to run; then nothing is read any more."""
    with follower(talk) as said:
        assert len({said.readline() for _ in range(12)}) == 12
        assert metric(talk, "swarmops_log_streams") > 0
        talk.docker("node2", "service", "scale", "talk=5")
        assert [said.readline().strip() for _ in range(3)] == [f"5 line {n}" for n in (1, 2, 3)]
    wait_for(lambda: metric(talk, "swarmops_log_streams") == 0, "the end of all log streams")


def test_events_of_a_service(swarm: Local):
    """The real CLI prints what happened to it, from another manager than the one that did it."""
    begun = str(int(time.time()) - 1)
    swarm.swarmops("service", "create", "-d", "--name", "brief", "host", "sleep", "100")
    swarm.docker("node2", "service", "scale", "-d", "brief=2")
    swarm.docker("node2", "service", "rm", "brief")
    arguments = ("events", "--since", begun, "--until", str(int(time.time()) + 1))
    shown = swarm.docker("node3", *arguments, "--filter", "service=brief", "--format", "{{json .}}")
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [event["Action"] for event in events] == ["create", "update", "remove"]
    assert events[1]["Actor"]["Attributes"]["replicas.new"] == "2"


def test_workers_stay_small_and_have_metrics(talk: Local):
    """Below 47 MB while they serve logs, before anybody scrapes them or has secrets there.

    That is a checkout's: what a host gets has no docstrings, and stays below 45.
    """
    assert metric(talk, 'swarmops_raft_members{kind="voter"}', node="node1") == 3
    talk.docker("node1", "service", "logs", "talk")
    assert resident_kb(talk, "node4") < 47 * 1024


def test_docker_pys_objects_on_a_real_swarm(swarm: Local):
    """A service with a secret is made, found, read from, changed and removed, by a follower."""
    client: Any = docker.DockerClient(f"unix://{swarm.socket('node2')}", timeout=20)
    secret = client.secrets.create(name="py-pw", data=b"within")
    script = 'echo "$GREETING $(cat $SWARMOPS_SECRETS_DIR/py-pw)"; exec sleep 1000'
    made = client.services.create(
        "host",
        command=["sh", "-c", script],
        name="py",
        env=["GREETING=hello"],
        secrets=[SecretReference(secret.id, "py-pw")],
    )

    def says(text: bytes) -> bool:
        states = [task["Status"]["State"] for task in made.tasks({"desired-state": "running"})]
        return states == ["running"] and text in b"".join(made.logs(stdout=True))

    wait_for(lambda: says(b"hello within"), "a task that reads its secret")
    found = client.services.get("py")
    assert found.id == made.id
    found.update(env=["GREETING=again"])
    wait_for(lambda: says(b"again within"), "a task of the new spec")
    assert client.swarm.get_unlock_key() == {"UnlockKey": ""}
    with pytest.raises(docker.errors.APIError, match="in use by the following service: py"):
        secret.remove()
    found.remove()
    secret.remove()
    client.close()


def test_200_followers_disturb_nobody(talk: Local):
    """All hear every task; the leader stays, workers stay small, other requests are prompt."""
    term = metric(talk, "swarmops_raft_term", node="node1")
    wanted = b"GET /services/talk/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    before_kb = resident_kb(talk, "node4")
    with contextlib.ExitStack() as stack:
        followers = []
        for _ in range(200):
            follower = stack.enter_context(socket.socket(socket.AF_UNIX))
            follower.settimeout(60)
            follower.connect(str(talk.socket("node1")))
            follower.sendall(wanted)
            followers.append(follower)
        for follower in followers:
            heard = b""
            while heard.count(b" line ") < 15:
                heard += follower.recv(65536)
        begun = time.monotonic()
        assert metric(talk, "swarmops_raft_term", node="node1") == term
        assert metric(talk, "swarmops_log_streams") >= 200
        assert time.monotonic() - begun < 30
        assert resident_kb(talk, "node4") - before_kb < 200 * 64, "64 KiB for each is plenty"
    wait_for(lambda: metric(talk, "swarmops_log_streams") == 0, "the end of all log streams")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_leader_holds_1000_idle_connections_and_400_followers_at_once(talk: Local):
    """It goes on leading and takes writes through another manager; each connection is answered."""
    leader = next(host for host, row in talk.nodes().items() if row["manager_status"] == "Leader")
    term = metric(talk, "swarmops_raft_term", node=leader)
    other = next(node for node in MANAGERS if node != leader)
    with contextlib.ExitStack() as stack:

        def connected(request: bytes) -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(ANSWER_S)
            connection.connect(str(talk.socket(leader)))
            connection.sendall(request)
            return connection

        idle = [connected(PING) for _ in range(1000)]
        events = [connected(EVENTS) for _ in range(200)]
        logs = [connected(LOGS) for _ in range(200)]
        for connection in [*idle, *events, *logs]:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        for _ in range(5):
            talk.docker(other, "service", "create", "-d", "--name", "held", "host", "sleep", "9")
            talk.docker(other, "service", "rm", "held")
        for connection in events:
            heard = b""
            while heard.count(b'"remove"') < 5:
                heard += connection.recv(65536)
        for connection in idle:
            connection.sendall(PING)
        assert all(connection.recv(65536).startswith(b"HTTP/1.1 200 ") for connection in idle)
        assert metric(talk, "swarmops_raft_leader", node=leader) == 1
        assert metric(talk, "swarmops_raft_term", node=leader) == term
    wait_for(lambda: metric(talk, "swarmops_log_streams") == 0, "the end of all log streams")


def resident_kb(swarm: Local, node: str) -> int:
    """Return how much memory a node's daemon has."""
    status = Path(f"/proc/{swarm.daemon_pid(node)}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def metric(swarm: Local, name: str, *, node: str = "") -> float:
    """Return a sample of a manager, the sum of all managers without one."""
    if not node:
        return sum(metric(swarm, name, node=each) for each in MANAGERS)
    url = urllib.parse.quote(str(swarm.socket(node)), safe="/")
    text = subprocess.run(
        ["curl", "-sf", "--unix-socket", url, "http://localhost/metrics"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = next(line for line in text.splitlines() if line.startswith(name))
    return float(found.split()[-1])
