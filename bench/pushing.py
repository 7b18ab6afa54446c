"""The bundle to six hosts: pyinfra putting it there as a file, and swarmops installing it.

    python -m bench.pushing [pyinfra|swarmops]

pyinfra (`tool_from_pypi.py`) puts the very bundle and a unit where they belong, and no more.
swarmops does the same (`sending.py`), checks it and makes it durable; then, on other hosts, what an
apply does (`installing.py`): gathers facts, sends, unpacks and switches to the new release.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measuring import in_lab
from bench.operator import Operator
from bench.scenarios import HOSTS, MANAGERS
from bench.spending import Spending
from bench.tool_from_pypi import installed
from bench.watching import now_s
from swarmops.backends import bundle, wheels
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.ssh import ssh

ON_HOST = "/opt/bundle.tar.gz"
UNIT = "[Service]\nExecStart=/bin/sleep 1000000\n"
DEPLOY = f"""
from pyinfra.operations import files
files.put(name="Bundle", src="bundle.tar.gz", dest={ON_HOST!r})
files.put(name="Unit", src="node.service", dest="/etc/systemd/system/node.service")
"""


def measure_pyinfra(lab: Lab) -> dict[str, float]:
    """Return the seconds of putting the bundle on bare hosts and once more, and their cost."""
    pyinfra = installed("pyinfra") / "pyinfra"
    with lab.claim(HOSTS, engine=False) as hosts, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        content = bundle.build(wheels.here(), folder / "layers").content
        (folder / "bundle.tar.gz").write_bytes(content)
        (folder / "node.service").write_text(UNIT)
        (folder / "deploy.py").write_text(DEPLOY)
        (folder / "inventory.py").write_text(_inventory(hosts, folder))
        spending = Spending(hosts)
        first_s = _deploy(pyinfra, folder)
        first_cpu_s = spending.spent_s()
        _check(hosts, content)
        spending = Spending(hosts)
        again_s = _deploy(pyinfra, folder)
        again_cpu_s = spending.spent_s()
    return {
        "bundle_mb": len(content) / 1e6,
        "first_s": first_s,
        "first_cpu_s": first_cpu_s,
        "again_s": again_s,
        "again_cpu_s": again_cpu_s,
    }


def measure_push(lab: Lab) -> dict[str, float]:
    """Return the same of swarmops, and of a whole apply that starts what was sent.

    The bundle was built before, as the file for pyinfra was.
    """
    with tempfile.TemporaryDirectory() as scratch:
        operator = Operator(Path(scratch))
        content = bundle.build(wheels.here(), Path(scratch) / "cache/swarmops/bundles").content
        with lab.claim(HOSTS, engine=False) as hosts:
            operator.meet(hosts, {"swarm": {"name": "bench", "managers": MANAGERS}})
            spending = Spending(hosts)
            sent_s = _send(operator, content)
            sent_cpu_s = spending.spent_s()
            _check(hosts, content)
        with lab.claim(HOSTS, engine=False) as hosts:
            operator.meet(hosts, {"swarm": {"name": "bench", "managers": MANAGERS}})
            spending = Spending(hosts)
            first_s = _install(operator, on=HOSTS)
            first_cpu_s = spending.spent_s()
            spending = Spending(hosts)
            again_s = _install(operator, on=0)
            again_cpu_s = spending.spent_s()
        with lab.claim(HOSTS, engine=False) as hosts:
            operator.meet(hosts, {"swarm": {"name": "bench", "managers": MANAGERS}})
            started_s, _ = operator.apply("--only", "runtime")
    return {
        "sent_s": sent_s,
        "sent_cpu_s": sent_cpu_s,
        "first_s": first_s,
        "first_cpu_s": first_cpu_s,
        "again_s": again_s,
        "again_cpu_s": again_cpu_s,
        "started_s": started_s,
    }


def _send(operator: Operator, content: bytes) -> float:
    """Put the bundle on hosts that nobody met before; return the seconds, RuntimeError if not."""
    source = operator.inventory.with_name("sent.tar.gz")
    source.write_bytes(content)
    took_s, said = operator.run("bench.sending", str(operator.inventory), str(source), ON_HOST)
    if said.split()[-2:] != [str(HOSTS), "hosts"]:
        raise RuntimeError(f"it was to be sent to {HOSTS} hosts:\n{said}")
    return took_s


def _install(operator: Operator, *, on: int) -> float:
    """Install on bare hosts without starting anything; return the seconds.

    RuntimeError if it was done on another number of hosts.
    """
    took_s, said = operator.run("bench.installing", str(operator.inventory))
    if said.split()[-2:] != [str(on), "hosts"]:
        raise RuntimeError(f"it was to be done on {on} hosts:\n{said}")
    return took_s


def _inventory(hosts: Sequence[Host], folder: Path) -> str:
    """Return pyinfra's inventory; it trusts new hosts, as swarmops does here."""
    shared = {
        "ssh_user": "root",
        "ssh_key": hosts[0].key,
        "ssh_strict_host_key_checking": "accept-new",
        "ssh_known_hosts_file": str(folder / "known_hosts"),
    }
    return f"hosts = {[(host.address, shared) for host in hosts]!r}\n"


def _deploy(pyinfra: Path, folder: Path) -> float:
    """Run it on all hosts at once; return its seconds, RuntimeError with its output on failure."""
    started_s = now_s()
    done = subprocess.run(
        [str(pyinfra), "--yes", "--parallel", str(HOSTS), "inventory.py", "deploy.py"],
        env=dict(os.environ, HOME=str(folder)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = now_s() - started_s
    if done.returncode != 0:
        raise RuntimeError(f"pyinfra failed:\n{done.stdout}{done.stderr}")
    return took_s


def _check(hosts: Sequence[Host], content: bytes) -> None:
    """Raise RuntimeError unless every host has the bundle: else the run was no baseline."""
    wanted = hashlib.sha256(content).hexdigest()
    for host in hosts:
        if wanted not in ssh(host, f"sha256sum {ON_HOST}").stdout:
            raise RuntimeError(f"{host.name} has not the bundle that was sent")


if __name__ == "__main__":
    only = sys.argv[1:]
    if only != ["swarmops"]:
        in_lab("pyinfra", measure_pyinfra)
    if only != ["pyinfra"]:
        in_lab("swarmops", measure_push)
