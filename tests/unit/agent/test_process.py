"""What only plain processes have: a script, PIDs, users of the machine, files of bounded size."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from swarmops.agent.executors import output, procfs, trimming
from swarmops.agent.executors.base import ExecutorContext, LogRequest, TaskError
from swarmops.agent.executors.identity import identity
from swarmops.agent.executors.launch import Launch, script
from swarmops.agent.executors.process import ProcessExecutor
from swarmops.agent.executors.procfs import Process
from swarmops.agent.executors.supervised import Supervised, read_exit, read_pid
from swarmops.agent.work import Work
from swarmops.model.service import DNSConfig, Mount, Ulimit

MakeWork = Callable[..., Work]


@pytest.fixture
async def executor(context: ExecutorContext) -> AsyncIterator[ProcessExecutor]:
    """Return an executor whose tasks are all gone afterwards."""
    made = ProcessExecutor(context)
    yield made
    await made.reattach([])
    await made.close()


def started(context: ExecutorContext, work: Work) -> Supervised:
    """Return who runs the task."""
    known = read_pid(context.data_dir / "tasks" / work.id)
    assert known is not None
    return known


def arguments(pid: int) -> bytes:
    """Return what ``ps`` would show."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def bystanding(*, start_new_session: bool = False) -> subprocess.Popen[bytes]:
    """Start a process that is no task."""
    return subprocess.Popen(["sleep", "60"], start_new_session=start_new_session)


def runs(process: Process) -> bool:
    """Look whether the process runs just now."""
    return process.alive


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


async def test_what_cannot_be_removed_keeps_no_task_from_running(
    executor: ProcessExecutor, context: ExecutorContext
):
    """After a start the rest is cleared away all the same; here something is no folder at all."""
    tasks = context.data_dir / "tasks"
    for name in ("forgotten", "known", "other"):
        (tasks / name).mkdir(parents=True)
    (tasks / "middle").touch()
    await executor.reattach(["known"])
    assert sorted(each.name for each in tasks.iterdir()) == ["known", "middle"]
    (tasks / "middle").unlink()


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({}, "no command specified"),
        ({"command": ["no-such-program"]}, r'"no-such-program": executable file not found in \$PA'),
        ({"command": ["./none"]}, 'exec: "./none": no such executable'),
        ({"command": ["true"], "dir": "/no/such"}, 'directory "/no/such" does not exist'),
        ({"command": ["true"], "user": "nobody-of-that-name"}, "unable to find user"),
        ({"command": ["true"], "user": "nobody\0"}, "unable to find user"),
        ({"command": ["true"], "user": "9" * 20}, "must be in range 0-2147483647"),
        ({"command": ["true"], "groups": ["4294967296"]}, "must be in range 0-2147483647"),
        ({"command": ["true"], "groups": ["\0"]}, "unable to find group"),
        ({"command": ["true"], "stop_signal": "SIGNONSENSE"}, "Invalid signal: SIGNONSENSE"),
        ({"command": ["true"], "stop_signal": "99"}, "Invalid signal: 99"),
        ({"command": ["true"], "stop_signal": "9" * 20}, "Invalid signal: 999"),
        ({"command": ["true"], "stop_signal": "0"}, "Invalid signal: 0"),
        ({"command": ["true"], "hostname": "h"}, "cannot have a hostname"),
        ({"command": ["true"], "tty": True}, "cannot have a terminal"),
        ({"command": ["true"], "read_only": True}, "cannot have a read-only root"),
        ({"command": ["true"], "mounts": [Mount(type="tmpfs", target="/x")]}, "have mounts"),
        ({"command": ["true"], "hosts": ["10.0.0.1 db"]}, "cannot have entries in its hosts file"),
        ({"command": ["true"], "dns_config": DNSConfig(search=["x"])}, "cannot have DNS settings"),
        ({"command": ["true"], "sysctls": {"a": "1"}}, "cannot have sysctls"),
        ({"command": ["true"], "ulimits": [Ulimit(name="nofile")]}, "cannot have ulimits"),
        ({"command": ["true"], "capability_drop": ["ALL"]}, "cannot have capabilities of its own"),
        ({"command": ["true"], "privileges": {"NoNewPrivileges": True}}, "have security options"),
        ({"command": ["true"], "oom_score_adj": 9}, "cannot have an OOM score"),
        ({"command": ["true", "a\0b"]}, "NUL character"),
    ],
)
async def test_what_cannot_run_is_refused_before_the_start(
    executor: ProcessExecutor, work: MakeWork, container: dict[str, Any], message: str
):
    """Preparing tells what is wrong, so that the task is REJECTED with a clear sentence."""
    with pytest.raises(TaskError, match=message):
        await executor.prepare(work(**container))


