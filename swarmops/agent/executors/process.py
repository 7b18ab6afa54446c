"""Runs tasks of the image ``host`` as plain processes of this machine, with no container engine.

Each task has a folder ``<data_dir>/tasks/<id>`` with all that is known of it: the script that
supervises it, who its process is, its exit code, its output, its work directory. No process is a
child whose end would be lost with the daemon. What a process cannot have (mounts, networks, an own
root) is refused, never left out silently; limits that the node may not set are named in the task's
message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal as signals
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import msgspec
import structlog
from msgspec import UNSET

from swarmops.agent.executors import health, output, probing, procfs
from swarmops.agent.executors.base import (
    ExecutorContext,
    Exit,
    LogLine,
    LogRequest,
    Report,
    TaskError,
    UnhealthyError,
)
from swarmops.agent.executors.census import Census, Group
from swarmops.agent.executors.launch import PROBE_FILE, SCRIPT_FILE, probe_script, script
from swarmops.agent.executors.memory_files import MemoryFiles
from swarmops.agent.executors.port_book import PortBook, environment
from swarmops.agent.executors.process_launch import (
    launch_of,
    owner,
    refuse_what_no_process_has,
    signal_number,
)
from swarmops.agent.executors.process_limits import TaskLimits
from swarmops.agent.executors.supervised import Supervised, read_exit, read_pid, spawn
from swarmops.agent.executors.trimming import Trimming, folders
from swarmops.agent.executors.whole import whole
from swarmops.agent.work import Work
from swarmops.model.defaults import PROCESS_IMAGE
from swarmops.model.node import Plugin
from swarmops.model.task import ContainerStatus

STARTS_MAX = 8
"""So many tasks are started at a time."""
UNHEALTHY = "unhealthy task"
_TICKS = os.sysconf("SC_CLK_TCK")
log = structlog.get_logger(__name__)


class ProcessExecutor:
    """The executor of plain processes."""

    name = "process"

    def __init__(self, context: ExecutorContext) -> None:
        self._tasks = context.data_dir / "tasks"
        self._census = Census()
        self._starting = asyncio.Semaphore(STARTS_MAX)
        self._trimming = Trimming(self._tasks)
        self._files = MemoryFiles(context)
        self._limits = TaskLimits()
        self._ports = PortBook(self._tasks)

    def runs(self, image: str) -> bool:
        """Whether the image is ``host``."""
        return image == PROCESS_IMAGE

    async def describe(self) -> list[Plugin]:
        """Say that plain processes run here."""
        return [Plugin(type="Executor", name=self.name)]

    async def reattach(self, task_ids: Collection[str]) -> None:
        """Kill and remove the tasks in folders that nobody knows of; look after the others."""
        for folder in await asyncio.to_thread(folders, self._tasks):
            if folder.name in task_ids:
                self._trimming.begin()
                continue
            try:
                await self._remove(folder)
            except OSError as error:  # nothing of it runs: no reason to run no task at all
                log.warning("a forgotten task's folder stays", path=str(folder), why=str(error))
        await asyncio.to_thread(self._files.keep_only, task_ids)

    async def prepare(self, work: Work) -> None:
        """Check that the task can run, and make its folder and script."""
        refuse_what_no_process_has(work)
        await whole(self._prepare, work)

    async def start(self, work: Work) -> ContainerStatus:
        """Start the process, unless it was started before."""
        folder = self._folder(work)
        if (known := read_pid(folder)) is None:
            async with self._starting:
                known = await spawn(folder)
        self._trimming.begin()
        return ContainerStatus(pid=known.leader.pid)

    async def report(self, work: Work) -> Report:
        """Say which ports the process was told, and which limits it doesn't have."""
        warning = await asyncio.to_thread(self._limits.missing, work)
        return Report(ports=self._ports.of(work), warning=warning)

    async def healthy(self, work: Work) -> Exit | None:
        """Wait until the spec's test succeeds, if there is one."""
        return await self._tested(work, lambda seen: seen.up or seen.unhealthy, health.Health())

    async def wait(self, work: Work) -> Exit:
        """Wait for the end of the process; what it leaves running is killed."""
        end = await self._tested(work, lambda seen: seen.unhealthy, health.Health(up=True))
        return end or await self._end(work)

    async def _tested(
        self, work: Work, enough: Callable[[health.Health], bool], before: health.Health
    ) -> Exit | None:
        """Test the task until that is enough. Returns its end if it ended meanwhile."""
        probe = health.probe_of(work.container)
        folder = self._folder(work)
        known = read_pid(folder)
        if probe is None or known is None or not known.of_this_boot:
            return None

        async def ask() -> bool:
            return await probing.succeeds(folder, probe.timeout_s)

        def age_s() -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME) - known.leader.start / _TICKS

        watching = asyncio.create_task(health.watch(probe, ask, age_s, enough, before))
        ending = asyncio.create_task(_end_of_script(known))
        try:
            await asyncio.wait([watching, ending], return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return await self._end(work)
            if watching.result().unhealthy:
                raise UnhealthyError(UNHEALTHY)
        finally:
            watching.cancel()
            ending.cancel()
            await asyncio.wait([watching, ending])
        return None

    async def _end(self, work: Work) -> Exit:
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
        status = ContainerStatus(pid=known.leader.pid, exit_code=end.code)
        return Exit(end.code, status, self._limits.broken(work) if end.code else "")

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
        await self._trimming.close()

    def _folder(self, work: Work) -> Path:
        return self._tasks / work.id

    def _prepare(self, work: Work) -> None:
        folder = self._folder(work)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        told = environment(self._ports.choose(work)) | self._write_files(work)
        launch = launch_of(work, folder, told, self._limits.set(work))
        _write(folder / SCRIPT_FILE, script(launch))
        if probe := health.probe_of(work.container):
            test = msgspec.structs.replace(launch, argv=probe.argv)
            _write(folder / PROBE_FILE, probe_script(test))

    def _write_files(self, work: Work) -> dict[str, str]:
        """Write the task's secrets and configs, and return where it finds them."""
        if not work.files:
            return {}
        names = [f"{file.kind}s/{file.name.lstrip('/')}" for file in work.files]
        self._files.write(work.id, work.files, names, owner(work))
        folder = self._files.folder(work.id)
        return {
            "SWARMOPS_SECRETS_DIR": str(folder / "secrets"),
            "SWARMOPS_CONFIGS_DIR": str(folder / "configs"),
        }

    async def _remove(self, folder: Path) -> None:
        if (known := read_pid(folder)) is not None:
            await self._clear_away(known, folder)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):  # it has only its exit code to write
                    await _end_of_script(known)
        await asyncio.to_thread(self._limits.lift, folder.name)
        await asyncio.to_thread(self._files.remove, folder.name)
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, folder)
        self._ports.forget(folder.name)

    async def _clear_away(self, known: Supervised, folder: Path) -> None:
        """Kill all processes of the task, except the script, which has an exit code to write."""
        if known.of_this_boot:
            end = read_exit(folder)
            group = Group(folder.name, known.leader, None if end is None else end.ticks)
            await self._census.kill_all(group)


async def _end_of_script(known: Supervised) -> None:
    if known.of_this_boot:
        await procfs.wait_for_end(known.script)


def _signal_group(known: Supervised, name: str) -> None:
    try:
        number = signal_number(name)
    except TaskError:
        number = signals.SIGKILL
    if not known.of_this_boot or not known.leader.alive:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(known.leader.pid, number)
        except ProcessLookupError:  # so young that it has no group yet
            os.kill(known.leader.pid, number)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
