"""What the API needs of the node it stands on: the runtime implements ``NodeControl``.

Handlers know the node only through this protocol, so tests serve the same application over a fake.
It never speaks HTTP, and nothing of aiohttp appears in it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from swarmops import __version__
from swarmops.model.events import EventMessage
from swarmops.model.figures import Figures
from swarmops.model.service import ServiceSpec
from swarmops.model.session import LogFrame, LogQuery
from swarmops.model.swarm import InitRequest, JoinRequest, Peer
from swarmops.model.task import Task
from swarmops.store import Store

LocalState = Literal["inactive", "pending", "active", "error", "locked"]


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/info`` and ``/version`` say of the machine; read once, at the daemon's start."""

    hostname: str
    kernel_version: str = ""
    operating_system: str = "Linux"
    """The distribution's own name, such as ``Debian GNU/Linux 12 (bookworm)``."""
    architecture: str = "x86_64"
    ncpu: int = 1
    memory_bytes: int = 0
    data_dir: str = ""
    executors: tuple[str, ...] = ()
    """Names of the executors that work here: ``process``, ``docker``."""
    labels: tuple[str, ...] = ()
    """The engine's labels, each ``key=value``."""
    version: str = __version__
    git_commit: str = ""
    build_time: str = ""


class Logs(Protocol):
    """The output of tasks, wherever they run."""

    def read(
        self, selected: Callable[[], Iterable[Task]], query: LogQuery
    ) -> AsyncGenerator[LogFrame, None]:
        """Iterate over the selected tasks' output; the last frame is ``LogsEnd``."""
        ...


class Events(Protocol):
    """What changes in the swarm."""

    def read(self, since_ns: int, *, follow: bool) -> AsyncGenerator[EventMessage, None]:
        """Iterate over kept events since a time, then over new ones.

        Ends where the reader has fallen too far behind.
        """
        ...

    async def caught_up(self) -> None:
        """Wait until all that the replica has applied is among the kept events."""
        ...


class Insight(Protocol):
    """What a manager can say beyond its store."""

    @property
    def events(self) -> Events:
        """What changes."""
        ...

    @property
    def logs(self) -> Logs:
        """The output of tasks."""
        ...

    def check_service(self, spec: ServiceSpec) -> None:
        """Raise InputError for a label that asks for something beyond Docker and means nothing."""
        ...

    def figures(self) -> Figures:
        """Return this manager in numbers."""
        ...


class NodeControl(Protocol):
    """One node, as its API sees it. Reads are cheap and never block; only ``async`` ones wait."""

    rng: random.Random
    """Source of IDs, names and tokens."""

    @property
    def facts(self) -> HostFacts:
        """What is known of the machine."""
        ...

    @property
    def node_id(self) -> str:
        """This node's ID, empty while it is in no swarm."""
        ...

    @property
    def node_addr(self) -> str:
        """This node's advertised IP address without port, empty while it is in no swarm."""
        ...

    @property
    def store(self) -> Store | None:
        """The local replica; None unless this node is an active manager."""
        ...

    @property
    def insight(self) -> Insight | None:
        """Logs, events and figures; None unless this node is an active manager."""
        ...

    @property
    def engine_socket(self) -> Path | None:
        """Where a Docker Engine of this machine would listen; None: there shall be none."""
        ...

    def now(self) -> datetime:
        """Return the time, UTC."""
        ...

    def state(self) -> LocalState:
        """Return where this node stands in joining a swarm."""
        ...

    def error(self) -> str:
        """Return why the node is in state ``error`` or ``pending``, empty if all is well."""
        ...

    def is_manager(self) -> bool:
        """Whether this node runs the manager part now (``store`` is then given)."""
        ...

    def leader_known(self) -> bool:
        """Whether this manager knows a leader now."""
        ...

    def remote_managers(self) -> list[Peer]:
        """Return the managers that this node knows, itself included if it is one."""
        ...

    async def read_barrier(self) -> None:
        """Return once the local replica may be read: it has all that any manager has answered.

        Called before every request for swarm state: nothing but a look at the lease on the leader,
        a message there and back on the others. May wait a little for an election; raises
        ``swarmops.raft.errors.NoLeader`` when there is no leader within that bound.
        """
        ...

    async def check_demote(self, node_id: str) -> None:
        """Raise a SwarmopsError with Docker's sentence if demoting would lose the quorum.

        The text goes out as ``rpc error: code = FailedPrecondition desc = <text>``. That the last
        manager can't be demoted is checked by the API itself, from the store.
        """
        ...

    async def init(self, request: InitRequest) -> str:
        """Make a new swarm with this node as its manager; return the node's ID.

        The request is checked and filled: ``spec`` with all of Docker's defaults, ``availability``
        is ``active``, ``pause`` or ``drain``. Addresses are as the client sent them, and may be
        empty or name an interface: resolving them is the node's part (``ApiError(400, …)``). With
        ``force_new_cluster`` on a manager: go on alone with the state that is here.
        """
        ...

    async def join(self, request: JoinRequest) -> None:
        """Join a swarm; return once the node is active in it, however long that takes.

        The API stops waiting after 20 s with Docker's text and lets it go on in the background.
        Raise ``ApiError(500, "invalid join token")`` for a malformed token, and ``ApiError(400,
        "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this
        cluster")`` for one that managers refuse.
        """
        ...

    async def unlock(self, unlock_key: bytes) -> None:
        """Open a locked manager; return once it runs, which may be before there is a leader.

        Raise ``ApiError(409, NOT_LOCKED)``, or 401 with Docker's text for another key.
        """
        ...

    async def leave(self, *, force: bool) -> None:
        """Leave the swarm: stop its tasks, stop the manager part, forget the swarm.

        The API has already refused managers that did not force it.
        """
        ...