async def test_what_a_client_sends_without_a_meaning_is_no_reason(
    executor: ProcessExecutor, work: MakeWork
):
    """The docker CLI sends empty settings with every service."""
    none = {"CredentialSpec": None, "SELinuxContext": None, "NoNewPrivileges": False}
    await executor.prepare(
        work(
            command=["true"],
            dns_config=DNSConfig(nameservers=[], search=None),
            privileges=none,
            isolation="default",
            init=False,
            ulimits=[],
        )
    )


async def test_all_that_a_task_started_ends_with_it(
    executor: ProcessExecutor, work: MakeWork, tmp_path: Path
):
    """Children in the background, and those in sessions of their own, do not outlive the task."""
    marks = tmp_path / "pids"
    command = (
        f"sleep 60 & echo $! >> {marks}; setsid sh -c 'echo $$ >> {marks}; exec sleep 60' & "
        f"while [ $(cat {marks} | wc -l) -lt 2 ]; do sleep 0.02; done; exit 0"
    )
    task = work(command=["sh", "-c", command])
    await executor.prepare(task)
    await executor.start(task)
    assert (await executor.wait(task)).code == 0
    pids = [int(line) for line in marks.read_text().split()]
    await until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), 2)


async def test_removing_leaves_no_process_and_no_file(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork
):
    """Neither the script nor the command nor the folder stay."""
    task = work(command=["sleep", "60"])
    await executor.prepare(task)
    await executor.start(task)
    known = started(context, task)
    assert runs(known.leader)
    assert runs(known.script)
    await executor.remove(task)
    assert not runs(known.leader)
    assert not runs(known.script)
    assert not (context.data_dir / "tasks" / task.id).exists()


async def test_a_killed_supervisor_fails_the_task_and_leaves_nothing(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork
):
    """If the script dies the exit code is lost: the task ends with that reason."""
    task = work(command=["sleep", "60"])
    await executor.prepare(task)
    await executor.start(task)
    known = started(context, task)
    os.kill(known.script.pid, signal.SIGKILL)
    with pytest.raises(TaskError, match="supervising shell was killed"):
        await executor.wait(task)
    assert not runs(known.leader)


async def test_a_reboot_is_noticed_though_pids_are_reused(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork
):
    """A PID of another boot means nothing: the task failed, and its number is not signalled."""
    task = work(command=["sleep", "60"])
    await executor.prepare(task)
    bystander = bystanding()
    try:
        stat = procfs.stat_of(bystander.pid)
        assert stat is not None
        line = f"{bystander.pid} {stat[19]} {bystander.pid} {stat[19]} another-boot\n"
        (context.data_dir / "tasks" / task.id / "pid").write_text(line)
        with pytest.raises(TaskError, match="machine was restarted"):
            await executor.wait(task)
        await executor.stop(task, "SIGKILL", 1)
        await executor.remove(task)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_reused_pid_is_not_the_task(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork
):
    """A process with the task's PID but another start time is left alone."""
    task = work(command=["sleep", "60"])
    await executor.prepare(task)
    bystander = bystanding()
    try:
        line = f"{bystander.pid} 1 {bystander.pid} 1 {procfs.boot_id()}\n"
        (context.data_dir / "tasks" / task.id / "pid").write_text(line)
        await executor.stop(task, "SIGTERM", 1)
        await executor.remove(task)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_session_number_used_anew_is_not_the_task(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork
):
    """Long after its end a task is removed without harm to whoever has its PID as session now."""
    task = work(command=["sleep", "60"])
    await executor.prepare(task)
    bystander = bystanding(start_new_session=True)
    try:
        folder = context.data_dir / "tasks" / task.id
        line = f"{bystander.pid} 1 {bystander.pid} 1 {procfs.boot_id()}\n"
        (folder / "pid").write_text(line)
        (folder / "exit").write_text("0 0.02\n")
        assert (await executor.wait(task)).code == 0
        await executor.remove(task)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_what_ran_on_after_an_end_that_no_daemon_saw_is_killed(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork, tmp_path: Path
):
    """Even without a trace in its environment: it was in the session when the task ended."""
    mark = tmp_path / "pid"
    task = work(command=["sh", "-c", f"env -i sleep 60 & echo $! > {mark}; sleep 0.1"])
    await executor.prepare(task)
    await executor.start(task)
    await until(lambda: read_exit(context.data_dir / "tasks" / task.id) is not None)
    left = mark.read_text().strip()
    assert arguments(int(left))
    successor = ProcessExecutor(context)
    assert (await successor.wait(task)).code == 0
    await until(lambda: procfs.stat_of(int(left)) is None, 2)
    await successor.close()


async def test_signals_are_the_tasks_own(executor: ProcessExecutor, work: MakeWork):
    """The command begins with default signals, whatever the daemon ignores."""
    task = work(command=["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
    await executor.prepare(task)
    # As a shell does for what it starts in the background, and some service managers do.
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGQUIT, signal.SIGUSR1)}
    try:
        await executor.start(task)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    await executor.wait(task)
    lines = [line.data.split() async for line in executor.logs(task, LogRequest())]
    assert [int(value, 16) & 0x7FFFFFFF for _, value in lines] == [0, 0]  # but for libc's own


