"""Keeps a node's daemon running where no systemd does: ``python -m swarmops.supervisor``.

Started by the native backend for local nodes and for hosts without systemd; standard library only,
so that it stays small. Does what the systemd unit says: restarts, watchdog, a bounded log; leaves
the tasks of the node alone. It holds a lock on ``<data-dir>/supervisor.pid`` as long as it lives,
and ends with daemon and tasks when somebody removes that folder: nobody would find them again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from swarmops.supervised_daemon import WATCHDOG_S, Daemon

LOCK_FILE = "supervisor.pid"
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 30.0
STEADY_AFTER_S = 10.0
"""A daemon that ran this long begins with the first backoff again."""
LOG_BYTES_MAX = 4 << 20
_TICK_S = 1.0
_SOCKET_PATH_MAX = 100


class Supervisor:
    """The loop: wait for the daemon's end, its notifications or a signal."""

    def __init__(self, data_dir: Path, argv: list[str], lock: int) -> None:
        self.data_dir = data_dir
        self.lock = lock
        self.daemon = Daemon(data_dir, argv)
        self.log = data_dir / "daemon.log"
        self.stopping = False
        self.backoff_s = BACKOFF_FIRST_S
        self.start_at = 0.0
        self.notify_path = data_dir / "notify.sock"
        self.notify: socket.socket | None = None
        self.alive_at: float | None = None

    def run(self) -> None:
        """Supervise until SIGTERM, or until the folder is removed."""
        wake_in, wake_out = socket.socketpair()
        for end in (wake_in, wake_out):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_out.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._listen()
        if not self.daemon.adopt():
            self._start()
        while not self.stopping and self.has_folder():
            self._wait(wake_in)
        self.daemon.stop()
        if self.has_folder():
            self.notify_path.unlink(missing_ok=True)
            (self.data_dir / LOCK_FILE).unlink(missing_ok=True)
        else:
            end_tasks_of_removed(self.data_dir)

    def has_folder(self) -> bool:
        """Whether the data directory is still the one that it began with."""
        try:
            there = (self.data_dir / LOCK_FILE).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self.lock), there)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _listen(self) -> None:
        """Open the socket for sd_notify; without one (path too long) there is no watchdog."""
        if len(str(self.notify_path)) > _SOCKET_PATH_MAX:
            return
        self.notify_path.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.notify.bind(str(self.notify_path))

    def _start(self) -> None:
        self.alive_at = None
        try:
            self.daemon.start(str(self.notify_path) if self.notify else None)
        except OSError as error:
            self._start_later(f"{self.daemon.argv[0]} can't be started ({error.strerror})")

    def _wait(self, wake: socket.socket) -> None:
        """One turn: at most a tick, less when something happens."""
        running = self.daemon.pidfd >= 0
        sources: list[socket.socket | int] = [wake]
        if self.notify is not None:
            sources.append(self.notify)
        pause_s = _TICK_S
        if running:
            sources.append(self.daemon.pidfd)
        else:
            pause_s = max(0.0, self.start_at - time.monotonic())
        ready, _, _ = select.select(sources, [], [], pause_s)
        if wake in ready:
            wake.recv(1 << 10)
        if self.notify in ready:
            self._hear()
        if self.stopping:
            return
        if running and self.daemon.pidfd in ready:
            self._bury()
        elif running:
            self._watch()
        elif time.monotonic() >= self.start_at:
            self._start()
        bound(self.log)

    def _bury(self) -> None:
        if time.monotonic() - self.daemon.since >= STEADY_AFTER_S:
            self.backoff_s = BACKOFF_FIRST_S
        self._start_later(f"the daemon {self.daemon.ended()}")

    def _start_later(self, why: str) -> None:
        say(f"{why}: it is started again in {self.backoff_s:g} s")
        self.start_at = time.monotonic() + self.backoff_s
        self.backoff_s = min(2 * self.backoff_s, BACKOFF_MAX_S)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.notify is not None:
                words = self.notify.recv(1 << 12).split(b"\n")
                if b"READY=1" in words or b"WATCHDOG=1" in words:
                    self.alive_at = time.monotonic()

    def _watch(self) -> None:
        """Kill a daemon that said it lives and then fell silent."""
        if self.alive_at is not None and time.monotonic() - self.alive_at > WATCHDOG_S:
            say(f"the daemon was silent for {WATCHDOG_S:g} s: it is killed")
            self.alive_at = None
            self.daemon.signal(signal.SIGKILL)


def say(text: str) -> None:
    """Write a line to the log, which is our standard error."""
    sys.stderr.write(f"supervisor: {text}\n")
    sys.stderr.flush()


def end_tasks_of_removed(folder: Path) -> None:
    """Send SIGTERM to every process whose working directory was removed with a node's folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            works_in = str((process / "cwd").readlink())
            if works_in.startswith(f"{folder}/worker/") and works_in.endswith(" (deleted)"):
                os.kill(int(process.name), signal.SIGTERM)


def bound(log: Path) -> None:
    """Keep the log small: the old part moves to ``.1``. Writers append, so truncating is safe."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int | None]:
    """Hold the lock as long as this process lives; None if another supervisor holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def detach(log: Path) -> bool:
    """Fork twice into a session of our own; True in the process that goes on."""
    if os.fork() != 0:
        os.wait()
        return False
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd, number in ((null, 0), (out, 1), (out, 2)):
        os.dup2(fd, number)
    os.close(null)
    os.close(out)
    return True


def main(argv: list[str]) -> int:
    """``--data-dir DIR -- PROGRAM ARGUMENTS…``: detach and supervise."""
    if len(argv) < 4 or argv[0] != "--data-dir" or argv[2] != "--":  # noqa: PLR2004 - see usage
        say("usage: python -m swarmops.supervisor --data-dir DIR -- PROGRAM ARGUMENTS…")
        return 2
    data_dir, command = Path(argv[1]).absolute(), argv[3:]
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(data_dir / LOCK_FILE) as lock:
        if lock is None:
            say("supervised already")
            return 0
        if not detach(data_dir / "daemon.log"):
            return 0
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        Supervisor(data_dir, command, lock).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
