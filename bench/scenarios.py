"""What a swarm is measured by, the same for every kind of swarm: one run, six hosts, one result.

A kind says how it is formed and what its daemons are; everything else goes through the `docker`
CLI on a host (over SSH) and the Docker Engine API, which all kinds serve. `docker_swarm.py` has
Docker's kind, `swarmops_swarm.py` ours; `compare.py` runs several in one go and prints ratios.
"""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bench.watching import Watch, now_s, watching, watching_running, watching_writes
from tests.lab import faults
from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.ssh import ssh
from tests.lab.waiting import wait_for

HOSTS = 6
MANAGERS = 3
CREATED_TASKS = 60
DRAINED_TASKS = 20
LEADER_KILLS = 3
SETTLED_WITHIN_S = 120.0

# Dies at once when asked to, as process 1 of a container too.
SLEEPER = ("sh", "-c", "'trap exit TERM; sleep 1000000 & wait'")


class Kind(Protocol):
    """One kind of swarm on lab hosts."""

    name: str
    engine: bool  # whether the hosts' Docker Engine is wanted
    socket: str  # path on a host of the socket that serves the Docker Engine API
    image: str  # what a task runs SLEEPER in
    pids: str  # shell command that prints the pids of the daemons of one node
    leader_pids: str  # the same, of those whose death is a leader's death

    def prepare(self, hosts: Sequence[Host]) -> None:
        """Do what a measurement needs and an operator wouldn't; its time doesn't count."""

    def form(self, hosts: Sequence[Host]) -> None:
        """Make bare hosts a swarm: the first three managers, the others workers."""

    def revive(self, host: Host) -> None:
        """Start a node's daemons again after they were killed; they stay dead until then."""


def measure_tasks(lab: Lab, kind: Kind) -> dict[str, float]:
    """Return what tasks and nodes cost on one kind of swarm, formed on bare hosts of the lab."""
    with lab.claim(HOSTS, engine=kind.engine) as hosts:
        form_s, swarm = _formed(kind, hosts)
        return {
            "form_s": form_s,
            "create_60_s": swarm.create(CREATED_TASKS),
            "manager_mb": swarm.memory_mb(swarm.leader()),
            "worker_mb": swarm.memory_mb(hosts[-1]),
            "drain_20_s": swarm.drain(hosts[-1], DRAINED_TASKS),
            "promote_s": swarm.promote(hosts[MANAGERS]),
            "worker_lost_s": swarm.lose(hosts[-1]),
        }


def measure_leader(lab: Lab, kind: Kind) -> dict[str, float]:
    """Return what losing the leader costs on one kind of swarm."""
    with lab.claim(HOSTS, engine=kind.engine) as hosts:
        _, swarm = _formed(kind, hosts)
        kills = [swarm.kill_leader() for _ in range(LEADER_KILLS)]
        return {
            "leader_lost_s": statistics.median(kills),
            "leader_lost_max_s": max(kills),
            "leader_power_s": swarm.power_off_leader(),
        }


def _formed(kind: Kind, hosts: Sequence[Host]) -> tuple[float, "Swarm"]:
    kind.prepare(hosts)
    started_s = now_s()
    kind.form(hosts)
    return now_s() - started_s, Swarm(kind, hosts)


