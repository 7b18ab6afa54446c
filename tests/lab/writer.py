"""A client that writes without a pause, as a service of somebody's own would, and keeps the books.

It runs on this machine and reaches the hosts' sockets through SSH. Each write goes to another host
first, and to the next one where it is refused, hangs or breaks off, until its time is up.
"""

import json
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, socket
from typing import NamedTuple

from tests.lab.hosts import Host
from tests.lab.ssh import forwarded
from tests.lab.swarm import SOCKETS, Swarm

EVERY_S = 0.02
ATTEMPT_S = 1.0
"""A manager that has not answered after so long is left for the next one."""
NOT_A_MANAGER = "This node is not a swarm manager"


class Write(NamedTuple):
    """One write: who accepted it (empty: nobody, in time) and what the hosts before that one said.

    A worker's refusal is not noted: that it is none is no failure of the managers.
    """

    name: str
    host: str
    began_s: float
    took_s: float
    refused: tuple[str, ...]


class Writer:
    """Writes since it was made, until `stop`; `writes` grows meanwhile."""

    def __init__(self, sockets: Mapping[str, Path], within_s: float) -> None:
        self.writes: list[Write] = []
        self._name = f"write-{uuid.uuid4().hex[:8]}"
        self._sockets = dict(sockets)
        self._within_s = within_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write_on, daemon=True)
        self._thread.start()

    def stop(self) -> list[Write]:
        """End with the write that is under way; return all of them."""
        self._stopped.set()
        self._thread.join(self._within_s + ATTEMPT_S)
        assert not self._thread.is_alive()
        return self.writes

    def through(self, since: int = 0) -> set[str]:
        """Return the hosts that accepted a write, of those since the one of this number."""
        return {write.host for write in self.writes[since:] if write.host}

    def _write_on(self) -> None:
        hosts = list(self._sockets)
        while not self._stopped.wait(EVERY_S):
            number = len(self.writes)
            first = number % len(hosts)
            self.writes.append(self._write(f"{self._name}-{number}", hosts[first:] + hosts[:first]))

    def _write(self, name: str, hosts: Sequence[str]) -> Write:
        began_s = time.monotonic()
        refused: list[str] = []
        while True:
            for host in hosts:
                left_s = self._within_s - (time.monotonic() - began_s)
                if left_s <= 0:
                    return Write(name, "", began_s, self._within_s, tuple(refused))
                status, said = create(self._sockets[host], name, min(left_s, ATTEMPT_S))
                # A manager that broke off may have passed the write on: it is there already then.
                if status == 201 or (status == 409 and refused):
                    return Write(name, host, began_s, time.monotonic() - began_s, tuple(refused))
                if NOT_A_MANAGER not in said:
                    refused.append(f"{host}: {status} {said}")
            self._stopped.wait(EVERY_S)


def create(path: Path, name: str, timeout_s: float) -> tuple[int, str]:
    """Create a config of that name; return the answer's status, 0 if there was none, and text."""
    connection = HTTPConnection("localhost")
    connection.sock = socket(AF_UNIX)
    connection.sock.settimeout(timeout_s)
    try:
        connection.sock.connect(str(path))
        body = json.dumps({"Name": name, "Data": "eA=="})
        connection.request("POST", "/configs/create", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        connection.close()


@contextmanager
def writing(
    swarm: Swarm, folder: Path, within_s: float, *, but: Collection[Host] = ()
) -> Iterator[Writer]:
    """Have a client write to a swarm's hosts, ``but`` some, while the body runs."""
    socket, hosts = SOCKETS[swarm.backend], [host for host in swarm.hosts if host not in but]
    with ExitStack() as stack:
        sockets = {
            host.name: stack.enter_context(forwarded(host, socket, folder / f"{host.name}.sock"))
            for host in hosts
        }
        writer = Writer(sockets, within_s)
        stack.callback(writer.stop)
        yield writer
