"""Groups of three member processes on a loopback network of this run's own, and how to order them.

Made by the parts of ``bench.raft``. Everything is in one scratch folder on a real disk: a file
system in memory would make every sync free.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from swarmops.model.node import Role
from swarmops.pki.identity import Credentials, save_credentials
from swarmops.pki.root import RootCA, issue, new_request, new_root
from tests.local.addresses import NETWORK

ROOT = Path(__file__).parents[1]
CLUSTER_ID = "bench"
PATIENCE_S = 120.0
Answer = dict[str, Any]


class Process:
    """A member process; one order at a time."""

    def __init__(self, arguments: list[str], number: int) -> None:
        self.number = number
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def tell(self, do: str, **order: Any) -> None:
        """Give an order; ``answer`` must be called once for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Answer:
        """Wait for the next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"member {self.number} ended")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"member {self.number}: {answer['error']}")
        return answer

    def ask(self, do: str, **order: Any) -> Answer:
        """Give an order and wait for its answer."""
        self.tell(do, **order)
        return self.answer()

    def kill(self) -> None:
        """End it with -9, at once."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Group:
    """Member processes by number."""

    def __init__(self) -> None:
        self.members: dict[int, Process] = {}

    def leader(self) -> Process:
        """Wait until one leads; return it."""
        found: Process = _wait(self._leader, "a leader")
        return found

    def _leader(self) -> Process | None:
        leading = [m for m in self.members.values() if m.ask("status")["is_leader"]]
        return leading[0] if len(leading) == 1 else None

    def followers(self) -> list[Process]:
        """Return the others."""
        leader = self.leader()
        return [member for member in self.members.values() if member is not leader]

    def close(self) -> None:
        """End all."""
        for member in self.members.values():
            member.kill()


class OurGroup(Group):
    """The product's members, with certificates of a root of their own."""

    def __init__(self, folder: Path, state: str = "keys", size: int = 3) -> None:
        super().__init__()
        self._folder, self._state = folder, state
        self._addresses = [f"{NETWORK}.1{n}:{_free_port(f'{NETWORK}.1{n}')}" for n in range(1, 6)]
        self._root = new_root(datetime.now(UTC))
        self.start(1, "bootstrap")
        for number in range(2, size + 1):
            self.join(number)

    def folder(self, number: int) -> Path:
        """Return a member's folder."""
        return self._folder / f"member{number}"

    def join(self, number: int) -> None:
        """Add a new member; returns when it votes."""
        leader = self.leader()
        voters = leader.ask("status")["voters"]
        self.start(number, "join")
        leader.ask("add", number=number)
        _wait(lambda: self.leader().ask("status")["voters"] == voters + 1, "a new voter")

    def start(self, number: int, mode: str = "open") -> Process:
        """Start a member's process."""
        folder = self.folder(number)
        if mode != "open":
            certify(self._root, folder / "certificates", f"node{number}")
        config = {
            "number": number,
            "addresses": self._addresses,
            "folder": str(folder),
            "cluster_id": CLUSTER_ID,
            "mode": mode,
            "state": self._state,
        }
        (folder / "config.json").write_text(json.dumps(config))
        process = Process(["bench.raft_member", str(folder / "config.json")], number)
        self.members[number] = process
        return process

    def kill(self, number: int) -> None:
        """End a member with -9."""
        self.members.pop(number).kill()


class StockGroup(Group):
    """Three members of the library as it is shipped."""

    def __init__(self) -> None:
        super().__init__()
        hosts = [f"{NETWORK}.2{n}" for n in (1, 2, 3)]
        addresses = [f"{host}:{_free_port(host)}" for host in hosts]
        # All at once: each waits for a majority.
        for number, address in enumerate(addresses, 1):
            others = ",".join(a for a in addresses if a != address)
            self.members[number] = Process(["bench.raft_stock", address, others], number)


@contextlib.contextmanager
def scratch(parent: str | None) -> Iterator[Path]:
    """Make a folder on a real disk, and remove it; refuses one that is in memory."""
    folder = Path(tempfile.mkdtemp(prefix="swarmops-bench-", dir=parent))
    try:
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True
        ).stdout.strip()
        if kind in {"tmpfs", "ramfs"}:
            raise SystemExit(f"{folder} is in memory: name a folder on a disk with --folder")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, to the nanosecond, all threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident_mb(pid: int) -> float:
    """Return the memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _wait(found: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (result := found()):
        if time.monotonic() > end:
            raise SystemExit(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.05)
    return result


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def certify(root: RootCA, folder: Path, node_id: str) -> None:
    """Give a manager a certificate of its own."""
    key, csr = new_request()
    cert = issue(
        root,
        csr,
        node_id=node_id,
        role=Role.MANAGER,
        cluster_id=CLUSTER_ID,
        now=datetime.now(UTC),
        lifetime_s=86_400,
    )
    save_credentials(folder, Credentials(key_pem=key, cert_pem=cert, root_pem=root.cert_pem))
