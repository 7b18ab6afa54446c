"""The supervisor keeps a daemon running where no systemd does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmops import supervisor
from swarmops.supervised_daemon import start_time

# Says its process id, then waits to be killed.
_DAEMON = "import os,sys,time; open(sys.argv[1],'a').write(f'{os.getpid()}\\n'); time.sleep(600)"


def until(condition: Callable[[], bool], what: str, bound_s: float = 60.0) -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {bound_s} s: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    return start_time(pid) is not None


class Node:
    """A data directory with a supervised daemon that writes its pids to a file."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.pids_file = folder / "pids"

    def start(self, *extra: str) -> None:
        """Start the supervisor; it detaches."""
        subprocess.run(
            [
                *(sys.executable, "-m", "swarmops.supervisor", "--data-dir", str(self.data_dir)),
                *("--", sys.executable, "-c", _DAEMON, str(self.pids_file), *extra),
            ],
            check=True,
            timeout=10,
        )

    @property
    def pids(self) -> list[int]:
        """Of all daemons that were ever started."""
        return (
            [int(p) for p in self.pids_file.read_text().split()] if self.pids_file.exists() else []
        )

    @property
    def supervisor_pid(self) -> int:
        """Of the last supervisor."""
        return int((self.data_dir / "supervisor.pid").read_text())

    def wait_for(self, count: int) -> int:
        """Wait until so many daemons were started; the last one's process id."""
        until(lambda: len(self.pids) >= count, f"{count} daemons were started")
        return self.pids[-1]

    def destroy(self) -> None:
        """Kill what is left, the supervisor first so that it starts nothing more."""
        path = self.data_dir / "supervisor.pid"
        bosses = path.read_text().split() if path.exists() else []
        for pid in [*map(int, bosses), *self.pids]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node whose processes are gone after the test."""
    node = Node(tmp_path)
    yield node
    node.destroy()


def test_a_daemon_killed_by_signal_9_is_started_again(node: Node) -> None:
    """A daemon that is killed with -9 comes back by itself."""
    node.start()
    first = node.wait_for(1)
    os.kill(first, signal.SIGKILL)
    second = node.wait_for(2)
    assert second != first
    assert alive(second)
    assert "was killed by signal 9" in (node.data_dir / "daemon.log").read_text()


def test_a_second_supervisor_leaves_the_first_alone(node: Node) -> None:
    """Starting twice supervises once."""
    node.start()
    node.wait_for(1)
    before = node.supervisor_pid
    node.start()
    assert node.supervisor_pid == before
    assert len(node.pids) == 1


def test_sigterm_ends_the_daemon_and_leaves_no_pidfile(node: Node) -> None:
    """A stopped supervisor takes its daemon along and leaves no process id behind."""
    node.start()
    daemon = node.wait_for(1)
    boss = node.supervisor_pid
    os.kill(boss, signal.SIGTERM)
    until(lambda: not alive(boss) and not alive(daemon), "both have ended")
    assert not (node.data_dir / "supervisor.pid").exists()
    assert not (node.data_dir / "daemon.pid").exists()


def test_it_ends_with_daemon_and_tasks_when_its_folder_is_removed(node: Node) -> None:
    """Nobody would find any of them again; what works elsewhere is left alone."""
    node.start()
    daemon = node.wait_for(1)
    boss = node.supervisor_pid
    work = node.data_dir / "worker" / "tasks" / "t1" / "work"
    work.mkdir(parents=True)
    with (
        subprocess.Popen(["/bin/sleep", "600"], cwd=work) as task,
        subprocess.Popen(["/bin/sleep", "600"], cwd=node.data_dir.parent) as other,
    ):
        shutil.rmtree(node.data_dir)
        assert task.wait(60) == -signal.SIGTERM
        until(lambda: not alive(boss) and not alive(daemon), "both have ended")
        assert other.poll() is None
        assert not node.data_dir.exists()
        other.kill()


def test_the_daemon_of_a_killed_supervisor_is_adopted(node: Node) -> None:
    """A new supervisor takes over the running daemon, and restarts that one too when it dies."""
    node.start()
    daemon = node.wait_for(1)
    boss = node.supervisor_pid
    os.kill(boss, signal.SIGKILL)
    until(lambda: not alive(boss), "the supervisor is dead")
    assert alive(daemon)
    node.start()
    until(lambda: node.supervisor_pid != boss, "a new supervisor")
    assert node.pids == [daemon]
    os.kill(daemon, signal.SIGKILL)
    assert alive(node.wait_for(2))


def test_a_running_daemon_with_other_arguments_is_replaced(node: Node) -> None:
    """What is adopted is what was asked for: other arguments mean a new process."""
    node.start()
    daemon = node.wait_for(1)
    os.kill(node.supervisor_pid, signal.SIGKILL)
    until(lambda: not alive(node.supervisor_pid), "the supervisor is dead")
    node.start("other")
    node.wait_for(2)
    assert not alive(daemon)


def test_the_log_stays_small(tmp_path: Path) -> None:
    """A log over its bound moves aside, and the old part is kept once."""
    log = tmp_path / "daemon.log"
    log.write_bytes(b"x" * (supervisor.LOG_BYTES_MAX + 1))
    supervisor.bound(log)
    assert log.stat().st_size == 0
    assert (tmp_path / "daemon.log.1").stat().st_size == supervisor.LOG_BYTES_MAX + 1
    supervisor.bound(log)
    assert (tmp_path / "daemon.log.1").stat().st_size == supervisor.LOG_BYTES_MAX + 1
