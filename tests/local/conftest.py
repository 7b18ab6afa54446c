"""The demo as a test finds it: five real node processes on loopback addresses of their own.

The repository's own demo inventory and playbook are copied to a scratch folder, with other
addresses, so that a demo that is up is not disturbed. No root, no Docker Engine, no SSH.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.local.addresses import NETWORK

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here runs real node processes."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.local)


class Local:
    """The scratch copy of the demo, and how to talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "inventories" / "local.yml"
        self.playbook = folder / "playbooks" / "demo.yml"
        for name in ("inventories/local.yml", "playbooks/demo.yml"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((ROOT / name).read_text().replace("127.0.0.1", f"{NETWORK}.1"))
        self._environment = os.environ | {
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "COLUMNS": "200",
        }

    def swarmops(
        self, *arguments: str, expect: int = 0, answer: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as an operator does; fails unless it exits as expected."""
        done = subprocess.run(
            [sys.executable, "-m", "swarmops", *arguments],
            cwd=self.folder,
            env=self._environment,
            input=answer,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    @contextlib.contextmanager
    def never_done(self, word: str) -> Iterator[None]:
        """Have a service in the playbook that no node fits: an apply waits for it in vain.

        ``word`` is in its command: another one is something to do anew.
        """
        text = self.playbook.read_text()
        deploy = "deploy: {placement: {constraints: ['node.labels.none == such']}}"
        never = f"  never: {{image: host, command: sleep {word}, {deploy}}}\n"
        self.playbook.write_text(text.replace("services:\n", f"services:\n{never}", 1))
        try:
            yield
        finally:
            self.playbook.write_text(text)
            self.swarmops("service", "rm", "never")

    def start(self, *arguments: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start the command, perhaps as another one's argument, and return its process."""
        return subprocess.Popen(
            [*within, sys.executable, "-m", "swarmops", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The node table as data: host name → row."""
        rows = json.loads(self.swarmops("node", "ls", "--format", "json").stdout)
        return {row["host"]: row for row in rows}

    def tasks(self, service: str) -> list[dict[str, Any]]:
        """The tasks of a service as data, also those that ended."""
        rows: list[dict[str, Any]] = json.loads(
            self.swarmops("service", "ps", service, "--format", "json").stdout
        )
        return rows

    def socket(self, node: str) -> Path:
        """The path of a node's API socket."""
        return self.folder / ".demo" / node / "swarmops.sock"

    def docker(
        self, node: str, *arguments: str, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the real docker CLI on a node's socket."""
        return self._docker("-H", f"unix://{self.socket(node)}", *arguments, expect=expect)

    def docker_as(self, context: str, *arguments: str) -> str:
        """Run the real docker CLI in one of its contexts; return what it printed."""
        return self._docker("--context", context, *arguments, expect=0).stdout

    def _docker(self, *arguments: str, expect: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == expect, f"docker {arguments}: {done.stdout}\n{done.stderr}"
        return done

    def daemon_pid(self, node: str) -> int:
        """The process that runs a node; 0 while there is none."""
        try:
            text = (self.folder / ".demo" / node / "data" / "daemon.pid").read_text()
        except FileNotFoundError:
            return 0
        return int(json.loads(text)["pid"])

    def kill_daemon(self, node: str) -> None:
        """Kill a node's daemon with signal 9, and wait until its supervisor started another."""
        before = self.daemon_pid(node)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.daemon_pid(node) not in (0, before), f"a new daemon of {node}")

    @contextlib.contextmanager
    def stopped(self, node: str) -> Iterator[None]:
        """Have a node's daemon dead meanwhile; its supervisor starts another one afterwards."""
        text = (self.folder / ".demo" / node / "data" / "supervisor.pid").read_text()
        supervisor = int(text) if text.strip().isdigit() else int(json.loads(text)["pid"])
        os.kill(supervisor, signal.SIGSTOP)
        before = self.daemon_pid(node)
        os.kill(before, signal.SIGKILL)
        try:
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)
        wait_for(lambda: self.daemon_pid(node) not in (0, before), f"a new daemon of {node}")

    def processes(self) -> list[str]:
        """The command lines of all processes that have to do with this swarm."""
        return [command for _, command in command_lines() if str(self.folder) in command]

    def all_ready(self) -> bool:
        """Whether every node answers its manager; False while no manager does."""
        listed = subprocess.run(
            [sys.executable, "-m", "swarmops", "node", "ls", "--format", "json"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            check=False,
        )
        if listed.returncode != 0:
            return False
        return all(row["status"] == "Ready" for row in json.loads(listed.stdout))


def signalled(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to an apply as soon as it waits for what it did to come true."""
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting until the swarm is as the playbook says" in line:
            process.send_signal(number)
            return
    pytest.fail("it ended before it waited")


def command_lines() -> Iterator[tuple[int, str]]:
    """Every process of this machine: its ID, and its command line with its directory."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield int(entry.name), f"{command} {(entry / 'cwd').readlink()}"
            except OSError:
                continue


def wait_for(condition: Callable[[], T], what: str, within_s: float = 60.0) -> T:
    """Wait until the condition gives something true; fails with the last value."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {within_s} s; last: {value!r}")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    """The demo, not applied yet; removed at the end, with all its processes."""
    # A unix socket's path may have 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="swarmops-"))
    world = Local(folder)
    try:
        yield world
    finally:
        world.swarmops("destroy", "--yes", str(world.inventory))
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def swarm(local: Local) -> Local:
    """The demo's swarm, applied once for the module."""
    local.swarmops("apply", str(local.inventory))
    return local
