"""The HTTP API beside Docker's own: the same requests to both swarms, from the hosts themselves.

    python -m bench.api [--nodes 50] [--tasks 2000] [--seconds 5]   # in the lab, both sides
    python -m bench.api --held [--tasks 10000]                      # ours alone, on this machine

Three managers and a worker; the other node objects are of a host that joined and left again, the
tasks wait for a node that there isn't. `--held` lists many tasks again and again, and prints the
longest turn of the manager's event loop in processor time: Raft's ticks wait for no more than that.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.docker_swarm import DockerSwarm
from bench.measuring import Result, load, print_table
from bench.operator import Operator
from bench.scenarios import MANAGERS, Kind
from bench.swarmops_swarm import SwarmopsSwarm
from tests.lab import lab as labs
from tests.lab.hosts import Host, run_in
from tests.lab.ssh import ssh

CLIENT = r"""
import http.client, json, socket, sys, threading, time, uuid
path, seconds = sys.argv[1], float(sys.argv[2])
def connect():
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    return connection
def ask(connection, what):
    method, target, body = what()
    connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status < 300, text
    return text
def config():
    return "POST", "/configs/create", json.dumps({"Name": uuid.uuid4().hex, "Data": "aGVsbG8="})
def sequential(what):
    connection, took = connect(), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        ask(connection, what)
        took.append(1000 * (time.monotonic() - begun))
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)]
def rate(what):
    count, end = [0] * 4, time.monotonic() + seconds
    def work(number):
        connection = connect()
        while time.monotonic() < end:
            ask(connection, what)
            count[number] += 1
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return sum(count) / seconds
service = json.loads(ask(connect(), lambda: ("GET", "/services", None)))[0]["ID"]
found = {}
for name, what in {
    "list nodes": lambda: ("GET", "/nodes", None),
    "list tasks": lambda: ("GET", "/tasks", None),
    "inspect service": lambda: ("GET", "/services/" + service, None),
    "create config": config,
}.items():
    p50, p99 = sequential(what)
    found.update({name + " p50_ms": p50, name + " p99_ms": p99, name + " per_s": rate(what)})
