"""Ports for process tasks: a free one of this node for each target that the task publishes.

Called by the process executor when it prepares a task. A port in host mode is the published one;
for the mesh any free one does, from a range that neither the mesh (30000 and up) nor the kernel's
outgoing connections (32768 and up) use. The choice is kept in the task's folder, so that a restart
of the daemon keeps it; and it is drawn by the task's ID, so that a task that is attempted again
while no manager answers is where the other nodes know it to be.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
from msgspec.structs import replace

from swarmops.agent.executors.base import TaskError
from swarmops.agent.work import Work
from swarmops.model.base import given
from swarmops.model.service import PortConfig

FIRST, LAST = 20_000, 29_999
TRIES_MAX = 200
PORTS_FILE = "ports"
_decode = msgspec.json.Decoder(list[PortConfig]).decode


class PortBook:
    """Which task of this node has which ports; ``tasks`` is the folder of the tasks' folders."""

    def __init__(self, tasks: Path) -> None:
        self._tasks = tasks
        self._known: dict[str, list[PortConfig]] = {}
        self._choosing = threading.Lock()

    def choose(self, work: Work) -> list[PortConfig]:
        """Return the task's ports, chosen now or before. Raises ``TaskError``."""
        if not work.ports:
            return []
        with self._choosing:
            for other in self._tasks.iterdir():  # those of before the daemon started, too
                if other.name not in self._known:
                    self._known[other.name] = _read(other)
            if not self._known.get(work.id):
                every = (port for ports in self._known.values() for port in ports)
                taken = {given(port.published_port, 0) for port in every}
                rng = random.Random(work.id)  # noqa: S311 - no secret
                self._known[work.id] = choose(work.ports, taken, is_free, rng)
            file = self._tasks / work.id / PORTS_FILE
            file.write_bytes(msgspec.json.encode(self._known[work.id]))
            return self._known[work.id]

    def of(self, work: Work) -> list[PortConfig]:
        """Return the ports of a task that was prepared."""
        return _read(self._tasks / work.id) if work.ports else []

    def forget(self, task_id: str) -> None:
        """Let others have the task's ports."""
        self._known.pop(task_id, None)


def _read(folder: Path) -> list[PortConfig]:
    try:
        return _decode((folder / PORTS_FILE).read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return []


def choose(
    ports: list[PortConfig],
    taken: Collection[int],
    is_free: Callable[[str, int], bool],
    rng: random.Random,
) -> list[PortConfig]:
    """Return where each target shall listen. Raises ``TaskError`` if nothing is free.

    One target has one number, in all its protocols, since the task is told one number for it.
    """
    chosen: dict[int, int] = {}
    found = []
    for port in ports:
        target = given(port.target_port, 0)
        published = given(port.published_port, 0) if port.publish_mode == "host" else 0
        if target not in chosen:
            protocols = {_protocol(each) for each in ports if each.target_port == target}
            chosen[target] = published or _free({*taken, *chosen.values()}, protocols, is_free, rng)
        found.append(replace(port, published_port=chosen[target], publish_mode="host"))
    return found


def environment(ports: list[PortConfig]) -> dict[str, str]:
    """Return ``PORT``, of the first target, and ``PORT_<target>`` of each."""
    told = {f"PORT_{port.target_port}": str(port.published_port) for port in ports}
    return told | ({"PORT": str(ports[0].published_port)} if ports else {})


def is_free(protocol: str, port: int) -> bool:
    """Whether nothing on this node listens on the port, on whatever address."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if protocol != "udp":  # connections that ended lately are no reason; who listens still is
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _protocol(port: PortConfig) -> str:
    return given(port.protocol, "tcp") or "tcp"


def _free(
    taken: Collection[int],
    protocols: Collection[str],
    is_free: Callable[[str, int], bool],
    rng: random.Random,
) -> int:
    for _ in range(TRIES_MAX):
        port = rng.randint(FIRST, LAST)
        if port not in taken and all(is_free(protocol, port) for protocol in protocols):
            return port
    raise TaskError(f"no port between {FIRST} and {LAST} is free on this node: stop what uses them")
