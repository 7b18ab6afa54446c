"""Our side: swarmops' own runtime on lab hosts. `python -m bench.swarmops_swarm`.

Three managers and three workers formed by one `swarmops apply` over SSH, then every experiment of
`scenarios.py`. No container engine runs on the hosts: tasks are plain processes.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.measuring import in_lab
from bench.operator import Operator
from bench.scenarios import MANAGERS, Kind, measure
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.ssh import ssh

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


def measure_swarmops(lab: Lab) -> dict[str, float]:
    """Return every number of swarmops' swarm."""
    with tempfile.TemporaryDirectory() as scratch:
        kind: Kind = SwarmopsSwarm(Operator(Path(scratch)))
        return measure(lab, kind)


if __name__ == "__main__":
    in_lab("swarmops", measure_swarmops)
