"""One member of a Raft group, as the rest of swarmops drives it: the seam's other side.

Made by the manager part of the runtime. It opens the member, has a ``Run`` of it going until it is
stopped, and answers callers. Runs on one event loop; what is slow runs on the lanes. It decides
nothing about the protocol: the engine does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from swarmops.raft.disk import DirectoryDisk, Disk, Lanes, ThreadLanes
from swarmops.raft.errors import NoLeader, ProposalTimeout, RaftError, Stopped, TooLarge
from swarmops.raft.opening import Environment, Mode, open_member, restore
from swarmops.raft.run import Run
from swarmops.raft.seam import (
    COMMAND_BYTES_MAX,
    Clock,
    Member,
    StateMachine,
    Status,
    Timing,
)
from swarmops.raft.transport import Transport

_NOT_STARTED = "this manager has not started yet: try again"
_logger = logging.getLogger(__name__)


def new_raft_id(rng: random.Random) -> str:
    """Draw a member's id: 64 random bits as hex; one is never used again."""
    return f"{rng.getrandbits(64):016x}"


class Raft:
    """A member. ``start`` it once, ``stop`` it once; everything else between, on one loop."""

    def __init__(
        self,
        *,
        directory: Path | Disk,
        me: Member,
        state_machine: StateMachine,
        data_key: bytes,
        transport: Transport,
        rng: random.Random | None = None,
        timing: Timing | None = None,
        clock: Clock | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        self._me = me
        self._machine = state_machine
        self._disk = DirectoryDisk(directory) if isinstance(directory, Path) else directory
        self._data_key = data_key
        self._transport = transport
        self._rng = rng or random.SystemRandom()
        self._timing = timing or Timing()
        self._given_clock, self._given_lanes = clock, lanes
        self._leadership: list[Callable[[bool], object]] = []
        self._removal: list[Callable[[], object]] = []
        self._run: Run | None = None
        self._closed = False

    # Life.

    async def start(self, mode: Mode = "open", peers: Iterable[Member] = ()) -> None:
        """Begin: a group of one (bootstrap), what the directory holds (open), or as a new member.

        To join, ``add_member(me)`` must have been called on a member; ``peers`` are the members it
        returned, who alone are listened to until the first configuration arrives.
        Raises StorageCorrupt, RaftError, OSError; nothing is left running then.
        """
        environment, known = self._environment(), tuple(peers)
        try:
            opened = await open_member(environment, mode, known)
            sessions = await restore(environment, opened)
        except BaseException:
            await environment.lanes.close(_nothing)
            raise
        self._lanes = environment.lanes
        self._run = Run(
            environment,
            opened,
            sessions=sessions,
            peers=known,
            on_leadership=self._leadership,
            on_removed=self._removal,
        )
        self._run.begin()

    def _environment(self) -> Environment:
        loop = asyncio.get_running_loop()
        return Environment(
            me=self._me,
            state_machine=self._machine,
            disk=self._disk,
            data_key=self._data_key,
            transport=self._transport,
            rng=self._rng,
            timing=self._timing,
            clock=self._given_clock or loop,
            lanes=self._given_lanes or ThreadLanes(loop.call_soon_threadsafe),
        )

    async def stop(self) -> None:
        """End: hang up, answer everyone with Stopped, close the files."""
        if self._run is None or self._closed:
            return
        self._closed = True
        self._run.halt()
        await self._transport.stop()
        try:
            await self._lanes.close(self._run.writer.close)
        except OSError as error:
            _logger.warning("closing the log failed: %s", error)

    # Callers.

    async def propose(self, data: bytes, *, timeout_s: float = 10.0) -> Any:
        """Have a command applied once on every member; return what it gave on this one.

        Raises TooLarge, NoLeader (it was never sent), ProposalTimeout (it may still be applied),
        OutcomeUnknown (it was), Stopped, or what the state machine raised.
        """
        if len(data) > COMMAND_BYTES_MAX:
            raise TooLarge
        run = self._running
        clock, proposals = run.clock, run.proposals
        deadline = clock.time() + timeout_s
        while proposals.is_full():
            await proposals.wait_for_room(max(0.0, deadline - clock.time()))
        if run.is_out:
            raise Stopped("this manager was stopped or removed: ask another one")
        future = proposals.add(data, deadline - clock.time())
        run.kick()
        return await future

    async def read_barrier(self, *, timeout_s: float = 5.0) -> None:
        """Return when a read here sees everything acknowledged before; raises NoLeader."""
        await self._running.requests.read_barrier(timeout_s)

    async def add_member(self, member: Member, *, timeout_s: float = 10.0) -> tuple[Member, ...]:
        """Add a member as a learner, or change a known one's address; return all members.

        It is made a voter by itself once it has caught up. Raises MembershipRefused, NoLeader,
        ProposalTimeout.
        """
        run = self._running
        deadline = run.clock.time() + timeout_s
        await run.requests.change("add", member, "", timeout_s)
        rest_s = max(0.0, deadline - run.clock.time())
        if not await run.waiters.until(lambda: member in self.status().members, rest_s):
            raise ProposalTimeout("the manager was added, but this one did not hear of it in time")
        return self.status().members

    async def remove_member(self, raft_id: str, *, timeout_s: float = 10.0) -> None:
        """Remove a member for ever; the leader hands over before it goes itself.

        Raises QuorumLoss, NoLeader, ProposalTimeout.
        """
        await self._running.requests.change("remove", None, raft_id, timeout_s)

    async def transfer_leadership(self, to: str | None = None, *, timeout_s: float = 5.0) -> None:
        """Have the leader hand over, to the furthest when none is named; raises as the others."""
        await self._running.requests.change("transfer", None, to or "", timeout_s)

    async def wait(self, condition: Callable[[Status], bool], *, timeout_s: float) -> Status:
        """Wait until the status is as wanted; raises ProposalTimeout."""
        if not await self._running.waiters.until(lambda: condition(self.status()), timeout_s):
            raise ProposalTimeout("the managers did not get there in time: look at their status")
        return self.status()

    async def wait_for_leader(self, *, timeout_s: float) -> str:
        """Wait until a leader is known; return its raft id. Raises NoLeader."""
        engine = self._running.engine
        if not await self._running.waiters.until(lambda: engine.leader() is not None, timeout_s):
            raise NoLeader
        return str(engine.leader())

    def on_leadership(self, callback: Callable[[bool], object]) -> None:
        """Call back with True once this member leads and has applied all, with False after."""
        self._leadership.append(callback)

    def on_removed(self, callback: Callable[[], object]) -> None:
        """Call back once when the group has committed this member's removal; then ``stop``."""
        self._removal.append(callback)

    def status(self) -> Status:
        """Return this member's view."""
        run, engine = self._running, self._running.engine
        configuration = engine.committed_configuration(engine.applied_index())
        error = run.journal.error
        return Status(
            raft_id=self._me.raft_id,
            leader=None if run.stopped else engine.leader(),
            is_leader=not run.stopped and engine.is_settled() and engine.serves(),
            term=engine.term(),
            commit_index=engine.commit_index(),
            applied_index=engine.applied_index(),
            voters=configuration.voters,
            learners=configuration.learners,
            removed=frozenset(configuration.removed),
            reachable=engine.reachable(),
            disk_error=None if error is None else f"{self._disk.label}: {error.strerror or error}",
            failure=run.failure,
        )

    def snapshot_now(self) -> None:
        """Take a snapshot as soon as none is under way."""
        self._running.snapshots.take_if_due(force=True)

    @property
    def _running(self) -> Run:
        if self._run is None:
            raise RaftError(_NOT_STARTED)
        return self._run


def _nothing() -> None:
    """Do nothing: there is no file to close yet."""
