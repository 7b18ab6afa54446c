"""Fifty hosts, nothing to do: how long an apply takes, and how much memory its program needs.

`python -m bench.fifty_hosts [HOSTS]`. The hosts are fifty addresses of one container with sshd and
without systemd, each with a node of its own: fifty SSH connections, fifty daemons. Their work and
the operator's share the machine's processors, so the time is worse than that of real hosts.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.measuring import in_lab
from bench.operator import Operator
from tests.lab import hosts as lab_hosts
from tests.lab.hosts import Host, run_in
from tests.lab.lab import Lab
from tests.lab.waiting import wait_for

HOSTS = 50
MANAGERS = 3
RUNS = 5
TRIES_MAX = 5
FIRST = 100
"""The last number of the first host's address."""
PROCESS_1 = """
mkdir -p /run/sshd && ssh-keygen -A >/dev/null
{ echo MaxStartups 200; echo MaxSessions 20; } >> /etc/ssh/sshd_config
exec /usr/sbin/sshd -D -e
"""


def measure(lab: Lab) -> dict[str, float]:
    """Return the seconds of no-op applies, and the operator's greatest memory."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else HOSTS
    with lab.claim(1, engine=False) as (near,), tempfile.TemporaryDirectory() as scratch:
        light = msgspec.structs.replace(
            near,
            name="light",
            address=_address(near, FIRST),
            container=f"{near.container}-light",
            engine=False,
        )
        lab_hosts.create(light, image=lab.image, command=("sh", "-c", PROCESS_1))
        try:
            wait_for(lambda: lab_hosts.greets(light.address), "sshd", within_s=30)
            for other in range(1, number):
                address = _address(near, FIRST + other)
                run_in(light, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            return _applied(near, light, number, Path(scratch))
        finally:
            lab_hosts.remove(light)


def _address(near: Host, last: int) -> str:
    return re.sub(r"\d+$", str(last), near.address)


def _applied(near: Host, light: Host, number: int, folder: Path) -> dict[str, float]:
    operator = Operator(folder)
    (folder / "playbook.yml").write_text(json.dumps({"swarm": {"managers": MANAGERS}}))
    own = {
        f"light{index + 1:02}": {
            "ansible_host": _address(near, FIRST + index),
            "swarmops_data_dir": f"/var/lib/nodes/{index + 1}",
            "swarmops_socket": f"/run/nodes/{index + 1}/node.sock",
            "swarmops_listen_addr": f"{_address(near, FIRST + index)}:2377",
            "swarmops_advertise_addr": f"{_address(near, FIRST + index)}:2377",
            "swarmops_hostname": f"light{index + 1:02}",
        }
        for index in range(number)
    }
    shared = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": light.key,
        "swarmops_playbook": "playbook.yml",
    }
    inventory = {"all": {"vars": shared, "hosts": own}}
    (folder / "inventory.yml").write_text(json.dumps(inventory))
    # All fifty share one /opt, so the first brings the release for all.
    _run(operator, folder, "--forks", "4", "--limit", "light01", "--only", "runtime")
    formed_s = _formed(operator, folder)
    runs = [_run(operator, folder, nothing=True) for _ in range(RUNS)]
    run_in(light, "pkill", "-9", "-f", "swarmops")
    times = sorted(run["took_s"] for run in runs)
    return {
        "hosts": number,
        "formed_s": formed_s,
        "no_op_s": times[len(times) // 2],
        "no_op_max_s": times[-1],
        "memory_mb": max(run["memory_mb"] for run in runs),
        "operator_cpu_s": min(run["cpu_s"] for run in runs),
    }


def _formed(operator: Operator, folder: Path) -> float:
    """Apply until all fifty are there, a few at a time: they share two processors."""
    began = time.monotonic()
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            _run(operator, folder, "--forks", "4")
        except RuntimeError:
            if not tries_left:
                raise
        else:
            break
    return time.monotonic() - began


def _run(operator: Operator, folder: Path, *words: str, nothing: bool = False) -> dict[str, float]:
    """Run one apply; return its seconds, its processor seconds and its greatest memory."""
    argv = [sys.executable, "-m", "swarmops", "apply", str(folder / "inventory.yml"), *words]
    began = time.monotonic()
    with subprocess.Popen(
        argv,
        env=operator.environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "out").open("w"),
        stderr=subprocess.STDOUT,
    ) as process:
        _, status, spent = os.wait4(process.pid, 0)
        took_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    said = (folder / "out").read_text()
    if process.returncode != 0 or (nothing and "Nothing needs doing" not in said):
        raise RuntimeError(f"swarmops apply exited {process.returncode}:\n{said}")
    return {
        "took_s": took_s,
        "cpu_s": spent.ru_utime + spent.ru_stime,
        "memory_mb": spent.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    in_lab("fifty hosts", measure)
