"""Runs tasks of the image ``host`` as plain processes of this machine, with no container engine.

Each task has a folder ``<data_dir>/tasks/<id>`` with all that is known of it: the script that
supervises it, who its process is, its exit code, its output, its work directory. No process is a
child whose end would be lost with the daemon. What a process cannot have (mounts, networks, an own
root) is refused, never left out silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal as signals
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from msgspec import UNSET

from swarmops.agent.executors import output, procfs
from swarmops.agent.executors.base import (
    ExecutorContext,
    Exit,
    LogLine,
    LogRequest,
    TaskError,
)
from swarmops.agent.executors.census import Census, Group
from swarmops.agent.executors.identity import home, identity
from swarmops.agent.executors.launch import SCRIPT_FILE, Launch, script
from swarmops.agent.executors.supervised import Supervised, read_exit, read_pid, spawn
from swarmops.agent.work import Work
from swarmops.model.base import given
from swarmops.model.defaults import PROCESS_IMAGE
from swarmops.model.node import Plugin
from swarmops.model.task import ContainerStatus

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STARTS_MAX = 8
"""So many tasks are started at a time."""
TRIM_S = 5.0
_WORK = "work"


class ProcessExecutor:
    """The executor of plain processes."""

    name = "process"

    def __init__(self, context: ExecutorContext) -> None:
        self._tasks = context.data_dir / "tasks"
        self._census = Census()
        self._starting = asyncio.Semaphore(STARTS_MAX)
        self._trimming: asyncio.Task[None] | None = None

    def runs(self, image: str) -> bool:
        """Whether the image is ``host``."""
        return image == PROCESS_IMAGE

    async def describe(self) -> list[Plugin]:
        """Say that plain processes run here."""
        return [Plugin(type="Executor", name=self.name)]

    async def reattach(self, task_ids: Collection[str]) -> None:
        """Kill and remove the tasks in folders that nobody knows of any more."""
        for folder in await asyncio.to_thread(_folders, self._tasks):
            if folder.name not in task_ids:
                await self._remove(folder)

    async def prepare(self, work: Work) -> None:
        """Check that the task can run, and make its folder and script."""
        _refuse_what_no_process_has(work)
        await asyncio.to_thread(self._prepare, work)

    async def start(self, work: Work) -> ContainerStatus:
        """Start the process, unless it was started before."""
        folder = self._folder(work)
        if (known := read_pid(folder)) is None:
            async with self._starting:
                known = await spawn(folder)
        if self._trimming is None:
            self._trimming = asyncio.create_task(self._keep_trimmed(), name="trim output")
        return ContainerStatus(pid=known.leader.pid)

    async def wait(self, work: Work) -> Exit:
        """Wait for the end of the process; what it leaves running is killed."""
        folder = self._folder(work)
        known = read_pid(folder)
        if known is None:
            raise TaskError("the task's process is not on this node any more")
        await _end_of_script(known)
        await self._clear_away(known, folder)
        end = read_exit(folder)
        if end is None and not known.of_this_boot:
            raise TaskError("the machine was restarted while the task ran")
        if end is None:
            raise TaskError("the task's supervising shell was killed, so its exit code is lost")
        return Exit(end.code, ContainerStatus(pid=known.leader.pid, exit_code=end.code))

    async def stop(self, work: Work, signal: str, grace_s: float) -> ContainerStatus:
        """Signal the process's group, kill everything of the task after the grace."""
        folder = self._folder(work)
        if (known := read_pid(folder)) is None:
            return ContainerStatus()
        _signal_group(known, signal)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await _end_of_script(known)
        await self._clear_away(known, folder)
        await _end_of_script(known)
        end = read_exit(folder)
        return ContainerStatus(pid=known.leader.pid, exit_code=UNSET if end is None else end.code)

    async def remove(self, work: Work) -> None:
        """Kill what runs of the task and remove its folder."""
        await self._remove(self._folder(work))

    def logs(self, work: Work, request: LogRequest) -> AsyncIterator[LogLine]:
        """Iterate over the task's output."""
        return output.read(self._folder(work), request)

    async def close(self) -> None:
        """Stop trimming output; tasks run on."""
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait([self._trimming])

    def _folder(self, work: Work) -> Path:
        return self._tasks / work.id

    def _prepare(self, work: Work) -> None:
        folder = self._folder(work)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        launch = _launch(work, folder)
        path = folder / SCRIPT_FILE
        path.touch(mode=0o600)
        path.write_text(script(launch), encoding="utf-8", errors="surrogateescape")

    async def _remove(self, folder: Path) -> None:
        if (known := read_pid(folder)) is not None:
            await self._clear_away(known, folder)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):  # it has only its exit code to write
                    await _end_of_script(known)
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, folder)

    async def _clear_away(self, known: Supervised, folder: Path) -> None:
        """Kill all processes of the task, except the script, which has an exit code to write."""
        if known.of_this_boot:
            end = read_exit(folder)
            group = Group(folder.name, known.leader, None if end is None else end.ticks)
            await self._census.kill_all(group)

    async def _keep_trimmed(self) -> None:
        while True:
            await asyncio.sleep(TRIM_S)
            await asyncio.to_thread(_trim_all, self._tasks)


def _launch(work: Work, folder: Path) -> Launch:
    spec = work.container
    argv = [*given(spec.command, []), *given(spec.args, [])]
    if not argv:
        raise TaskError("no command specified: a task of the image `host` needs one")
    who = identity(given(spec.user, ""), given(spec.groups, []))
    uid = os.geteuid() if who is None else who.uid
    environment = {"PATH": PATH, "HOME": home(uid)} | work.environment
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
    )


def _tool(name: str) -> str:
    if (path := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}")) is None:
        raise TaskError(f"the program {name} is missing on this node: install util-linux")
    return path


def _refuse_what_no_process_has(work: Work) -> None:
    spec = work.container
    asked = {
        "mounts": bool(spec.mounts),
        "a hostname": bool(spec.hostname),
        "a read-only root": spec.read_only is True,
        "a terminal": spec.tty is True,
    }
    for what, wanted in asked.items():
        if wanted:
            raise TaskError(f"a task of the image `host` cannot have {what}: use a container image")
    _signal_number(work.stop_signal)


async def _end_of_script(known: Supervised) -> None:
    if known.of_this_boot:
        await procfs.wait_for_end(known.script)


def _signal_group(known: Supervised, name: str) -> None:
    try:
        number = _signal_number(name)
    except TaskError:
        number = signals.SIGKILL
    if not known.of_this_boot or not known.leader.alive:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(known.leader.pid, number)
        except ProcessLookupError:  # so young that it has no group yet
            os.kill(known.leader.pid, number)


def _signal_number(name: str) -> int:
    """Return the number of ``SIGTERM``, ``TERM`` or ``15``. Raises ``TaskError``."""
    if name.isdecimal():
        return int(name)
    try:
        return signals.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise TaskError(f"Invalid signal: {name}") from None


def _folders(tasks: Path) -> list[Path]:
    return list(tasks.iterdir()) if tasks.is_dir() else []


def _trim_all(tasks: Path) -> None:
    for folder in _folders(tasks):
        for stream in ("stdout", "stderr"):
            output.trim(output.path_of(folder, stream))
