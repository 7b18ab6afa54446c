"""A swarm on lab hosts, for tests: its files, the operator's command on them, and a look inside.

`formed` brings bare hosts to a running swarm and is what a module's fixture is made of. Looking
goes past the product's own client: a program of a few lines asks a node's socket or reads /proc.
"""

import json
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.lab.command import Done, Operator
from tests.lab.hosts import Host, run_in
from tests.lab.inventory import inventory_text
from tests.lab.lab import Lab
from tests.lab.ssh import ssh
from tests.lab.waiting import wait_for

NATIVE: Final = "native"
SOCKETS: Final = {NATIVE: "/run/swarmops/swarmops.sock", "docker": "/run/docker.sock"}
"""By backend, where a node's API is."""
SOCKET: Final = SOCKETS[NATIVE]
UNIT = "swarmops.service"
PORT = 8000
"""A task of `web` answers HTTP on this port plus its slot."""

_ASK = """
import http.client, socket, sys
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(sys.argv[3])
connection = Connection("localhost", timeout=10)
body = sys.argv[4]
headers = {"Content-Type": "application/json"} if body else {}
connection.request(sys.argv[1], sys.argv[2], body or None, headers)
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode())
"""

_PROCESSES = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        environ = open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")
        start = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]
    except OSError:
        continue
    told = dict(line.split(b"=", 1) for line in environ if b"=" in line)
    if b"SWARMOPS_TASK_ID" in told:
        names = (b"SWARMOPS_SERVICE_NAME", b"SWARMOPS_TASK_ID")
        print(*(told[name].decode() for name in names), pid, start)
"""


class Process(NamedTuple):
    """A task's process; the start time, in ticks, tells it from a later one of the same number."""

    host: str
    service: str
    task: str
    pid: int
    start: int


def web(replicas: int, **deploy: object) -> dict[str, object]:
    """Return a service, as a playbook has it, of HTTP servers that are plain processes."""
    command = f"exec python3 -m http.server $(({PORT} + SWARMOPS_TASK_SLOT))"
    return {
        "image": "host",
        "command": ["sh", "-c", f'{command} --bind "$SWARMOPS_NODE_ADDR"'],
        "stop_grace_period": "2s",
        "deploy": {"replicas": replicas, **deploy},
    }


