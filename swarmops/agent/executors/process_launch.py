"""From a process task to what its script starts: command, environment, user, directory.

Called by the process executor when it prepares a task. Everything that can be known to fail later
is refused here, in Docker's words where it has some.
"""

from __future__ import annotations

import os
import shutil
import signal as signals
from collections.abc import Mapping, Sequence
from pathlib import Path

from swarmops.agent.executors.base import TaskError
from swarmops.agent.executors.identity import home, identity
from swarmops.agent.executors.launch import Launch
from swarmops.agent.work import Work
from swarmops.model.base import given, to_builtins
from swarmops.model.service import DNSConfig

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WORK = "work"


def launch_of(work: Work, folder: Path, told: Mapping[str, str], doors: Sequence[Path]) -> Launch:
    """Return what to start. Raises ``TaskError`` if it cannot run here.

    ``told`` is environment that the task's own may replace; ``doors`` lead into control groups.
    """
    spec = work.container
    argv = [*given(spec.command, []), *given(spec.args, [])]
    if not argv:
        raise TaskError("no command specified: a task of the image `host` needs one")
    who = identity(given(spec.user, ""), given(spec.groups, []))
    uid = os.geteuid() if who is None else who.uid
    environment = {"PATH": PATH, "HOME": home(uid)} | dict(told) | work.environment
    if not (work_dir := given(spec.dir, "")):
        own = folder / _WORK
        own.mkdir(exist_ok=True, mode=0o700)
        if who is not None:
            os.chown(own, who.uid, who.gid)
        work_dir = str(own)
    if not os.path.isdir(work_dir):  # noqa: PTH112 - a path of the task's, maybe not valid
        raise TaskError(f'the task\'s working directory "{work_dir}" does not exist')
    program = argv[0] if "/" not in argv[0] else os.path.join(work_dir, argv[0])  # noqa: PTH118 - as the system does it
    if shutil.which(program, path=environment["PATH"]) is None:
        where = "no such executable" if "/" in argv[0] else "executable file not found in $PATH"
        raise TaskError(f'exec: "{argv[0]}": {where}')
    return Launch(
        argv=argv,
        environment=environment,
        task_dir=str(folder),
        work_dir=work_dir,
        identity=who,
        setsid=_tool("setsid"),
        setpriv=_tool("setpriv") if who is not None else "",
        env=_tool("env"),
        doors=[str(door) for door in doors],
    )


def owner(work: Work) -> tuple[int, int]:
    """Return the UID and GID that the task runs as."""
    who = identity(given(work.container.user, ""), given(work.container.groups, []))
    return (os.geteuid(), os.getegid()) if who is None else (who.uid, who.gid)


def _tool(name: str) -> str:
    if (path := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}")) is None:
        raise TaskError(f"the program {name} is missing on this node: install util-linux")
    return path


def refuse_what_no_process_has(work: Work) -> None:
    """Raise ``TaskError`` for what only a container has, and for a signal that doesn't exist.

    What clients send without meaning anything (empty objects, zeros) asks for nothing.
    """
    spec = work.container
    asked = {
        "mounts": bool(spec.mounts),
        "a hostname": bool(spec.hostname),
        "a read-only root": spec.read_only is True,
        "a terminal": spec.tty is True,
        "entries in its hosts file": bool(spec.hosts),
        "DNS settings": any(to_builtins(given(spec.dns_config, DNSConfig())).values()),
        "sysctls": bool(spec.sysctls),
        "ulimits": bool(spec.ulimits),
        "capabilities of its own": bool(spec.capability_add or spec.capability_drop),
        "security options": any(given(spec.privileges, {}).values()),
        "an OOM score": bool(spec.oom_score_adj),
    }
    for what, wanted in asked.items():
        if wanted:
            raise TaskError(f"a task of the image `host` cannot have {what}: use a container image")
    signal_number(work.stop_signal)


def signal_number(name: str) -> int:
    """Return the number of ``SIGTERM``, ``TERM`` or ``15``. Raises ``TaskError``."""
    if name.isdecimal() and len(name) <= len(str(signals.SIGRTMAX)):
        if int(name) not in signals.valid_signals():
            raise TaskError(f"Invalid signal: {name}")
        return int(name)
    try:
        return signals.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise TaskError(f"Invalid signal: {name}") from None
