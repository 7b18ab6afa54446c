"""The shell script that runs one process task: pure text, made by the process executor.

The script is the task's only supervisor. It is in a session of its own, so it outlives the daemon;
it starts the command in another session, writes who both are, waits, and writes the exit code. A
shell costs some 100 KiB where an interpreter per task would cost ten megabytes.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Mapping, Sequence

import msgspec

from swarmops.agent.executors.base import TaskError

SCRIPT_FILE = "run.sh"
PID_FILE = "pid"
EXIT_FILE = "exit"
PROBE_FILE = "probe.sh"
SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Those that a command begins with as a login gives them, whatever the daemon ignores."""
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHELLS_OWN = {"_", "UID", "EUID", "PPID", "GROUPS", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"}
"""Names that some shell keeps to itself."""


class Identity(msgspec.Struct, frozen=True):
    """Whom the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class Launch(msgspec.Struct, frozen=True):
    """What to run. ``setsid``, ``setpriv`` and ``env`` are the paths of these programs.

    ``doors`` are the files of control groups into which the command writes 0 to enter them.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    task_dir: str
    work_dir: str
    identity: Identity | None
    setsid: str
    setpriv: str
    env: str
    doors: Sequence[str] = ()


def script(launch: Launch) -> str:
    """Return the script's text.

    Run by ``/bin/sh`` with an empty environment, output already redirected, and file descriptor 3
    as the pipe on which it says ``PID_FILE``'s line: PID and start time of the command, PID and
    start time of the script, boot ID. The start times are those of ``/proc/PID/stat``. The file is
    made exclusively, so that a task is started once however often it is tried.
    """
    return "\n".join(
        [
            "# One task of swarmops: runs its command and keeps its exit code.",
            f"cd -- {shlex.quote(launch.task_dir)} || exit 125",
            "IFS= read -r boot < /proc/sys/kernel/random/boot_id",
            "IFS= read -r stat < /proc/self/stat",
            "set -- $stat",
            'shim="$1 ${22} $boot"',
            "(",
            "IFS= read -r stat < /proc/self/stat",
            "set -- $stat",
            "set -C",
            f'echo "$1 ${{22}} $shim" > {PID_FILE} || exit 125',
            'echo "$1 ${22} $shim" >&3',
            "exec 3>&-",
            *_command(launch, [launch.setsid, *(["--"] if launch.identity else [])]),
            ")",
            "code=$?",
            "IFS=' ' read -r up rest < /proc/uptime",
            f'echo "$code $up" > {EXIT_FILE}',
            "",
        ]
    )


def probe_script(launch: Launch) -> str:
    """Return the text of the script that tests the task's health, with ``argv`` as the test."""
    return "\n".join(["# Tests the health of a task of swarmops.", *_command(launch, []), ""])


def _command(launch: Launch, before: list[str]) -> list[str]:
    """Return the lines by which a shell becomes the command."""
    words = [*launch.argv, *launch.environment, *launch.environment.values(), launch.work_dir]
    if any("\0" in word for word in words):
        raise TaskError("the task's command or environment has a NUL character: take it out.")
    plain = {n: v for n, v in launch.environment.items() if _exportable(n)}
    odd = [f"{n}={v}" for n, v in launch.environment.items() if not _exportable(n)]
    prefix = [launch.env, *odd, *before] if odd else before
    switch = _switch(launch)
    end = ["--"] if switch or before else []
    return [
        *(f"echo 0 >> {shlex.quote(door)} || exit 125" for door in launch.doors),
        f"cd -- {shlex.quote(launch.work_dir)} || exit 126",
        *(f"export {name}={shlex.quote(value)}" for name, value in plain.items()),
        f"exec {shlex.join([*prefix, *switch, *end, *launch.argv])}",
    ]


def _exportable(name: str) -> bool:
    return _SHELL_NAME.fullmatch(name) is not None and name not in _SHELLS_OWN


def _switch(launch: Launch) -> list[str]:
    if launch.identity is None:
        return []
    groups = ",".join(map(str, launch.identity.groups))
    return [
        launch.setpriv,
        f"--reuid={launch.identity.uid}",
        f"--regid={launch.identity.gid}",
        f"--groups={groups}" if groups else "--clear-groups",
    ]
