"""The frames between an agent and its manager: msgpack over one WebSocket, a closed set.

The agent opens the session with ``Hello``, then sends ``Heartbeat`` each period and ``Statuses``
until acknowledged. The manager sends ``Welcome``, then ``Assignments`` (first complete, then
changes), ``NodeChanged`` when the node's own object or the manager list changed, and ``Ingress``,
what all nodes publish, ahead of the assignments that change it. Output of tasks
comes over the same session, each log stream paid with credit that the reader gives.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from swarmops.model.base import concealed
from swarmops.model.node import Node, NodeDescription
from swarmops.model.secret import Config, Secret
from swarmops.model.swarm import Peer
from swarmops.model.task import Task, TaskStatus

FRAME_BYTES_MAX = 4 * 1024 * 1024
"""What a manager takes of an agent, and of another manager's logs."""
ASSIGNED_BYTES_MAX = 512 * 1024 * 1024
"""What an agent takes: all tasks of its node with their secrets and configs, a megabyte each."""


class Channel(Protocol):
    """A session's two ends exchange whole frames over it: a WebSocket, or a queue in a simulation.

    ``send`` and ``receive`` raise ``ConnectionError`` once the other end is gone.
    """

    async def send(self, frame: bytes) -> None:
        """Send one frame."""

    async def receive(self) -> bytes:
        """Return the next frame."""
        ...

    async def close(self) -> None:
        """End the session; safe to call twice."""


class Frame(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Base of all frames."""


class Hello(Frame, frozen=True):
    """Agent: who I am (the certificate says the ID), and which tasks I have."""

    description: NodeDescription
    session_id: str
    task_ids: list[str]


class Heartbeat(Frame, frozen=True):
    """Agent: I am here."""


class Described(Frame, frozen=True):
    """Agent: my machine changed."""

    description: NodeDescription


class Away(Frame, frozen=True):
    """Agent: my daemon ends, my tasks go on; it is back within so many seconds, or has failed.

    The manager answers by closing the session once every manager knows.
    """

    within_s: float


class StatusOf(msgspec.Struct, frozen=True):
    """One task's observed status."""

    task_id: str
    status: TaskStatus


class Statuses(Frame, frozen=True):
    """Agent: what became of these tasks; sent again until ``Ack`` with this ``seq`` comes."""

    seq: int
    statuses: list[StatusOf]


class Welcome(Frame, frozen=True):
    """Manager: the session stands."""

    node: Node
    managers: list[Peer]
    heartbeat_period_s: float
    root_ca: str
    issuer: str = ""
    """Public key of whoever issues certificates now, as in ``TLSInfo``."""


class NodeChanged(Frame, frozen=True):
    """Manager: your node object, the managers, the period, the root or who issues changed."""

    node: Node
    managers: list[Peer]
    heartbeat_period_s: float
    root_ca: str
    issuer: str = ""


class Assignments(Frame, frozen=True):
    """Manager: tasks and what they use. ``complete``: whatever is not named is gone.

    ``tasks`` holds every changed task that the agent shall run or shut down; ``removed`` the IDs
    that it may forget. Secrets and configs come with the first task that uses them.
    ``registry_auths`` has what the registry of a task's image wants to see, by the task's ID.
    """

    complete: bool
    tasks: list[Task]
    removed: list[str]
    secrets: list[Secret]
    configs: list[Config]
    dropped_dependencies: list[str]
    registry_auths: dict[str, str] = {}

    def __repr__(self) -> str:
        return concealed(self, "registry_auths")


class Ack(Frame, frozen=True):
    """Manager: these statuses are kept by the swarm."""

    seq: int


class Backend(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a running task takes connections: its node's address, a port there."""

    addr: str
    port: int


class PublishedPort(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A port that every node listens on, and the tasks behind it."""

    protocol: str
    number: int
    backends: list[Backend]


class Ingress(Frame, frozen=True):
    """Manager: what every node publishes. ``complete``: whatever is not named is gone.

    ``ports`` holds each new or changed port with all of its tasks; ``removed`` protocol and number
    of those that nobody publishes any more.
    """

    complete: bool
    ports: list[PublishedPort]
    removed: list[tuple[str, int]]


class NodeTrouble(Frame, frozen=True):
    """Agent: what of the swarm's work this node can't do, in a sentence; empty: nothing."""

    text: str


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which output is wanted. ``tail`` < 0: all; times are Unix nanoseconds, 0: no bound."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int = -1
    since_ns: int = 0
    until_ns: int = 0


class LogRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line with its newline, or a piece of a long one; ``stream`` is 1 stdout or 2 stderr."""

    task_id: str
    stream: int
    time_ns: int
    data: bytes


class LogsWanted(Frame, frozen=True):
    """Manager: send the output of these tasks, at most ``credit_bytes`` until ``LogsMore``."""

    id: int
    task_ids: list[str]
    query: LogQuery
    credit_bytes: int


class LogsMore(Frame, frozen=True):
    """Manager: so much was read, so much more may be sent."""

    id: int
    credit_bytes: int


class LogsStop(Frame, frozen=True):
    """Manager: nobody reads this stream any more."""

    id: int


class LogLines(Frame, frozen=True):
    """Agent: lines of a stream, oldest first within each of a task's two streams."""

    id: int
    records: list[LogRecord]


class LogsEnd(Frame, frozen=True):
    """Agent: no more lines come; ``problems`` says in one sentence each what could not be read.

    ``missing`` are the tasks that the agent doesn't know, or not yet.
    """

    id: int
    problems: list[str]
    missing: list[str] = []


LogFrame = LogLines | LogsEnd
AgentFrame = Hello | Heartbeat | Described | Away | Statuses | LogLines | LogsEnd | NodeTrouble
ManagerFrame = (
    Welcome | NodeChanged | Assignments | Ack | Ingress | LogsWanted | LogsMore | LogsStop
)

RECORD_BYTES_MAX = 16 * 1024
"""Longer lines are sent in pieces, as Docker does."""
RECORD_OVERHEAD_BYTES = 64
"""What a record counts beside its data when it is paid with credit."""
LOG_CREDIT_BYTES = 128 * 1024
"""What may be under way of one log stream, and so what a reader that stands still costs."""


class LogsAsked(msgspec.Struct, frozen=True):
    """What a manager asks of the one that holds a node's session: the same, for the node."""

    node_id: str
    task_ids: list[str]
    query: LogQuery


def cost_bytes(record: LogRecord) -> int:
    """Return how much credit a record takes."""
    return len(record.data) + RECORD_OVERHEAD_BYTES


encode = msgspec.msgpack.Encoder().encode
decode_agent_frame = msgspec.msgpack.Decoder(AgentFrame).decode
decode_log_frame = msgspec.msgpack.Decoder(LogFrame).decode
decode_manager_frame = msgspec.msgpack.Decoder(ManagerFrame).decode
