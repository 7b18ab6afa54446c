"""Runs on a lab host, sent there over SSH: watches a swarm through its socket, prints JSON lines.

The benchmarks start it before they cause a fault, so that no SSH set-up is in what they measure.
Every line has the host's monotonic clock in seconds, which all hosts of a lab and the machine that
holds them share. Needs only Python's standard library and speaks only the Docker Engine API, so
it is the same for Docker and for swarmops.

    on_host.py SOCKET writes EVERY_S WITHIN_S      one line for each write accepted
    on_host.py SOCKET running SERVICE COUNT WITHIN_S [NODE…]   when COUNT tasks run on no NODE
    on_host.py SOCKET reachable NODE WITHIN_S      when the node is a reachable manager
"""

import json
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from socket import AF_UNIX, socket
from typing import Any

POLL_S = 0.05


class Connection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def call(path: str, method: str, url: str, body: object = None, timeout_s: float = 5.0) -> Any:
    """Return the decoded answer, None if the request failed in whatever way."""
    connection = Connection(path, timeout_s)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, url, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return json.loads(text or "{}") if answer.status < 300 else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


def say(**fields: object) -> None:
    """Print one line with the clock."""
    print(json.dumps({"at_s": time.monotonic(), **fields}), flush=True)


def writes(path: str, every_s: float, within_s: float) -> None:
    """Start a small write at every interval, each on its own, and report those accepted."""

    def write() -> None:
        began_s = time.monotonic()
        config = {"Name": f"probe-{uuid.uuid4().hex}", "Data": "cHJvYmU="}
        if call(path, "POST", "/v1.41/configs/create", config, timeout_s=within_s) is not None:
            say(began_s=began_s)

    say(ready=True)
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        threading.Thread(target=write, daemon=True).start()
        time.sleep(every_s)


def running(path: str, service: str, count: int, without: set[str]) -> bool:
    """Say whether exactly so many of a service's tasks are meant to run and do, elsewhere."""
    filters = json.dumps({"service": [service], "desired-state": ["running"]})
    tasks = call(path, "GET", f"/v1.41/tasks?filters={urllib.parse.quote(filters)}") or []
    fit = [
        task
        for task in tasks
        if task["Status"]["State"] == "running" and task.get("NodeID") not in without
    ]
    return len(fit) == count


def reachable(path: str, node: str) -> bool:
    """Say whether a node is a manager that the leader reaches."""
    status = (call(path, "GET", f"/v1.41/nodes/{node}") or {}).get("ManagerStatus") or {}
    return bool(status.get("Reachability") == "reachable")


def watch(condition: Callable[[], bool], within_s: float) -> None:
    """Report when a condition has come true; exit 1 if it doesn't in time."""
    say(ready=True)
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            sys.exit(1)
        time.sleep(POLL_S)
    say(done=True)


def main(path: str, what: str, *rest: str) -> None:
    """Run one of the three watches."""
    if what == "writes":
        writes(path, float(rest[0]), float(rest[1]))
    elif what == "running":
        service, count, within_s, *without = rest
        nodes = set(without)
        watch(lambda: running(path, service, int(count), nodes), float(within_s))
    else:
        watch(lambda: reachable(path, rest[0]), float(rest[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