async def test_no_secret_stands_in_a_command_line(
    executor: ProcessExecutor, context: ExecutorContext, work: MakeWork
):
    """The environment is in no process's arguments, and the script is for its owner alone."""
    task = work(command=["sleep", "60"], env=["PASSWORD=hunter2"])
    await executor.prepare(task)
    await executor.start(task)
    known = started(context, task)
    for pid in (known.leader.pid, known.script.pid):
        assert b"hunter2" not in arguments(pid)
    path = context.data_dir / "tasks" / task.id / "run.sh"
    assert path.stat().st_mode & 0o077 == 0


async def test_output_files_are_bounded_without_losing_new_lines(tmp_path: Path):
    """Old output is given back to the disk while the task writes on; whole lines are read."""
    path = output.path_of(tmp_path, "stdout")
    lines = [f"line {n:06} {'x' * 80}" for n in range(20_000)]
    path.write_text("\n".join(lines) + "\n")
    size = path.stat().st_size
    output.trim(path, 100_000)
    with path.open("a") as file:
        file.write("after\n")
    assert path.stat().st_blocks * 512 < 200_000
    assert path.stat().st_size == size + len("after\n")
    kept = [line.data.decode() async for line in output.read(tmp_path, LogRequest())]
    assert kept[-1] == "after"
    assert kept[:-1] == lines[-len(kept) + 1 :]
    assert 900 < len(kept) < 1200
    tail = [line.data.decode() async for line in output.read(tmp_path, LogRequest(tail=2))]
    assert tail == [lines[-1], "after"]


async def test_output_stays_bounded_after_the_daemon_was_restarted(
    executor: ProcessExecutor,
    context: ExecutorContext,
    work: MakeWork,
    monkeypatch: pytest.MonkeyPatch,
):
    """The next daemon trims what it finds, also of a task whose times cannot be written down."""
    write = f"head -c {2 * output.KEPT_BYTES} /dev/zero; exec sleep 60"
    tasks = [work(command=["sh", "-c", write]) for _ in range(2)]
    folders = [context.data_dir / "tasks" / task.id for task in tasks]
    former = ProcessExecutor(context)
    for task in tasks:
        await former.prepare(task)
        await former.start(task)
    await former.close()
    for folder in folders:
        (folder / "stdout.times").mkdir()  # as good as a full disk

    def held(folder: Path) -> int:
        return (folder / "stdout.log").stat().st_blocks * 512

    await until(lambda: min(map(held, folders)) >= 2 * output.KEPT_BYTES)
    monkeypatch.setattr(trimming, "TRIM_S", 0.02)
    await executor.reattach([task.id for task in tasks])
    await until(lambda: max(map(held, folders)) <= output.KEPT_BYTES * 3 // 2)
    (folders[0] / "stdout.times").rmdir()
    await until((folders[0] / "stdout.times").is_file)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", None),
        ("65534", (65534, 65534)),
        ("nobody:0", (65534, 0)),
        ("12345:54321", (12345, 54321)),
    ],
)
@pytest.mark.root
def test_users_are_names_or_numbers(user: str, expected: tuple[int, int] | None):
    """Docker's forms of a user, with the user's own groups."""
    who = identity(user, [])
    assert (who and (who.uid, who.gid)) == expected


def test_another_user_needs_root(monkeypatch: pytest.MonkeyPatch):
    """Without root only the daemon's own user can run tasks, and the error says so."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert identity("nobody", []) is None
    with pytest.raises(TaskError, match="runs without root"):
        identity("root", [])


def test_hostile_words_stay_words():
    """Nothing in a command, its environment or its paths is read by the shell."""
    nasty = "'; touch /tmp/x; $(id) `id` \\ \" \n #"
    launch = Launch(
        argv=["/bin/echo", nasty],
        environment={"A": nasty, "b.c": nasty, "UID": "7"},
        task_dir="/tmp/it's here",
        work_dir="-n",
        identity=None,
        setsid="/usr/bin/setsid",
        setpriv="",
        env="/usr/bin/env",
    )
    checked = subprocess.run(["sh", "-n"], input=script(launch).encode(), check=False)
    assert checked.returncode == 0
    assert "export UID" not in script(launch)


async def test_a_cancelled_thread_is_waited_for():
    """What it makes is made when the cancellation is heard of."""
    from swarmops.agent.executors.whole import whole

    began, made = threading.Event(), []

    def make() -> None:
        began.set()
        time.sleep(0.05)
        made.append(1)

    making = asyncio.create_task(whole(make))
    await asyncio.to_thread(began.wait, 5)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert made == [1]
