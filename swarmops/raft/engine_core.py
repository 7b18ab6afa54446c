"""PySyncObj's engine with its clock, its log and its unsafe entrances replaced: the lowest layer.

``elections`` and ``replication`` build on the class here, ``engine`` completes it. These four and
``stock`` are the only files that know PySyncObj. Each class is called ``_SyncObj``, so that
Python's own name mangling makes ``self.__x`` here the engine's private ``_SyncObj__x``: a method
with two leading underscores overrides the engine's, and ``check_release`` proves at import that it
is there.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Protocol

from swarmops.raft.errors import IncompatibleEngine
from swarmops.raft.journal import Journal
from swarmops.raft.membership import Configuration
from swarmops.raft.messages import Message, SnapshotAck, SnapshotChunk, Vote
from swarmops.raft.seam import Timing
from swarmops.raft.stock import VERSION, Node, Transport
from swarmops.raft.stock import syncobj as stock

__all__ = ["CANDIDATE", "FOLLOWER", "LEADER", "Host", "Node", "check_release"]

RELEASE = "0.3.17"
FOLLOWER, CANDIDATE, LEADER = 0, 1, 2

_PRIVATE = "_SyncObj__"
_stock_create_journal = stock.createJournal
_clock: Callable[[], float] = stock.monotonicTime


class Host(Protocol):
    """What the engine asks of the member that drives it."""

    def send(self, raft_id: str, message: Message) -> bool:
        """Queue a message; False when it can't be sent now."""

    def apply(self, index: int, command: bytes) -> None:
        """Apply a committed command; never raises."""

    def kick(self) -> None:
        """Tick again soon."""

    def configuration_changed(self) -> None:
        """Note that the configuration in effect, or the committed one, changed."""

    def role_changed(self) -> None:
        """Note that the state, the leader or the term changed."""

    def is_installing(self) -> bool:
        """Say whether a snapshot is being installed: nothing is applied then."""

    def snapshot_wanted(self, raft_id: str) -> None:
        """Send a follower what only a snapshot has; called again at each heartbeat."""

    def snapshot_chunk(self, raft_id: str, message: SnapshotChunk) -> None:
        """Take a chunk from the leader of the current term."""

    def snapshot_acknowledged(self, raft_id: str, message: SnapshotAck) -> None:
        """Send the next chunk to a follower of the current term."""

    def removed(self, raft_id: str) -> None:
        """Note that the removal of a member is committed."""


def _now() -> float:
    return _clock()


def _create_journal(journal: Any = None) -> Any:
    """Hand our journal through; the engine would make its mmap, which is never flushed."""
    return journal if isinstance(journal, Journal) else _stock_create_journal(journal)


stock.monotonicTime = _now
stock.createJournal = _create_journal


class _NoPoller:
    """The engine polls sockets in each tick; ours belong to the event loop."""

    def poll(self, _timeout: float) -> None:
        """Do nothing."""


class _Link(Transport):
    """What the engine believes is its transport: it turns its one message into ours."""

    def __init__(self, engine: _SyncObj) -> None:
        super().__init__(engine, None, [])
        self._engine = engine

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        """Send a vote request; the engine has nothing else left to send."""
        if message["type"] != "request_vote":
            raise IncompatibleEngine(f"pysyncobj sent an unknown message: {message['type']}")
        self._engine.votes_wanted.append(node.id)
        return True

    def destroy(self) -> None:
        """Do nothing: the seam owns the connections."""


