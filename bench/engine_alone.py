"""What Docker Engine takes when whoever asks costs nothing. `python -m bench.engine_alone`.

The requests that forming a swarm and draining a node come down to, sent to the hosts' sockets from
this machine, each as early as it can be: no SSH, no CLI, no orchestrator. No tool that has the same
containers in the same engines on the same machine is faster: a goal below it is out of reach.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker import APIClient
from docker.types import ContainerSpec, ServiceMode, TaskTemplate

from bench.measuring import in_lab
from bench.scenarios import DRAINED_TASKS, HOSTS, MANAGERS
from bench.spending import Spending
from bench.swarmops_apply import REPLICAS
from bench.watching import now_s
from tests.lab.engine import docker
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.ssh import ssh
from tests.lab.task_image import BUSYBOX, import_busybox

LOOK_EVERY_S = 0.05
SLEEPER = ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"]


def measure_forming_alone(lab: Lab) -> dict[str, float]:
    """Return the seconds of `/swarm/init`, five joins at once, and a service until it runs.

    `reach_s` is what the barest look at the hosts would add: `ssh HOST true`, all at once.
    """
    with lab.claim(HOSTS) as hosts:
        import_busybox(hosts)
        reach_s = _reach(hosts)
        first, *others = engines = [_engine(host) for host in hosts]
        spending = Spending(hosts)
        started_s = now_s()
        first.init_swarm(advertise_addr=hosts[0].address)
        tokens = first.inspect_swarm()["JoinTokens"]

        def join(engine: APIClient) -> None:
            role = "Manager" if engine in engines[:MANAGERS] else "Worker"
            engine.join_swarm([f"{hosts[0].address}:2377"], tokens[role])

        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(join, others))
        sleeper = TaskTemplate(ContainerSpec(BUSYBOX, ["sleep", "1000000"]))
        api: Any = first  # the SDK's types know nothing of services
        api.create_service(sleeper, name="web", mode=ServiceMode("replicated", REPLICAS))
        while [task["Status"]["State"] for task in api.tasks()] != ["running"] * REPLICAS:
            time.sleep(LOOK_EVERY_S)
        form_s = now_s() - started_s
        return {"reach_s": reach_s, "form_s": form_s, "form_cpu_s": spending.spent_s()}


def measure_draining_alone(lab: Lab) -> dict[str, float]:
    """Return the seconds in which 20 containers end on one host and 20 run on five others.

    Those are made while the old ones end, and each is started as soon as one has.
    """
    with lab.claim(HOSTS) as hosts:
        import_busybox(hosts)
        *others, drained = [_engine(host) for host in hosts]
        with ThreadPoolExecutor(2 * DRAINED_TASKS) as pool:
            old = [_created(drained) for _ in range(DRAINED_TASKS)]
            list(pool.map(drained.start, old))
            spending = Spending(hosts)
            started_s = now_s()

            def move(number: int) -> None:
                target = others[number % len(others)]
                made = pool.submit(_created, target)
                drained.kill(old[number], "TERM")
                drained.wait(old[number])
                target.start(made.result())

            list(pool.map(move, range(DRAINED_TASKS)))
            return {"drain_20_s": now_s() - started_s, "drain_20_cpu_s": spending.spent_s()}


def _reach(hosts: Sequence[Host]) -> float:
    started_s = now_s()
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(lambda host: ssh(host, "true"), hosts))
    return now_s() - started_s


def _created(engine: APIClient) -> str:
    return str(engine.create_container(BUSYBOX, SLEEPER)["Id"])


def _engine(host: Host) -> APIClient:
    """Return a client of a host's engine, whose socket is reached through the host's process 1."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", host.container)
    return APIClient(f"unix:///proc/{pid}/root/run/docker.sock", version="1.41")


def _both(lab: Lab) -> dict[str, float]:
    return measure_forming_alone(lab) | measure_draining_alone(lab)


if __name__ == "__main__":
    in_lab("docker engine alone", _both)