class Swarm:
    """Hosts with an inventory and a playbook; the swarm is there once `apply` was run."""

    def __init__(
        self, hosts: Sequence[Host], directory: Path, operator: Operator, backend: str = NATIVE
    ) -> None:
        self.hosts = tuple(hosts)
        self.operator = operator
        self.backend = backend
        self.inventory = directory / "inventory.yml"
        self.playbook = directory / "playbook.yml"

    def write(
        self,
        playbook: Mapping[str, object],
        *,
        managers: Sequence[Host] | None = None,
        workers: Sequence[Host] | None = None,
        user: str = "root",
        variables: Mapping[str, object] | None = None,
    ) -> None:
        """Write both files anew."""
        shared = {"swarmops_playbook": self.playbook.name, **(variables or {})}
        if self.backend != NATIVE:
            shared["swarmops_backend"] = self.backend
        text = inventory_text(
            self.hosts, managers=managers, workers=workers, user=user, variables=shared
        )
        self.inventory.write_text(text)
        self.play(playbook)

    def play(self, playbook: Mapping[str, object]) -> None:
        """Write the playbook anew."""
        self.playbook.write_text(json.dumps(playbook, indent=2))

    def apply(self, *, rc: int | None = 0) -> Done:
        """Run `swarmops apply` on the inventory; nobody is there to be asked anything."""
        return self.operator.run("apply", "--yes", self.inventory, rc=rc)

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    # -- what the API says

    def nodes(self, at: Host | None = None) -> dict[str, dict[str, Any]]:
        """Return the nodes by hostname, those that are down only where there is no other."""
        listed = self.all_nodes(at)
        listed.sort(key=lambda node: node["Status"]["State"] != "down")
        return {node["Description"]["Hostname"]: node for node in listed}

    def all_nodes(self, at: Host | None = None) -> list[dict[str, Any]]:
        """Return every node that the swarm knows, several of one host among them."""
        listed: list[dict[str, Any]] = self._get("/nodes", at)
        return listed

    def leader(self) -> Host:
        """Return the host that leads, once there is one."""
        found = wait_for(self._leader, "a leader", within_s=15)
        assert found is not None
        return found

    def _leader(self) -> Host | None:
        try:
            nodes = self.nodes()
        except NoManagerError:
            return None
        for name, node in nodes.items():
            if (node.get("ManagerStatus") or {}).get("Leader"):
                return self[name]
        return None

    def managers(self) -> dict[str, str]:
        """Return how reachable each manager is, by hostname."""
        return {
            name: node["ManagerStatus"]["Reachability"]
            for name, node in self.nodes().items()
            if node.get("ManagerStatus")
        }

    def all_ready(self) -> bool:
        """Say whether all hosts are ready nodes, and the managers among them reachable."""
        try:
            nodes = self.nodes()
        except NoManagerError:
            return False
        ready = [node["Status"]["State"] == "ready" for node in nodes.values()]
        reachable = [
            node["ManagerStatus"]["Reachability"] == "reachable"
            for node in nodes.values()
            if node["Spec"]["Role"] == "manager" and node.get("ManagerStatus")
        ]
        return len(nodes) == len(self.hosts) and all(ready) and all(reachable)

    def settle(self, within_s: float = 30) -> None:
        """Wait until all hosts are ready nodes."""
        wait_for(self.all_ready, "every host a ready node", within_s=within_s)

    def placed(self, service: str = "web") -> dict[str, str]:
        """Return where the service's running tasks are: task's ID to hostname."""
        names = {node["ID"]: node["Description"]["Hostname"] for node in self._get("/nodes")}
        query = urllib.parse.quote(json.dumps({"service": [service]}))
        return {
            task["ID"]: names.get(task.get("NodeID", ""), "")
            for task in self._get(f"/tasks?filters={query}")
            if task["Status"]["State"] == "running" and task["DesiredState"] == "running"
        }

    def urls(self, service: str = "web") -> list[str]:
        """Return where the running tasks of such a service as `web` answer."""
        addresses = {node["ID"]: node["Status"]["Addr"] for node in self._get("/nodes")}
        query = urllib.parse.quote(json.dumps({"service": [service]}))
        return [
            f"http://{addresses[task['NodeID']]}:{PORT + task['Slot']}/"
            for task in self._get(f"/tasks?filters={query}")
            if task["Status"]["State"] == "running" and task["DesiredState"] == "running"
        ]

    def write_label(self, at: Host, value: str) -> bool:
        """Write something through one manager; say whether it was accepted."""
        status, node = self.ask(at, "GET", f"/nodes/{at.name}")
        if status != 200:
            return False
        spec = {**node["Spec"], "Labels": {**(node["Spec"].get("Labels") or {}), "probe": value}}
        path = f"/nodes/{node['ID']}/update?version={node['Version']['Index']}"
        return self.ask(at, "POST", path, spec)[0] == 200

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Take no silent node for lost within a minute: a busy machine starts daemons slowly."""
        before = self._get("/swarm")["Spec"]["Dispatcher"]
        self.beat(every_s=20)
        try:
            yield
        finally:
            self._set_dispatcher(before)

    def beat(self, *, every_s: int) -> None:
        """Have agents say so often that they live: a node that misses three beats is lost."""
        self._set_dispatcher({"HeartbeatPeriod": every_s * 10**9})

    def _set_dispatcher(self, spec: Mapping[str, int]) -> None:
        cluster = self._get("/swarm")
        path = f"/swarm/update?version={cluster['Version']['Index']}"
        at = next(self[name] for name, told in self.managers().items() if told != "unreachable")
        status, answer = self.ask(at, "POST", path, {**cluster["Spec"], "Dispatcher": dict(spec)})
        assert status == 200, answer

    def _get(self, path: str, at: Host | None = None) -> Any:
        for host in [at] if at else self.hosts:
            status, answer = self.ask(host, "GET", path)
            if status == 200:
                return answer
        raise NoManagerError(path)

    def ask(self, host: Host, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and answer of a host's node; status 0 where it doesn't answer."""
        return ask(host, method, path, body, socket=SOCKETS[self.backend])


