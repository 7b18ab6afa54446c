"""Raft in real processes on real files: killed with -9, one and all, again and again."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.local
CHILD = Path(__file__).with_name("raft_member.py")
ROUNDS = int(os.environ.get("RAFT_KILLS", "12"))


class Member:
    """A process, through all its runs; its answers are collected as they come."""

    def __init__(self, path: Path, number: int, ports: str) -> None:
        self.path, self.number, self.ports = path / f"m{number}", number, ports
        self.acknowledged: list[str] = []
        self.stopped = False
        self.state: list[str] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.reader: threading.Thread | None = None

    def start(self, mode: str, wrapper: tuple[str, ...] = ()) -> None:
        """Begin a run."""
        command = [*wrapper, sys.executable, str(CHILD), str(self.path), str(self.number)]
        self.process = subprocess.Popen(
            [*command, self.ports, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.reader = threading.Thread(target=self._read, args=(self.process,))
        self.reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.decode().split()
            if line.endswith(b"\n") and words[0] == "ack":
                self.acknowledged.append(words[1])
            elif words[0] == "stopped":
                self.stopped = True
            elif words[0] == "state":
                self.state = words[1:]

    def kill(self) -> None:
        """End the run with -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.reader is not None
            self.reader.join()
            for stream in (self.process.stdin, self.process.stdout):
                assert stream is not None
                stream.close()
            self.process = None

    def order(self) -> None:
        """Have it stop proposing; the second time, have it write its state."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()


def _wait(condition: Callable[[], bool], bound_s: float, what: str) -> None:
    end = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < end, f"not within {bound_s} s: {what}"
        time.sleep(0.02)


def test_kill_9_of_one_and_of_all_loses_and_doubles_nothing(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
):
    """Three members write and compact all the time; what any acknowledged is in the state, once."""
    ports = ",".join(str(unused_tcp_port_factory()) for _ in range(3))
    members = [Member(tmp_path, number, ports) for number in (1, 2, 3)]
    rng = random.Random(1)
    try:
        for member in members:
            member.start("bootstrap" if member.number == 1 else "join")
        _wait(lambda: all(len(m.acknowledged) > 20 for m in members), 60, "all write")
        for round_ in range(ROUNDS):
            victims = members if round_ % 4 == 3 else [rng.choice(members)]
            for member in victims:
                member.kill()
            for member in victims:
                member.start("open")
            counts = [len(m.acknowledged) for m in members]
            for member, count in zip(members, counts, strict=True):
                _wait(lambda m=member, c=count: len(m.acknowledged) > c, 30, "it writes again")  # type: ignore[misc]
            time.sleep(rng.random() * 0.5)
        for member in members:
            member.order()
        _wait(lambda: all(m.stopped for m in members), 30, "all stop")
        for member in members:
            member.order()
        _wait(lambda: all(m.state is not None for m in members), 30, "all tell their state")
    finally:
        for member in members:
            member.kill()
    acknowledged = {item for member in members for item in member.acknowledged}
    for member in members:
        assert member.state is not None
        assert acknowledged <= set(member.state)
        assert len(member.state) == len(set(member.state))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_answer_comes_after_an_fdatasync(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
):
    """As the kernel saw it: between two answers of one at a time there is a sync that ended."""
    member = Member(tmp_path, 1, str(unused_tcp_port_factory()))
    trace = tmp_path / "trace"
    member.start("bootstrap", ("strace", "-f", "-e", "trace=fdatasync,write", "-o", str(trace)))
    try:
        _wait(lambda: len(member.acknowledged) > 50, 60, "it writes")
        member.order()
        _wait(lambda: member.stopped, 30, "it stops")
        assert member.process is not None
        tracee = re.match(rb"\d+", trace.read_bytes())
        assert tracee is not None
        os.kill(int(tracee[0]), 9)
        member.process.wait(10)
    finally:
        member.kill()
    synced, answers = 0, 0
    for line in trace.read_text().splitlines():
        if "fdatasync" in line and line.rstrip().endswith("= 0"):
            synced += 1
        elif 'write(1, "ack ' in line:
            answers += 1
            assert synced > 0, f"answer {answers} came without a sync before it"
            synced = 0
    assert answers > 50
