"""The benchmarks' end of `on_host.py`: starts it on a lab host and reads what it sees."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.lab.hosts import Host
from tests.lab.ssh import ssh_argv

_SCRIPT = Path(__file__).with_name("on_host.py")
WITHIN_S = 120.0
WRITE_EVERY_S = 0.1


class Watch:
    """A running `on_host.py` that is ready and has not yet seen what it looks for."""

    def __init__(self, lines: IO[str], what: str) -> None:
        self._lines = lines
        self._what = what
        self.next()

    def next(self) -> dict[str, Any]:
        """Return the next thing seen; RuntimeError if the watch ended without it."""
        line = self._lines.readline()
        if not line:
            raise RuntimeError(f"not seen within {WITHIN_S:.0f} s: {self._what}")
        seen: dict[str, Any] = json.loads(line)
        return seen

    def done_after_s(self, started_s: float) -> float:
        """Return the seconds from a moment of `time.monotonic` to when the condition was true."""
        return float(self.next()["at_s"]) - started_s

    def write_after_s(self, started_s: float) -> float:
        """Return the seconds from a moment to the end of the first write begun after it."""
        while True:
            seen = self.next()
            if seen["began_s"] >= started_s:
                return float(seen["at_s"]) - started_s


@contextmanager
def watching(host: Host, socket: str, *what: str) -> Iterator[Watch]:
    """Run `on_host.py` on a host for as long as the context lasts."""
    command = ssh_argv(host, "python3", "-", socket, *what)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_SCRIPT.read_text())
        process.stdin.close()
        try:
            yield Watch(process.stdout, " ".join(what))
        finally:
            process.kill()


@contextmanager
def watching_writes(host: Host, socket: str) -> Iterator[Watch]:
    """Try a write ten times a second."""
    with watching(host, socket, "writes", str(WRITE_EVERY_S), str(WITHIN_S)) as watch:
        yield watch


@contextmanager
def watching_running(
    host: Host, socket: str, service: str, count: int, *, without: tuple[str, ...] = ()
) -> Iterator[Watch]:
    """Wait for so many running tasks of a service on other nodes than the given ones."""
    what = ("running", service, str(count), str(WITHIN_S), *without)
    with watching(host, socket, *what) as watch:
        yield watch


def now_s() -> float:
    """Return the clock that the hosts share with this machine."""
    return time.monotonic()
