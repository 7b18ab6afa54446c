"""Holds an apply where its hooks are run: it has looked and planned, and has done nothing yet."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

from tests.lab.command import TIMEOUT_S, Done
from tests.lab.swarm import Swarm
from tests.lab.waiting import wait_for


class Held:
    """An apply that waits in its hook, until it is killed or told to go on."""

    def __init__(self, process: Popen[str], end: int) -> None:
        self._process = process
        self._ends = [end]

    def go_on(self) -> Done:
        """Let it go on and return how it ended."""
        began = time.monotonic()
        self.free()
        out, err = self._process.communicate(timeout=TIMEOUT_S)
        return Done(self._process.returncode, out, err, time.monotonic() - began)

    def kill(self) -> None:
        """Kill it with -9; its hook waits on."""
        self._process.kill()
        self._process.communicate(timeout=60)

    def free(self) -> None:
        """Let the hook come to its end."""
        while self._ends:
            os.close(self._ends.pop())


@contextmanager
def held_apply(swarm: Swarm, playbook: Mapping[str, object]) -> Iterator[Held]:
    """Start an apply of a playbook; it has ended, or goes on, after the body."""
    gate = swarm.inventory.with_name("gate")
    os.mkfifo(gate)
    hook = {"command": ["cat", gate.name], "timeout": "150s"}
    swarm.play({**playbook, "hooks": {"before": [hook]}})
    try:
        with swarm.operator.start("apply", "--yes", swarm.inventory) as process:
            end = wait_for(lambda: _writing_end(gate), "the hook of an apply", within_s=120)
            assert end is not None
            held = Held(process, end)
            try:
                yield held
            finally:
                held.free()
    finally:
        gate.unlink()


def _writing_end(gate: Path) -> int | None:
    """Return an open end of a pipe that somebody reads, None while nobody does."""
    try:
        return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
