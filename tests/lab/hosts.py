"""One lab host: what it is, and how it is made, made ready and removed.

A host is a container with systemd as process 1, its own cgroup tree, address, ssh host key and,
if wanted, a running Docker Engine. It is named by its container's name, which outlives a wipe.
"""

import re
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.lab.engine import LabError, docker, docker_argv

READY_WITHIN_S = 60.0
_LOOK_EVERY_S = 1.0
LABEL = "swarmops.lab"
INIT = "/usr/sbin/lab-init"

# Linux's capabilities by bit. The later ones (perfmon, bpf, checkpoint_restore) are unknown to
# Docker 20.10 and no host needs them.
_CAPABILITIES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio "
    "sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time "
    "sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
    "wake_alarm block_suspend audit_read"
)


class Host(msgspec.Struct, frozen=True):
    """A host of a lab.

    `name` is its hostname and inventory name, `container` its name in the lab's daemon, `engine`
    whether its Docker starts at boot, `key` the path of the private key that opens its accounts.
    """

    name: str
    address: str
    container: str
    engine: bool
    key: str
    lab: str


def create(host: Host, *, image: str, command: Sequence[str] = (INIT,)) -> None:
    """Start a fresh host. It isn't ready yet when this returns; see `wait_ready`.

    `command` is its process 1: systemd, but for tests of hosts that have none.
    """
    docker(
        "run",
        "--detach",
        *(f"--cap-add={name}" for name in _bounding_set()),
        # `--privileged` would ask for capabilities that the machine itself may lack.
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--security-opt=systempaths=unconfined",
        "--cgroupns=private",
        f"--name={host.container}",
        f"--hostname={host.name}",
        f"--label={LABEL}={host.lab}",
        f"--network={network_name(host.lab)}",
        f"--ip={host.address}",
        "--tmpfs=/run",
        "--tmpfs=/tmp:exec",
        "--volume=/var/lib/docker",
        f"--volume={host.key}.pub:/etc/ssh/lab_authorized_keys:ro",
        "--env=container=docker",
        f"--env=LAB_ENGINE={int(host.engine)}",
        "--stop-signal=SIGRTMIN+3",
        image,
        *command,
    )


def remove(host: Host) -> None:
    """Remove a host with all it holds, whatever state it is in."""
    try:
        docker("rm", "--force", "--volumes", host.container)
    except LabError as error:
        if "No such container" not in str(error):
            raise


def wait_ready(host: Host) -> str:
    """Return systemd's state (`running`, `degraded`) once the host has booted and sshd answers."""
    deadline = time.monotonic() + READY_WITHIN_S
    look_again = time.monotonic() + _LOOK_EVERY_S
    while not greets(host.address):
        if time.monotonic() > deadline:
            raise LabError(f"{host.name}: sshd did not answer within {READY_WITHIN_S:.0f} s")
        if time.monotonic() > look_again:
            look_again += _LOOK_EVERY_S
            _check_alive(host)
        time.sleep(0.05)
    remaining_s = max(1.0, deadline - time.monotonic())
    try:
        done = run_in(host, "systemctl", "is-system-running", "--wait", timeout_s=remaining_s)
    except subprocess.TimeoutExpired:
        raise LabError(f"{host.name}: did not finish booting in {READY_WITHIN_S:.0f} s") from None
    return done.stdout.strip()


def _check_alive(host: Host) -> None:
    """Raise LabError with the last words of a host that died at boot."""
    status = docker("inspect", "--format", "{{.State.Status}}", host.container)
    if status != "running":
        last = docker("logs", "--tail=1", host.container)
        raise LabError(f"{host.name}: {status} instead of booting: {last}")


def run_in(host: Host, *command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a command on a host as root without SSH, so also on one that is partitioned.

    Without an input: `docker exec --interactive` at times loses the end of a short one, and a
    command that reads to the end then waits for ever.
    """
    return subprocess.run(
        docker_argv("exec", host.container, *command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def network_name(lab: str) -> str:
    """Return the name of a lab's network in the lab's daemon."""
    return f"swarmops-{lab}"


def greets(address: str) -> bool:
    """Say whether an SSH server at an address sends its banner: the cheapest sign of life."""
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _bounding_set() -> list[str]:
    """Return the capabilities that this machine can give away."""
    found = re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
    mask = int(found[1], 16) if found else 0
    return [name for bit, name in enumerate(_CAPABILITIES.split()) if mask >> bit & 1]
