"""The `swarmops` command as an operator runs it: a process of its own, with a home of its own.

Lab tests drive the product through it and through nothing else. What an operator's machine keeps
(known hosts, the current inventory, logs) is in the test's own folder; built bundles are shared by
all tests of a run.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

import swarmops

TIMEOUT_S = 180.0
TRACEBACK = "Traceback (most recent call last)"


class Done(msgspec.Struct, frozen=True):
    """How a run ended: exit code, what it said, how many seconds it took."""

    rc: int
    out: str
    err: str
    took_s: float

    @property
    def said(self) -> str:
        """Everything that it printed."""
        return self.out + self.err

    @property
    def errors(self) -> list[str]:
        """The sentences that begin with `Error:`, without that word."""
        lines = self.said.splitlines()
        return [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]

    @property
    def warnings(self) -> list[str]:
        """The sentences that begin with `Warning:`, without that word."""
        lines = self.err.splitlines()
        return [line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: ")]


class Operator:
    """Somebody's machine: `home` is empty at first, `shared` outlives the test."""

    def __init__(self, home: Path, shared: Path) -> None:
        self.home = home
        self._shared = shared
        self._own: Path | None = None
        home.mkdir(parents=True, exist_ok=True)

    @property
    def known_hosts(self) -> Path:
        """The file in which the host keys met so far stand."""
        return self.home / "state" / "swarmops" / "known_hosts"

    def own_code(self) -> Path:
        """Give this operator a copy of the package, to be edited: another release of it."""
        if self._own is None:
            self._own = self.home / "code"
            shutil.copytree(_code(self._shared), self._own)
        return self._own / "swarmops"

    def run(self, *words: str | Path, rc: int | None = 0) -> Done:
        """Run `swarmops` to its end; AssertionError if it exits otherwise (None: however)."""
        began = time.monotonic()
        with self.start(*words) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except BaseException:
                process.kill()
                raise
        done = Done(process.returncode, out, err, time.monotonic() - began)
        line = " ".join(map(str, words))
        assert rc is None or done.rc == rc, f"swarmops {line} exited {done.rc}:\n{done.said}"
        assert TRACEBACK not in done.said, done.said
        return done

    def json(self, *words: str | Path) -> Any:
        """Run a command that prints JSON and return what it printed."""
        return msgspec.json.decode(self.run(*words, "--format", "json").out)

    def start(
        self, *words: str | Path, program: Sequence[str] = ("-m", "swarmops")
    ) -> subprocess.Popen[str]:
        """Start `swarmops` and return its process; the working directory has nothing in it.

        `program` is what Python runs, where that is not `swarmops` alone.
        """
        nowhere = self.home / "nowhere"
        nowhere.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, *program, *map(str, words)],
            cwd=nowhere,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """Return what the command finds around it: nothing of the machine's user."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self._shared / "cache"),
            "PYTHONPATH": str(self._own or _code(self._shared)),
        }


def _code(shared: Path) -> Path:
    """Copy the package once a run: a release is named by its files, and a checkout is edited."""
    code = shared / "code"
    if not code.exists():
        source = Path(swarmops.__file__).parent
        shutil.copytree(source, code / "swarmops", ignore=shutil.ignore_patterns("__pycache__"))
    return code
