"""The lab's own Docker daemon, in whose containers the hosts live.

It has its own socket, data and pid file under the cache, writes no firewall rule, makes no default
bridge and leaves IP forwarding alone: a machine's own Docker is never touched. Started when
the first lab comes up, stopped by pid when the last one goes down.
"""

import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket
from typing import IO

from tests.lab.cache import cache_dir
from tests.lab.limits import raise_limits, restore_limits
from tests.lab.waiting import wait_for

START_WITHIN_S = 60.0
STOP_WITHIN_S = 60.0


class LabError(RuntimeError):
    """Something the lab needs did not work; the sentence says what and why."""


def engine_dir() -> Path:
    """Return the daemon's directory, made if missing."""
    path = cache_dir() / "engine"
    path.mkdir(parents=True, exist_ok=True)
    return path


def docker_argv(*args: str) -> list[str]:
    """Return the command line of a docker CLI call to the lab's daemon."""
    return ["docker", "-H", f"unix://{engine_dir() / 'docker.sock'}", *args]


def docker(*args: str, stdin_file: IO[bytes] | None = None) -> str:
    """Run the docker CLI against the lab's daemon and return its output; LabError if it fails."""
    done = subprocess.run(
        docker_argv(*args),
        stdin=stdin_file or subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"docker {' '.join(args[:2])}: {done.stderr.decode().strip()}")
    return done.stdout.decode().strip()


class _SocketConnection(HTTPConnection):
    """HTTP over a unix socket, for the one question asked before the CLI is worth starting."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def answers() -> bool:
    """Say whether the daemon is up."""
    connection = _SocketConnection(engine_dir() / "docker.sock")
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start() -> None:
    """Start the daemon if it doesn't answer. The caller holds the cache's lock."""
    home = engine_dir()
    raise_limits(home / "limits")
    if answers():
        return
    config = home / "daemon.json"
    config.write_text("{}\n")
    command = [
        "dockerd",
        f"--config-file={config}",
        f"--data-root={home / 'data'}",
        f"--exec-root={home / 'exec'}",
        f"--host=unix://{home / 'docker.sock'}",
        f"--pidfile={home / 'docker.pid'}",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ]
    with (home / "log").open("wb") as log:
        # setsid --fork: the daemon outlives this process and is nobody's child here.
        subprocess.run(
            ["setsid", "--fork", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    try:
        wait_for(answers, "the lab's dockerd to answer", within_s=START_WITHIN_S)
    except AssertionError:
        last = (home / "log").read_text().strip().splitlines()[-1:]
        raise LabError(f"the lab's dockerd did not start: {''.join(last)}") from None


def stop() -> None:
    """Stop the daemon by its pid and wait until it and its containerd are gone."""
    home = engine_dir()
    pids = [_pid(home / "docker.pid"), _pid(home / "exec/containerd/containerd.pid")]
    if pids[0] and _is_ours(pids[0]):
        os.kill(pids[0], signal.SIGTERM)
    wait_for(
        lambda: not any(pid and _is_ours(pid) for pid in pids),
        "the lab's dockerd to stop",
        within_s=STOP_WITHIN_S,
    )
    restore_limits(home / "limits")


def _pid(path: Path) -> int:
    """Return the pid in a file, 0 if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _is_ours(pid: int) -> bool:
    """Say whether a pid still is a process started for this cache: pids are used again."""
    try:
        return os.fsencode(engine_dir()) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def say(text: str) -> None:
    """Tell the operator what the lab is doing; standard output stays for results."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()