class Swarm:
    """A formed swarm and the experiments on it. Each but the last leaves it as it was."""

    def __init__(self, kind: Kind, hosts: Sequence[Host]) -> None:
        self._kind = kind
        self._hosts = hosts
        self._settled(self._nodes_ready)

    def docker(self, command: str, *, at: Host | None = None) -> str:
        """Run the docker CLI on a manager over SSH and return its output."""
        line = f"docker -H unix://{self._kind.socket} {command}"
        return ssh(at or self._hosts[0], line).stdout.strip()

    def leader(self) -> Host:
        """Return the host whose manager leads."""
        return next(host for host in self._hosts if self._managers().get(host.name) == "Leader")

    def create(self, count: int) -> float:
        """Return the seconds from asking for a service to its last task running."""
        with self._watch("many", count) as watch:
            started_s = now_s()
            self._service("many", count)
            took_s = watch.done_after_s(started_s)
        self.docker("service rm many")
        return took_s

    def drain(self, host: Host, count: int) -> float:
        """Return the seconds from draining a node with all tasks to all running elsewhere."""
        others = [other for other in self._hosts if other != host]
        self._availability("pause", others)
        with self._watch("moved", count) as watch:
            self._service("moved", count)
            watch.next()
        self._availability("active", others)
        with self._watch("moved", count, without=host) as watch:
            started_s = now_s()
            self._availability("drain", [host])
            took_s = watch.done_after_s(started_s)
        self.docker("service rm moved")
        self._availability("active", [host])
        return took_s

    def promote(self, host: Host) -> float:
        """Return the seconds from promoting a worker to its manager being reachable."""
        node = self._node_id(host)
        leader = self.leader()
        what = ("reachable", node, str(SETTLED_WITHIN_S))
        with watching(leader, self._kind.socket, *what) as watch:
            started_s = now_s()
            self.docker(f"node promote {host.name}", at=leader)
            took_s = watch.done_after_s(started_s)
        self.docker(f"node demote {host.name}", at=leader)
        self._settled(lambda: host.name not in self._managers())
        return took_s

    def lose(self, host: Host) -> float:
        """Return the seconds from a worker's power going off to its tasks running elsewhere."""
        count = 2 * len(self._hosts)
        with self._watch("survivor", count) as watch:
            self._service("survivor", count)
            watch.next()
        with self._watch("survivor", count, without=host) as watch:
            started_s = now_s()
            faults.power_off(host)
            took_s = watch.done_after_s(started_s)
        faults.power_on(host)
        self.docker("service rm survivor")
        self._kind.revive(host)
        self._settled(self._nodes_ready)
        return took_s

    def kill_leader(self) -> float:
        """Return the seconds from killing the leader with -9 to the next write accepted."""
        leader = self.leader()
        with self._watch_writes(without=leader) as watch:
            took_s = watch.write_after_s(_kill(leader, self._kind.leader_pids))
        self._kind.revive(leader)
        self._settled(self._nodes_ready)
        return took_s

    def power_off_leader(self) -> float:
        """Return the seconds from the leader's power going off to the next write accepted.

        The last experiment of a run: the host stays off.
        """
        leader = self.leader()
        with self._watch_writes(without=leader) as watch:
            started_s = now_s()
            faults.power_off(leader)
            return watch.write_after_s(started_s)

    def memory_mb(self, host: Host) -> float:
        """Return the resident memory of a node's daemons together."""
        script = f"""for pid in $({self._kind.pids}); do cat /proc/$pid/status; done"""
        lines = ssh(host, script).stdout.splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def _watch(
        self, service: str, count: int, *, without: Host | None = None
    ) -> AbstractContextManager[Watch]:
        """Watch for so many running tasks of a service."""
        nodes = (self._node_id(without),) if without else ()
        at = self._hosts[0]
        return watching_running(at, self._kind.socket, service, count, without=nodes)

    @contextmanager
    def _watch_writes(self, *, without: Host) -> Iterator[Watch]:
        """Watch for writes at a manager that isn't the given one; some are accepted already."""
        survivor = next(host for host in self._hosts[:MANAGERS] if host != without)
        with watching_writes(survivor, self._kind.socket) as watch:
            watch.next()
            yield watch

    def _service(self, name: str, replicas: int) -> None:
        """Create a service that sleeps."""
        self.docker(
            f"service create --detach --name {name} --replicas {replicas} "
            f"--stop-grace-period 1s {self._kind.image} {' '.join(SLEEPER)}"
        )

    def _availability(self, availability: str, hosts: Sequence[Host]) -> None:
        """Change how the scheduler may use nodes."""
        for host in hosts:
            self.docker(f"node update --availability {availability} {host.name}")

    def _nodes(self) -> list[dict[str, str]]:
        """Return the rows of `docker node ls`, from whichever of the first managers answers."""
        listed = "node ls --format '{{json .}}'"
        return [json.loads(line) for line in self.docker(listed).splitlines()]

    def _managers(self) -> dict[str, str]:
        """Return the managers' states (Leader, Reachable, Unreachable) by hostname."""
        return {
            row["Hostname"]: row["ManagerStatus"] for row in self._nodes() if row["ManagerStatus"]
        }

    def _node_id(self, host: Host) -> str:
        """Return the ID of a host's node."""
        return next(row["ID"] for row in self._nodes() if row["Hostname"] == host.name)

    def _nodes_ready(self) -> bool:
        """Say whether every node is up and every manager reachable."""
        rows = self._nodes()
        managers = [row["ManagerStatus"] for row in rows if row["ManagerStatus"]]
        return (
            [row["Status"] for row in rows] == ["Ready"] * len(self._hosts)
            and sorted(managers) == ["Leader"] + ["Reachable"] * (MANAGERS - 1)
        )  # fmt: skip

    def _settled(self, condition: Callable[[], bool]) -> None:
        """Wait until the swarm is as an experiment needs it."""
        wait_for(condition, "the swarm to settle", within_s=SETTLED_WITHIN_S, every_s=0.2)


def _kill(host: Host, pids: str) -> float:
    """Kill processes with -9; return the moment it was done, by the hosts' shared clock."""
    script = f"""
import os, signal, subprocess, time
pids = [int(pid) for pid in subprocess.check_output({pids!r}, shell=True).split()]
print(time.monotonic())
for pid in pids:
    os.kill(pid, signal.SIGKILL)
"""
    done = run_in(host, "python3", "-c", script)
    if done.returncode != 0:
        raise RuntimeError(f"{host.name}: killing the leader failed: {done.stderr}")
    return float(done.stdout)