class _SyncObj(stock.SyncObj):
    """State, clock and ways in and out. One thread; every way in is one of the public methods."""

    __raftState: int
    __raftLeader: Any
    __raftElectionDeadline: float
    __raftCommitIndex: int
    __raftLastApplied: int
    __otherNodes: set[Any]
    __readonlyNodes: set[Any]

    def __init__(
        self,
        *,
        raft_id: str,
        journal: Journal,
        configurations: list[tuple[int, Configuration]],
        applied: int,
        host: Host,
        clock: Callable[[], float],
        rng: Any,
        timing: Timing,
    ) -> None:
        self.votes_wanted: list[str] = []
        self._followers: list[Any] = []
        self._raft_id = raft_id
        self._journal = journal
        self._configurations = configurations
        self._host = host
        self._clock = clock
        self._rng = rng
        self._timing = timing
        conf = stock.SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=True,
            dynamicMembershipChange=True,
            raftMinTimeout=timing.election_min_s,
            raftMaxTimeout=timing.election_max_s,
            appendEntriesPeriod=timing.heartbeat_s,
            leaderFallbackTimeout=timing.step_down_s,
            connectionTimeout=max(3.5, timing.election_max_s),
            journalFile=journal,
        )
        self._inside(
            lambda: stock.SyncObj.__init__(self, Node(raft_id), [], conf, transport=_Link(self))
        )
        self._poller = _NoPoller()
        self.__raftCommitIndex = self.__raftLastApplied = applied

    def _inside(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run engine code under this member's clock: the engine reads a module's name for it."""
        global _clock  # noqa: PLW0603 - the engine's own name is a module's, see the docstring
        before, _clock = _clock, self._clock
        try:
            work(*arguments)
        finally:
            _clock = before

    @property
    def configuration(self) -> Configuration:
        """The configuration in effect: the newest in the log, committed or not."""
        return self._configurations[-1][1]

    def configuration_index(self) -> int:
        """Return where in the log the configuration in effect stands."""
        return self._configurations[-1][0]

    def committed_configuration(self, index: int) -> Configuration:
        """Return the configuration as of a committed index."""
        found = self._configurations[0][1]
        for at, configuration in self._configurations:
            if at <= index:
                found = configuration
        return found

    def followers(self) -> list[Any]:
        """List voters and learners but this one, in an order that is the same in every run."""
        return self._followers

    def _vote(self, *, term: int, pre: bool, force: bool) -> Vote:
        return Vote(term, self._journal.last_index, self.__getCurrentLogTerm(), pre, force)

    def __generateRaftTimeout(self) -> float:  # noqa: N802 - the engine's name
        """Draw from this member's generator. Fault: module-level randomness, not replayable."""
        low, high = self._timing.election_min_s, self._timing.election_max_s
        return float(low + (high - low) * self._rng.random())

    def __doApplyCommand(self, command: bytes) -> None:  # noqa: ARG002, N802 - the engine's name
        """Refuse. Fault: unpickles log entries, applies twice after a raising callback."""
        raise IncompatibleEngine("pysyncobj applied an entry past our replication")

    def __parseChangeClusterRequest(self, command: bytes) -> None:  # noqa: ARG002, N802 - as above
        """Refuse. Fault: unpickles membership from any entry."""
        raise IncompatibleEngine("pysyncobj read a membership past our replication")

    def __loadDumpFile(self, clearJournal: bool) -> None:  # noqa: ARG002, FBT001, N802, N803
        """Refuse. Fault: swallows a missing or corrupt dump and leads on without a state."""
        raise IncompatibleEngine("pysyncobj loaded a dump past our snapshots")

    def __tryLogCompaction(self) -> None:  # noqa: N802 - the engine's name
        """Do nothing. Fault: serialises on the tick, keeps no trailing log; the seam snapshots."""


def check_release(*layers: type) -> None:
    """Raise IncompatibleEngine unless every private name that our layers use is the engine's."""
    known = set(dir(stock.SyncObj)) | set(stock.SyncObj.__init__.__code__.co_names)
    used: set[str] = {"monotonicTime", "createJournal"} - set(vars(stock))
    for layer in layers:
        for name, member in vars(layer).items():
            if name.startswith(_PRIVATE):
                used.add(name)
            if isinstance(member, types.FunctionType):
                used.update(n for n in member.__code__.co_names if n.startswith(_PRIVATE))
    if VERSION != RELEASE or used - known:
        lacking = ", ".join(sorted(used - known)) or "nothing that we know of"
        raise IncompatibleEngine(
            f"pysyncobj {VERSION} is installed, but swarmops overrides private names of {RELEASE} "
            f"(lacking: {lacking}): install pysyncobj=={RELEASE}"
        )
