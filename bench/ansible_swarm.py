"""The baseline: Ansible forming a Docker swarm of six lab hosts with one service.

`python -m bench.ansible_swarm`. Ansible is PyPI's `ansible` package (`tool_from_pypi.py`); the SDK
that its modules need on the hosts is put there beforehand, and neither is in the measured time.
Ansible gets its best settings: pipelining, one fork a host, no facts.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from bench.measuring import in_lab
from bench.scenarios import HOSTS
from bench.spending import Spending
from bench.tool_from_pypi import installed, tool_dir
from bench.watching import now_s, watching_running
from tests.lab.hosts import Host
from tests.lab.inventory import inventory_text
from tests.lab.lab import Lab
from tests.lab.ssh import copy_to, ssh
from tests.lab.task_image import import_busybox
from tests.lab.waiting import wait_for

PLAYBOOK = Path(__file__).with_name("ansible") / "swarm.yml"
ON_HOST = "/usr/local/lib/python3.11/dist-packages"
REPLICAS = 4


def measure_ansible(lab: Lab) -> dict[str, float]:
    """Return the seconds of a run on bare hosts and of one with nothing to do, and their cost.

    The playbook doesn't wait for the service's containers: `running_s` is when they run.
    """
    ansible = installed("ansible", on_hosts="docker") / "ansible-playbook"
    sdk = tool_dir("ansible") / "sdk"
    with lab.claim(HOSTS) as hosts, tempfile.TemporaryDirectory() as scratch:
        import_busybox(hosts)
        for host in hosts:
            copy_to(host, sdk, "/tmp/sdk")
            ssh(host, f"mkdir -p {ON_HOST} && cp -r /tmp/sdk/. {ON_HOST}")
        inventory = Path(scratch) / "inventory.yml"
        inventory.write_text(
            inventory_text(hosts, variables={"ansible_python_interpreter": "/usr/bin/python3"})
        )
        spending = Spending(hosts)
        with watching_running(hosts[0], "/run/docker.sock", "web", REPLICAS) as watch:
            started_s = now_s()
            first_s, _ = _play(ansible, inventory, Path(scratch))
            first_cpu_s = spending.spent_s()
            running_s = watch.done_after_s(started_s)
        _check(hosts[0])
        spending = Spending(hosts)
        again_s, recap = _play(ansible, inventory, Path(scratch))
        again_cpu_s = spending.spent_s()
        if re.search(r"changed=[1-9]", recap):
            raise RuntimeError(f"the second run changed something:\n{recap}")
        return {
            "first_s": first_s,
            "running_s": running_s,
            "first_cpu_s": first_cpu_s,
            "again_s": again_s,
            "again_cpu_s": again_cpu_s,
        }


def _play(ansible: Path, inventory: Path, scratch: Path) -> tuple[float, str]:
    """Run the playbook; return its seconds and output, RuntimeError with the latter on failure."""
    control = scratch / "control"
    environment = dict(
        os.environ,
        ANSIBLE_FORKS=str(HOSTS),
        ANSIBLE_HOME=str(scratch / "home"),
        ANSIBLE_HOST_KEY_CHECKING="False",
        ANSIBLE_PIPELINING="True",
        ANSIBLE_SSH_CONTROL_PATH_DIR=str(control),
        LC_ALL="C.UTF-8",
    )
    started_s = now_s()
    done = subprocess.run(
        [str(ansible), "-i", str(inventory), str(PLAYBOOK)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = now_s() - started_s
    # Its connections stay open for a minute; a run on another day would not find them.
    for path in control.glob("*"):
        close = ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "nobody"]
        subprocess.run(close, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ansible-playbook failed:\n{done.stdout}{done.stderr}")
    return took_s, done.stdout


def _check(manager: Host) -> None:
    """Wait until what was asked for is there: a fast run that forms nothing is no baseline."""
    listed = "docker node ls -q | wc -l; docker service ls --format '{{.Replicas}}'"
    wait_for(
        lambda: ssh(manager, listed).stdout.split() == [str(HOSTS), f"{REPLICAS}/{REPLICAS}"],
        "Ansible's swarm to run its service",
        within_s=60,
    )


if __name__ == "__main__":
    in_lab("ansible", measure_ansible)
