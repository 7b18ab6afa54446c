"""The baseline: Docker Engine's own swarm mode on lab hosts. `python -m bench.docker_swarm`.

Three managers and three workers formed with the plain docker CLI over SSH, all hosts at once where
the CLI allows it, then every experiment of `scenarios.py`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.measuring import in_lab
from bench.scenarios import MANAGERS, measure_leader, measure_tasks
from tests.lab.hosts import Host
from tests.lab.ssh import ssh
from tests.lab.task_image import BUSYBOX, import_busybox


class DockerSwarm:
    """Docker's kind of swarm."""

    name = "docker"
    engine = True
    socket = "/run/docker.sock"
    image = BUSYBOX
    pids = "pidof dockerd containerd"
    leader_pids = "pidof dockerd"

    def prepare(self, hosts: Sequence[Host]) -> None:
        """Give the hosts the task image, and make a killed daemon stay dead until revived."""
        import_busybox(hosts)
        stay_dead = (
            "mkdir -p /run/systemd/system/docker.service.d;"
            " printf '[Service]\\nRestart=no\\n' > /run/systemd/system/docker.service.d/bench.conf;"
            " systemctl daemon-reload"
        )
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(lambda host: ssh(host, stay_dead), hosts))

    def form(self, hosts: Sequence[Host]) -> None:
        """Init on the first host, join the others all at once with the right token."""
        first, *others = hosts
        ssh(first, f"docker swarm init --advertise-addr {first.address}")
        tokens = {
            role: ssh(first, f"docker swarm join-token --quiet {role}").stdout.strip()
            for role in ("manager", "worker")
        }

        def join(host: Host) -> None:
            role = "manager" if host in hosts[:MANAGERS] else "worker"
            ssh(host, f"docker swarm join --token {tokens[role]} {first.address}:2377")

        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(join, others))

    def revive(self, host: Host) -> None:
        """Start Docker again."""
        ssh(host, "systemctl start docker")


if __name__ == "__main__":
    in_lab("docker", lambda lab: measure_tasks(lab, DockerSwarm()))
    in_lab("docker", lambda lab: measure_leader(lab, DockerSwarm()))
