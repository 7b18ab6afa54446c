"""Placement alone: how fast a swarm of thousands of nodes places tasks, and what its leader pays.

    python -m bench.placement [--nodes 500 5000] [--tasks-per-node 20] [--services 10] [--turns]

Three real managers on loopback: processes of the runtime, with Raft over TLS and its log on disk.
The nodes are ``bench.simulated_agents``: real sessions over TLS, tasks that are nothing. So all
that is measured is the managers' work, and it shares the machine with the agents. After placing,
one service is updated, one scaled down and one removed, and the leader is killed with signal 9.

With ``--turns`` it shows the longest turns of the leader's event loop, by processor time
(``bench.held_loop``); timing each of them costs the managers a tenth of their speed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from bench.measuring import load
from swarmops.client import Client, unix_socket
from swarmops.errors import SwarmopsError
from swarmops.model.base import given
from swarmops.model.node import Availability
from swarmops.model.service import (
    ContainerSpec,
    ReplicatedMode,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.swarm import InitRequest, JoinRequest
from tests.local.addresses import NETWORK

MANAGERS = 3
AGENT_PROCESSES = 2
WITHIN_S = 1200.0
PARALLELISM = 200
"""Of an update, or a tenth of a service that is larger."""
_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")


class Manager:
    """One manager process."""

    def __init__(self, folder: Path, number: int, *, watched: bool) -> None:
        self.name = f"m{number}"
        self.addr = f"{NETWORK}.{10 + number}:2377"
        self._folder = folder / self.name
        self._folder.mkdir()
        self._report = self._folder / "turns.json" if watched else None
        self._log = (self._folder / "log").open("a")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until its API answers."""
        program = ["swarmops.runtime"]
        if self._report is not None:
            program = ["bench.held_loop", str(self._report)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", *program),
                *("--data-dir", str(self._folder / "data"), "--socket", str(self.socket)),
                *("--hostname", self.name, "--log-level", "warning"),
            ],
            stdout=self._log,
            stderr=self._log,
        )
        wait_for(self._answers, f"{self.name} to answer")

    @property
    def socket(self) -> Path:
        """Where its API is."""
        return self._folder / "sock"

    @property
    def pid(self) -> int:
        """Its process."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    def client(self) -> Client:
        """Return a client of its API."""
        return Client(unix_socket(self.socket), name=self.name, timeout_s=30)

    def leads(self) -> bool:
        """Whether it leads."""
        try:
            with self.client() as client:
                me = client.info().swarm.node_id
                status = given(client.node(me).manager_status, None)
        except SwarmopsError:
            return False
        return status is not None and bool(given(status.leader, False))

    def cpu_s(self) -> float:
        """Return the processor seconds that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICKS_S

    def memory_mb(self, which: str = "VmRSS") -> float:
        """Return its memory, resident now or (VmHWM) at most."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{which}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the kernel does not say it")

    def turns(self) -> dict[str, dict[str, float]]:
        """Return the longest turns of its event loop since this was last asked."""
        if self._report is None:
            return {}
        self._report.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        wait_for(self._report.exists, f"{self.name}'s report", within_s=60)
        found: dict[str, dict[str, float]] = json.loads(self._report.read_text())
        return found

    def kill(self) -> None:
        """End it as a power cut does to a process."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except SwarmopsError:
            return False
        return True


