"""SSH to lab hosts with the machine's own OpenSSH: for set-up and for looking, not for the product.

Host keys are deliberately not remembered here: a wiped host has a new one.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.engine import LabError
from tests.lab.hosts import Host
from tests.lab.waiting import wait_for

_OPTIONS = (
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=10",
    "-o", "IdentitiesOnly=yes",
    "-o", "LogLevel=ERROR",
    "-o", "StrictHostKeyChecking=no",
    "-o", "UserKnownHostsFile=/dev/null",
)  # fmt: skip


def ssh_argv(host: Host, *command: str, user: str = "root") -> list[str]:
    """Return the ssh command line that runs a command (or a shell, without one) on a host."""
    return ["ssh", *_OPTIONS, "-i", host.key, f"{user}@{host.address}", *command]


def ssh(
    host: Host,
    command: str,
    *,
    user: str = "root",
    stdin: str = "",
    check: bool = True,
    timeout_s: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a host; LabError if it fails and `check` is set."""
    done = subprocess.run(
        ssh_argv(host, command, user=user),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode != 0:
        raise LabError(f"{host.name}: {command!r} exited {done.returncode}: {done.stderr.strip()}")
    return done


@contextmanager
def forwarded(host: Host, socket: str, at: Path) -> Iterator[Path]:
    """Let a socket of this machine lead to one on a host; yield its path once it is there."""
    argv = ssh_argv(host)
    argv[1:1] = ["-nNT", "-o", "ExitOnForwardFailure=yes", "-L", f"{at}:{socket}"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as tunnel:
        try:
            wait_for(at.exists, f"the socket forwarded to {host.name}", within_s=20)
            yield at
        finally:
            tunnel.terminate()


def copy_to(host: Host, source: Path, target: str, *, user: str = "root") -> None:
    """Copy a file or directory onto a host."""
    _scp(host, str(source), f"{user}@{host.address}:{target}")


def copy_from(host: Host, source: str, target: Path, *, user: str = "root") -> None:
    """Copy a file or directory from a host."""
    _scp(host, f"{user}@{host.address}:{source}", str(target))


def _scp(host: Host, source: str, target: str) -> None:
    """Run scp with the lab's options."""
    done = subprocess.run(
        ["scp", "-q", "-r", *_OPTIONS, "-i", host.key, source, target],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"{host.name}: copying {source} failed: {done.stderr.strip()}")
