"""Plays the transcript on a swarm: each command with a docker CLI, on the node it is meant for.

`test_transcript.py` plays it on two swarms and compares. Between commands stand pauses, which begin
with `!`: those of `pauses.py`, and `mark` to begin `{start}` anew, `restart` of the manager's
daemon, `leave` to take both nodes out of the swarm.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab.hosts import Host, run_in
from tests.lab.oracle.side import Side
from tests.lab.transcript.mask import masked
from tests.lab.transcript.pauses import answers, holds
from tests.lab.transcript.steps import Step
from tests.lab.waiting import wait_for

HERE = Path(__file__).parent
COMMAND_WITHIN_S = 90.0
WAIT_WITHIN_S = 30.0
MOMENT_S = 3.0


class Printed(NamedTuple):
    """How a command ended and what it printed, masked."""

    rc: int
    out: str
    err: str


class Player:
    """One CLI on one swarm of a manager and a worker."""

    def __init__(
        self, cli: Path, manager: Side, worker: Side, unit: str, given: Mapping[str, str]
    ) -> None:
        self._cli = cli
        self._manager, self._worker = manager, worker
        self._unit = unit
        hosts = manager.hosts[0], worker.hosts[0]
        self._values = {
            "m": hosts[0].address,
            "w": hosts[1].address,
            "M": hosts[0].name,
            "W": hosts[1].name,
            "start": "0",
            **given,
        }
        self._names = _names(hosts)

    def play(self, steps: Sequence[Step]) -> dict[int, Printed]:
        """Return what every command printed, by its step's number; of a pause, why it failed."""
        printed = {}
        for step in steps:
            if step.is_command:
                printed[step.number] = self._run(step)
                continue
            try:
                self._pause(step.words[1], [self._filled(word) for word in step.words[2:]])
            except AssertionError as error:
                printed[step.number] = Printed(-1, "", str(error))
        return printed

    def _filled(self, text: str) -> str:
        """Return a word with its {names} replaced; other braces are Go templates."""
        for name, value in {**self._values, "now": f"{time.time():.9f}"}.items():
            text = text.replace("{" + name + "}", value)
        return text

    def _run(self, step: Step) -> Printed:
        side = self._worker if step.on_worker else self._manager
        argv = [str(self._cli), "-H", f"unix://{side.at}", *map(self._filled, step.words)]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(side.at.parent),
            "DOCKER_API_VERSION": "1.41",
            "DOCKER_CLI_HINTS": "false",
        }
        done = _ended(argv, env, self._filled(step.stdin), briefly=step.briefly)
        if step.into:
            self._values[step.into] = done.out.strip()
        out, err = (masked(step.words, text, self._names) for text in (done.out, done.err))
        return Printed(done.rc, out, err)

    # -- pauses

    def _pause(self, what: str, words: list[str]) -> None:
        if what == "mark":
            self._values["start"] = f"{time.time():.9f}"
        elif what == "leave":
            for side in (self._worker, self._manager):
                side.run("swarm", "leave", "--force")
        elif what == "restart":
            run_in(self._manager.hosts[0], "systemctl", "restart", self._unit)
            self._until(lambda: answers(self._manager), "the daemon's answer")
        else:
            self._until(lambda: holds(self._manager, what, words), f"{what} {' '.join(words)}")

    def _until(self, look: Callable[[], bool], what: str) -> None:
        side = self._manager.kind
        wait_for(look, f"{side}: {what}", within_s=WAIT_WITHIN_S, every_s=0.15)


def _ended(argv: Sequence[str], env: Mapping[str, str], stdin: str, *, briefly: bool) -> Printed:
    """Run a command to its end, or for a moment, after which its exit code means nothing."""
    with subprocess.Popen(
        argv,
        env=env,
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(stdin, MOMENT_S if briefly else COMMAND_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            assert briefly, f"{argv} did not end"
            return Printed(0, out, err)
    return Printed(process.returncode, out, err)


def _names(hosts: Sequence[Host]) -> dict[str, str]:
    """Return what hosts' names and addresses are masked as."""
    shown = {}
    for host, letter in zip(hosts, "MW", strict=True):
        shown[host.name] = f"<{letter}>"
        shown[host.address] = f"<{letter}-addr>"
    return shown