class Agents:
    """The processes of simulated agents, and what they say."""

    def __init__(self, count: int, token: str, managers: list[str]) -> None:
        each = count // AGENT_PROCESSES
        self.count = each * AGENT_PROCESSES
        self._processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "bench.simulated_agents"),
                    *(str(number * each), str(each), token, *managers),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(AGENT_PROCESSES)
        ]
        self._said: list[dict[str, Any]] = [{} for _ in self._processes]
        for number, process in enumerate(self._processes):
            assert process.stdout is not None
            threading.Thread(target=self._read, args=(number, process.stdout), daemon=True).start()

    def _read(self, number: int, lines: IO[str]) -> None:
        for line in lines:
            self._said[number] = json.loads(line)

    def __getitem__(self, what: str) -> float:
        """Return the sum over all processes."""
        return sum(float(said.get(what, 0)) for said in self._said)

    def end(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait()


class Swarm:
    """Managers, agents and what is measured of them."""

    def __init__(self, folder: Path, *, watched: bool) -> None:
        numbers = range(1, MANAGERS + 1)
        self.managers = [Manager(folder, number, watched=watched) for number in numbers]

    def form(self) -> str:
        """Make the swarm, its managers without tasks; return the workers' join token."""
        for manager in self.managers:
            manager.start()
        first = self.managers[0]
        with first.client() as client:
            client.init(InitRequest(listen_addr=first.addr, advertise_addr=first.addr))
            tokens = given(client.swarm().join_tokens, None)
            if tokens is None:
                raise RuntimeError("no join tokens")
            for other in self.managers[1:]:
                with other.client() as joining:
                    joining.join(
                        JoinRequest(
                            listen_addr=other.addr,
                            advertise_addr=other.addr,
                            remote_addrs=[first.addr],
                            join_token=tokens.manager,
                        )
                    )
            wait_for(lambda: len(client.nodes()) == MANAGERS, "three managers")
            for node in client.nodes():
                client.change_node(node.id, _drained)
        return tokens.worker

    @property
    def leader(self) -> Manager:
        """The manager that leads."""
        found: Manager = wait_for(
            lambda: next((m for m in self.living if m.leads()), None), "a leader", within_s=30
        )
        return found

    @property
    def living(self) -> list[Manager]:
        """The managers whose process runs."""
        return [m for m in self.managers if Path(f"/proc/{m.pid}").exists()]

    def end(self) -> None:
        """Kill what is left."""
        for manager in self.managers:
            manager.kill()


def _drained(spec: Any) -> Any:
    return type(spec)(
        role=spec.role, labels=spec.labels, name=spec.name, availability=Availability.DRAIN
    )


def service(name: str, replicas: int, arg: str = "1") -> ServiceSpec:
    """Return a service of plain tasks."""
    return ServiceSpec(
        name=name,
        task_template=TaskSpec(container_spec=ContainerSpec(image="host", args=["run", arg])),
        mode=ServiceMode(replicated=ReplicatedMode(replicas=replicas)),
        update_config=UpdateConfig(
            parallelism=max(PARALLELISM, replicas // 10), monitor=1_000_000_000
        ),
    )


class Phase:
    """What one part of a run took, of everybody."""

    def __init__(self, swarm: Swarm, agents: Agents, name: str) -> None:
        self._swarm, self._agents, self._name = swarm, agents, name
        self.leader = swarm.leader
        self.leader.turns()
        self._cpu_s = {m.name: m.cpu_s() for m in swarm.living}
        self._agents_s = agents["cpu_s"]
        self.began_s = time.monotonic()

    def end(self, tasks: int) -> dict[str, Any]:
        """Print and return it."""
        took_s = time.monotonic() - self.began_s
        spent = {m.name: m.cpu_s() - self._cpu_s[m.name] for m in self._swarm.living}
        leader_s = spent.pop(self.leader.name)
        turns = self.leader.turns()
        found = {
            "phase": self._name,
            "tasks": tasks,
            "took_s": round(took_s, 2),
            "per_s": round(tasks / took_s),
            "leader_cpu_s": round(leader_s, 2),
            "leader_us_per_task": round(1e6 * leader_s / max(tasks, 1)),
            "follower_us_per_task": round(1e6 * sum(spent.values()) / 2 / max(tasks, 1)),
            "agents_cpu_s": round(self._agents["cpu_s"] - self._agents_s, 2),
            "leader_mb": round(self.leader.memory_mb()),
            "load": load(),
        }
        print(json.dumps(found), flush=True)
        for name, turn in list(turns.items())[:12]:
            print(f"    {turn['longest_ms']:7.1f} ms  {turn['count']:5}x  {name}", flush=True)
        return found


def run(swarm: Swarm, nodes: int, per_node: int, services: int) -> None:
    """Measure one size of swarm."""
    token = swarm.form()
    began_s = time.monotonic()
    agents = Agents(nodes, token, [manager.addr for manager in swarm.managers])
    try:
        phase = Phase(swarm, agents, "join")
        wait_for(lambda: agents["sessions"] == agents.count, "all sessions", every_s=0.2)
        print(f"{agents.count} nodes after {time.monotonic() - began_s:.1f} s", flush=True)
        phase.end(agents.count)
        _work(swarm, agents, agents.count * per_node // services, services)
    finally:
        agents.end()


def _work(swarm: Swarm, agents: Agents, replicas: int, services: int) -> None:
    phase = Phase(swarm, agents, "nothing to do")
    time.sleep(10)
    phase.end(0)
    total = replicas * services
    names = [f"s{number}" for number in range(services)]
    phase = Phase(swarm, agents, "place")
    with phase.leader.client() as client:
        ids = [client.create_service(service(name, replicas)) for name in names]
    wait_for(lambda: agents["running"] == total, "all tasks", every_s=0.05)
    phase.end(total)
    time.sleep(5)
    phase = Phase(swarm, agents, "nothing to do")
    time.sleep(10)
    phase.end(0)

    phase = Phase(swarm, agents, "update a service")
    with phase.leader.client() as client:
        client.change_service(ids[0], lambda spec: service(str(spec.name), replicas, "2"))
        wait_for(lambda: _updated(client, ids[0]), "the update", every_s=0.5)
    phase.end(replicas)

    phase = Phase(swarm, agents, "scale down by half")
    with phase.leader.client() as client:
        client.change_service(ids[0], lambda spec: service(str(spec.name), replicas // 2, "2"))
    total -= replicas - replicas // 2
    wait_for(lambda: agents["running"] == total, "half of the tasks", every_s=0.05)
    phase.end(replicas - replicas // 2)

    phase = Phase(swarm, agents, "remove a service")
    with phase.leader.client() as client:
        client.remove_service(ids[1])
    total -= replicas
    wait_for(lambda: agents["running"] == total, "the removal", every_s=0.05)
    phase.end(replicas)
    time.sleep(5)
    _kill_leader(swarm, agents, total)


def _updated(client: Client, service_id: str) -> bool:
    status = given(client.service(service_id).update_status, None)
    return status is not None and status.state == "completed"


def _kill_leader(swarm: Swarm, agents: Agents, total: int) -> None:
    """Measure from the leader's death to a write, to tasks that run, to all sessions."""
    killed = swarm.leader
    others = [m for m in swarm.living if m is not killed]
    for other in others:
        other.turns()
    cpu_s = sum(m.cpu_s() for m in others)
    sessions = agents["sessions"]
    killed.kill()
    began_s = time.monotonic()
    after = service("after", 1000)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(other.client()) for other in others]
        wait_for(lambda: _created(clients, after), "a write", within_s=60, every_s=0.02)
        write_s = time.monotonic() - began_s
        wait_for(lambda: agents["running"] >= total + 1000, "new tasks", every_s=0.05)
        placed_s = time.monotonic() - began_s
        wait_for(lambda: agents["sessions"] == sessions, "all sessions", every_s=0.05)
        sessions_s = time.monotonic() - began_s
        down = sum(node.status.state.value == "down" for node in clients[0].nodes())
    found = {
        "phase": "leader killed",
        "next write_s": round(write_s, 2),
        "1000 new tasks_s": round(placed_s, 2),
        "all sessions_s": round(sessions_s, 2),
        "cpu_s": round(sum(m.cpu_s() for m in others) - cpu_s, 2),
        "nodes down": down,
        "tasks": agents["running"],
        "load": load(),
    }
    print(json.dumps(found), flush=True)
    turns = swarm.leader.turns()
    for name, turn in list(turns.items())[:12]:
        print(f"    {turn['longest_ms']:7.1f} ms  {turn['count']:5}x  {name}", flush=True)


def _created(clients: list[Client], spec: ServiceSpec) -> bool:
    for client in clients:
        with contextlib.suppress(SwarmopsError):
            client.create_service(spec)
            return True
    return False


def wait_for(
    condition: Callable[[], Any], what: str, within_s: float = WITHIN_S, every_s: float = 0.1
) -> Any:
    """Wait until the condition gives something true; return that."""
    end_s = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > end_s:
            raise SystemExit(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)
    return found


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a folder on disk whose name is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="placement-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main() -> None:
    """Measure each size of swarm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--tasks-per-node", type=int, default=20)
    parser.add_argument("--services", type=int, default=10)
    parser.add_argument("--turns", action="store_true", help="show the loop's longest turns")
    arguments = parser.parse_args()
    for nodes in arguments.nodes:
        with folder() as path:
            swarm = Swarm(path, watched=arguments.turns)
            try:
                print(f"load average before: {load()}")
                run(swarm, nodes, arguments.tasks_per_node, arguments.services)
            except BaseException:
                for manager in swarm.managers:
                    print((path / manager.name / "log").read_text()[-2000:])
                raise
            finally:
                swarm.end()


if __name__ == "__main__":
    main()
