"""Our side: swarmops' own runtime on lab hosts. `python -m bench.swarmops_swarm`.

Three managers and three workers formed by one `swarmops apply` over SSH, then every experiment of
`scenarios.py`: on hosts without a container engine, where tasks are plain processes, and on hosts
with one, where they are containers.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.measuring import in_lab
from bench.operator import Operator
from bench.scenarios import MANAGERS, measure_leader, measure_tasks
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.ssh import ssh
from tests.lab.task_image import BUSYBOX, import_busybox

UNIT = "swarmops.service"


class SwarmopsSwarm:
    """Our kind of swarm."""

    name = "swarmops"
    engine = False
    socket = "/run/swarmops/swarmops.sock"
    image = "host"
    pids = f"systemctl show --property=MainPID --value {UNIT}"
    leader_pids = pids

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def prepare(self, hosts: Sequence[Host]) -> None:
        """Make a killed daemon stay dead until revived."""
        stay_dead = (
            f"mkdir -p /run/systemd/system/{UNIT}.d;"
            f" printf '[Service]\\nRestart=no\\n' > /run/systemd/system/{UNIT}.d/bench.conf"
        )
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(lambda host: ssh(host, stay_dead), hosts))

    def form(self, hosts: Sequence[Host]) -> None:
        """Apply a playbook without services."""
        self._operator.meet(hosts, {"swarm": {"name": "bench", "managers": MANAGERS}})
        self._operator.apply()

    def revive(self, host: Host) -> None:
        """Start the daemon again."""
        ssh(host, f"systemctl start {UNIT}")


class SwarmopsContainers(SwarmopsSwarm):
    """Our kind of swarm on hosts with a container engine: its tasks are containers."""

    name = "containers"
    engine = True
    image = BUSYBOX

    def prepare(self, hosts: Sequence[Host]) -> None:
        """Give the hosts the task image besides."""
        import_busybox(hosts)
        super().prepare(hosts)


@contextmanager
def swarmops_swarm(*, containers: bool = False) -> Iterator[SwarmopsSwarm]:
    """Yield our kind of swarm, with an operator of its own."""
    kind = SwarmopsContainers if containers else SwarmopsSwarm
    with tempfile.TemporaryDirectory() as scratch:
        yield kind(Operator(Path(scratch)))


def measure_processes(lab: Lab) -> dict[str, float]:
    """Return what tasks and nodes cost where tasks are plain processes."""
    with swarmops_swarm() as kind:
        return measure_tasks(lab, kind)


def measure_containers(lab: Lab) -> dict[str, float]:
    """Return the same where tasks are containers, as Docker's are."""
    with swarmops_swarm(containers=True) as kind:
        return measure_tasks(lab, kind)


def measure_leader_lost(lab: Lab) -> dict[str, float]:
    """Return what losing the leader costs."""
    with swarmops_swarm() as kind:
        return measure_leader(lab, kind)


if __name__ == "__main__":
    in_lab("processes", measure_processes)
    in_lab("containers", measure_containers)
    in_lab("leader lost", measure_leader_lost)