found["nodes"] = len(json.loads(ask(connect(), lambda: ("GET", "/nodes", None))))
found["tasks"] = len(json.loads(ask(connect(), lambda: ("GET", "/tasks", None))))
print(json.dumps(found))
"""
NOWHERE = "node.labels.there==not"


def docker(host: Host, kind: Kind, words: str) -> str:
    """Run the host's docker CLI on a kind's socket."""
    return ssh(host, f"docker -H unix://{kind.socket} {words}").stdout.strip()


def fill(kind: Kind, hosts: Sequence[Host], nodes: int, tasks: int) -> None:
    """Make node objects by joining and leaving, and tasks that nothing runs."""
    first, *_, worker = hosts
    token = docker(first, kind, "swarm join-token --quiet worker")
    again = (
        f"for n in $(seq {nodes - len(hosts)}); do docker -H unix://{kind.socket} swarm leave;"
        f" docker -H unix://{kind.socket} swarm join --token {token} {first.address}:2377; done"
    )
    ssh(worker, again)
    create = f"--replicas {tasks} --constraint {NOWHERE} {kind.image} sleep 1"
    docker(first, kind, f"service create --detach --no-resolve-image --name many {create}")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        listed = docker(first, kind, "service ps --quiet many")
        if len(listed.splitlines()) >= tasks:
            return
        time.sleep(1)
    raise RuntimeError(f"{kind.name} has not made {tasks} tasks in 120 s")


def measure(kind: Kind, hosts: Sequence[Host], arguments: argparse.Namespace) -> Result:
    """Return every number of one kind, from the leader and from another manager."""
    kind.prepare(hosts)
    kind.form(hosts)
    fill(kind, hosts, arguments.nodes, arguments.tasks)
    result: Result = {}
    for role, host in zip(("leader", "other"), _leader_first(kind, hosts), strict=True):
        done = run_in(host, "python3", "-c", CLIENT, kind.socket, str(arguments.seconds))
        if done.returncode:
            raise RuntimeError(f"{kind.name}, {role}: {done.stderr}")
        found: Result = json.loads(done.stdout)
        result |= {f"{name} {role}": value for name, value in found.items()}
    return result


def _leader_first(kind: Kind, hosts: Sequence[Host]) -> list[Host]:
    """Return the leader and one other manager."""
    shown = "node ls --format '{{.Hostname}} {{.ManagerStatus}}'"
    rows = [line.split() for line in docker(hosts[0], kind, shown).splitlines()]
    leads = {row[0] for row in rows if row[-1] == "Leader"}
    managers = list(hosts[:MANAGERS])
    leader = next(host for host in managers if host.name in leads)
    return [leader, next(host for host in managers if host is not leader)]


def compare(arguments: argparse.Namespace) -> None:
    """Measure both kinds on the same hosts, one after the other."""
    found = labs.running()
    lab = found or labs.up(count=MANAGERS + 1)[0]
    results: dict[str, Result] = {}
    try:
        print(f"load average before: {load()}")
        with tempfile.TemporaryDirectory() as scratch:
            both: list[Kind] = [SwarmopsSwarm(Operator(Path(scratch))), DockerSwarm()]
            kinds = [kind for kind in both if arguments.only in ("", kind.name)]
            for kind in kinds:
                # Ours needs no engine, but the hosts' docker CLI to be asked with.
                with lab.claim(MANAGERS + 1, engine=kind.engine) as hosts:
                    results[kind.name] = measure(kind, hosts, arguments)
        print(f"  {'':<28} " + " ".join(f"{name:>10}" for name in results))
        for name in next(iter(results.values())):
            values = " ".join(f"{found[name]:10.2f}" for found in results.values())
            print(f"  {name:<28} {values}")
        print(json.dumps(results))
        print(f"load average after: {load()}")
    finally:
        if found is None:
            labs.down()


class Node:
    """One manager on this machine whose event loop is watched."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "node.sock"
        self.report = folder / "report.json"
        command = [sys.executable, "-m", "bench.held_loop", str(self.report)]
        command += [f"--data-dir={folder / 'data'}", f"--socket={self.socket}"]
        command += ["--docker-socket=/nonexistent", "--log-level=error"]
        self.process = subprocess.Popen(command)

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """Send one request, and read the whole answer."""
        connection = HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        text = json.dumps(body) if body is not None else None
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        data = connection.getresponse().read()
        connection.close()
        return data

    def turns(self) -> dict[str, Any]:
        """Return the longest turns since this was asked last."""
        self.report.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        while not self.report.exists():
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(self.report.read_text())
        return found


def held(tasks: int) -> Result:
    """Return how long listings of so many tasks take, and the longest turn meanwhile."""
    with tempfile.TemporaryDirectory() as scratch:
        node = Node(Path(scratch))
        try:
            while not node.socket.exists():
                time.sleep(0.05)
            listen = "127.0.6.1:2377"
            node.ask("POST", "/swarm/init", {"ListenAddr": listen, "AdvertiseAddr": listen})
            container = {"Image": "host", "Args": ["true"], "Env": ["A=B", "C=D"]}
            template = {"ContainerSpec": container, "Placement": {"Constraints": [NOWHERE]}}
            mode = {"Replicated": {"Replicas": tasks}}
            spec = {"Name": "many", "TaskTemplate": template, "Mode": mode}
            node.ask("POST", "/services/create", spec)
            while len(json.loads(node.ask("GET", "/tasks"))) < tasks:
                time.sleep(1)
            time.sleep(2)  # what made them is done
            node.turns()
            took: list[float] = []
            for _ in range(20):
                begun = time.monotonic()
                size = len(node.ask("GET", "/tasks"))
                took.append(time.monotonic() - begun)
            turns = node.turns()
        finally:
            node.process.send_signal(signal.SIGTERM)
            node.process.wait(20)
    longest_ms = max((turn["longest_ms"] for turn in turns.values()), default=0.0)
    return {
        "tasks": float(tasks),
        "answer_mb": size / 1e6,
        "listing_s": sorted(took)[len(took) // 2],
        "longest_turn_ms": longest_ms,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=["swarmops", "docker"], default="")
    parser.add_argument("--held", action="store_true")
    given = parser.parse_args()
    if given.held:
        print(f"load average before: {load()}")
        print_table("listing", held(given.tasks))
    else:
        compare(given)
