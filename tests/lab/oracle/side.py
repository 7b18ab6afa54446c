"""One of the two swarms that are compared, seen through what any Docker client has of it.

`forming.py` makes one of each; `case.py` gives scenarios their view of it. Commands go through this
machine's docker CLI on the manager's forwarded socket; waiting asks the same socket directly,
because a process for each look would be most of the work.
"""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tests.lab.hosts import Host
from tests.lab.waiting import wait_for

Kind = Literal["ours", "docker"]
COMMAND_WITHIN_S = 120.0
STALE = "update out of sequence"
STALE_WITHIN_S = 30.0
ANSWER_WITHIN_S = 60.0


class Done(NamedTuple):
    """How a command ended."""

    rc: int
    out: str
    err: str


class Side:
    """A swarm of three nodes, the first of which is its manager."""

    def __init__(self, kind: Kind, hosts: Sequence[Host], at: Path) -> None:
        self.kind = kind
        self.hosts = tuple(hosts)
        self.at = at
        self.node_ids: dict[str, str] = {}

    def run(self, *words: str, stdin: str = "") -> Done:
        """Run the docker CLI on the manager's socket."""
        done = subprocess.run(
            self._argv(words),
            env=self._env(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_WITHIN_S,
        )
        return Done(done.returncode, done.stdout.strip(), done.stderr.strip())

    def begin(self, *words: str, stdout: IO[str]) -> subprocess.Popen[bytes]:
        """Begin a command that goes on until it is ended."""
        return subprocess.Popen(
            self._argv(words), env=self._env(), stdin=subprocess.DEVNULL, stdout=stdout
        )

    def _argv(self, words: Sequence[str]) -> list[str]:
        return ["docker", "-H", f"unix://{self.at}", *words]

    def _env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.at.parent)}

    def docker(self, *words: str, stdin: str = "") -> str:
        """Run the docker CLI and return what it printed; AssertionError if it fails.

        The CLI reads what it changes, and is refused if a manager wrote to it in between, as an
        allocator does to a new service: then it is told again, as its user would.
        """

        def tell() -> Done | None:
            done = self.run(*words, stdin=stdin)
            return None if STALE in done.err else done

        what = f"docker {' '.join(words)} between two writes of others"
        done = wait_for(tell, what, within_s=STALE_WITHIN_S)
        assert done is not None
        assert done.rc == 0, f"docker {' '.join(words)} exited {done.rc}: {done.err}"
        return done.out

    def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and answer of the manager's API."""
        connection = _Connection(self.at)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(read) if read.strip() else None

    def get(self, path: str) -> Any:
        """Return what a path holds; AssertionError unless it is there."""
        status, answer = self.api("GET", path)
        assert status == 200, f"GET {path}: {status} {answer}"
        return answer


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, at: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_WITHIN_S)
        self._at = str(at)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._at)
