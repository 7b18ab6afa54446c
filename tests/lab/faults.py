"""What can happen to a machine, done to lab hosts: for tests and benchmarks.

Each function returns when the fault (or its end) is in effect. None of them goes through SSH.
"""

import subprocess
from collections.abc import Iterable

from tests.lab import hosts
from tests.lab.engine import LabError, docker
from tests.lab.hosts import Host, run_in

_CUT = "LABCUT"


def power_off(*off: Host) -> None:
    """Cut the power: every process of the hosts dies at once, unasked; disks keep their data.

    The network goes first: a machine without power says no goodbye, but the kernel would close
    the connections of killed processes and so tell the other end.
    """
    for host in off:
        _link_from_outside(host, "down")
    docker("kill", "--signal=KILL", *(host.container for host in off))


def power_on(*on: Host) -> None:
    """Boot hosts that are off and wait until they are up."""
    docker("start", *(host.container for host in on))
    for host in on:
        hosts.wait_ready(host)


def reboot(*again: Host) -> None:
    """Reboot hosts in an orderly way (systemd stops its units) and wait until they are up."""
    docker("restart", "--time=20", *(host.container for host in again))
    for host in again:
        hosts.wait_ready(host)


def pause(*hung: Host) -> None:
    """Freeze hosts with all their processes and containers: connections stay open and silent."""
    docker("pause", *(host.container for host in hung))


def unpause(*hung: Host) -> None:
    """Let paused hosts go on where they were."""
    docker("unpause", *(host.container for host in hung))


def partition(host: Host, from_hosts: Iterable[Host]) -> None:
    """Drop every packet between a host and others, both ways; the lab itself still reaches it.

    Adds to earlier cuts of the same host. `heal` ends all of them.
    """
    rules = "".join(
        f"iptables -w -t raw -A {_CUT} {side} {other.address} -j DROP\n"
        for other in from_hosts
        if other.address != host.address
        for side in ("-s", "-d")
    )
    _shell(
        host,
        f"""
if ! iptables -w -t raw -n -L {_CUT} >/dev/null 2>&1; then
    iptables -w -t raw -N {_CUT}
    iptables -w -t raw -I PREROUTING -j {_CUT}
    iptables -w -t raw -I OUTPUT -j {_CUT}
fi
{rules}""",
    )


def heal(*cut: Host) -> None:
    """End every partition that was made on these hosts."""
    for host in cut:
        _shell(
            host,
            f"""
if iptables -w -t raw -n -L {_CUT} >/dev/null 2>&1; then
    iptables -w -t raw -D PREROUTING -j {_CUT}
    iptables -w -t raw -D OUTPUT -j {_CUT}
    iptables -w -t raw -F {_CUT}
    iptables -w -t raw -X {_CUT}
fi""",
        )


def link_down(host: Host) -> None:
    """Pull the network cable: nobody reaches the host, the lab neither, but `run_in` does."""
    _link_from_outside(host, "down")


def link_up(host: Host) -> None:
    """Put the network cable back."""
    _link_from_outside(host, "up")


def _link_from_outside(host: Host, state: str) -> None:
    """Set a host's link up or down in its network namespace, even while it is paused."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", host.container)
    if pid == "0":
        raise LabError(f"{host.name} is off")
    subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "eth0", state], check=True
    )


def _shell(host: Host, script: str) -> None:
    """Run a script on a host; LabError with its last words if it fails."""
    done = run_in(host, "sh", "-ec", script)
    if done.returncode != 0:
        raise LabError(f"{host.name}: {done.stderr.strip()}")