class NoManagerError(AssertionError):
    """No node answered as a manager."""


def ask(
    host: Host, method: str, path: str, body: object = None, *, socket: str = SOCKET
) -> tuple[int, Any]:
    """Return status and answer of a node's socket; status 0 where it doesn't answer."""
    text = "" if body is None else json.dumps(body)
    done = run_in(host, "python3", "-c", _ASK, method, path, socket, text)
    if done.returncode != 0:
        return 0, done.stderr
    status, _, answer = done.stdout.partition("\n")
    return int(status), json.loads(answer) if answer.strip() else None


def docker(host: Host, command: str, *, check: bool = True) -> str:
    """Run the host's own docker CLI on its swarmops socket, over SSH; return all that it said."""
    done = ssh(host, f"docker -H unix://{SOCKET} {command}", check=check)
    return (done.stdout + done.stderr).strip()


def processes(hosts: Collection[Host]) -> set[Process]:
    """Return the processes of tasks on hosts, in containers too, from the hosts' own /proc."""
    found = set()
    for host in hosts:
        for line in run_in(host, "python3", "-c", _PROCESSES).stdout.splitlines():
            service, task, pid, start = line.split()
            found.add(Process(host.name, service, task, int(pid), int(start)))
    return found


def daemon_pid(host: Host) -> int:
    """Return the process ID of a host's daemon, 0 while there is none."""
    done = run_in(host, "systemctl", "show", "--property=MainPID", "--value", UNIT)
    return int(done.stdout.strip() or 0)


def kill_daemon(*hosts: Host) -> list[int]:
    """Kill daemons with -9, all of them before this returns; return which processes they were."""
    pids = [daemon_pid(host) for host in hosts]
    for host, pid in zip(hosts, pids, strict=True):
        assert pid, f"{host.name} has no daemon"
        run_in(host, "kill", "-9", str(pid))
    return pids


def answers(url: str) -> bool:
    """Say whether an HTTP server answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def leftovers(host: Host) -> str:
    """Return what of swarmops is on a host, one thing a line; empty if there is nothing."""
    script = f"""
        ls -d /etc/systemd/system/{UNIT} /etc/systemd/system/*.wants/{UNIT} 2>/dev/null
        ls -d /var/lib/swarmops /opt/swarmops /run/swarmops /usr/local/bin/swarmops 2>/dev/null
        find / -xdev -name '*swarmops*' -not -path '/proc/*' -not -path '/var/log/journal/*'
        systemctl list-units --all --plain --no-legend '*swarmops*'
        getent group swarmops; getent passwd swarmops
        ps -eo pid,args | grep -F swarmops | grep -vF -e grep -e 'find / -xdev'
        true"""
    return run_in(host, "sh", "-c", script).stdout


@contextmanager
def formed(
    lab: Lab,
    temporary: pytest.TempPathFactory,
    name: str,
    playbook: Mapping[str, object],
    *,
    count: int,
    engine: bool | Sequence[bool] = False,
    managers: int = 3,
) -> Iterator[Swarm]:
    """Claim bare hosts, apply the playbook to them and yield the swarm; the claim ends with it."""
    with lab.claim(count, engine=engine) as hosts:
        swarm = drawn(hosts, temporary, name)
        swarm.write(playbook, managers=hosts[:managers], workers=hosts)
        swarm.apply()
        yield swarm


def drawn(
    hosts: Sequence[Host], temporary: pytest.TempPathFactory, name: str, backend: str = NATIVE
) -> Swarm:
    """Return a swarm that is on paper only, with an operator who has never seen the hosts."""
    directory = temporary.mktemp(name)
    operator = Operator(directory / "home", temporary.getbasetemp())
    return Swarm(hosts, directory, operator, backend)
