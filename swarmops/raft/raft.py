"""One member of a Raft group, as the rest of swarmops drives it: the seam's other side.

Made by the manager part of the runtime. It wires engine, journal, snapshots, transport and clock
together, turns everything that happens into a tick, and answers callers. Runs on one event loop;
what is slow runs on the lanes. It decides nothing about the protocol: the engine does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from swarmops.raft import commands, storage
from swarmops.raft.disk import DirectoryDisk, Disk, Lane, Lanes, ThreadLanes
from swarmops.raft.engine import Engine
from swarmops.raft.errors import NoLeader, ProposalTimeout, RaftError, Stopped, TooLarge
from swarmops.raft.journal import Journal
from swarmops.raft.messages import (
    Forward,
    ForwardRefused,
    Message,
    Removed,
    SnapshotAck,
    SnapshotChunk,
)
from swarmops.raft.proposals import Proposals
from swarmops.raft.requests import Requests
from swarmops.raft.seam import (
    COMMAND_BYTES_MAX,
    Clock,
    Handle,
    Member,
    StateMachine,
    Status,
    Timing,
)
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshots import SnapshotReader
from swarmops.raft.snapshotting import Snapshots
from swarmops.raft.transport import Transport
from swarmops.raft.waiting import Waiters

Mode = Literal["bootstrap", "open", "join"]
_FAREWELL_S = 5.0
_NOT_STARTED = "this manager has not started yet: try again"
_STRANGERS_MAX = 16
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
        self._disk = DirectoryDisk(directory) if isinstance(directory, Path) else directory
        self._me = me
        self._machine = state_machine
        self._data_key = data_key
        self._transport = transport
        self._rng = rng or random.SystemRandom()
        self._timing = timing or Timing()
        self._given_clock, self._given_lanes = clock, lanes
        self._engine: Engine | None = None
        self._sessions = Sessions()
        self._join_peers: tuple[Member, ...] = ()
        self._known: dict[str, Member] = {}
        self._departing: dict[str, Member] = {}
        self._strangers: dict[str, Member] = {}
        self._leadership: list[Callable[[bool], object]] = []
        self._removal: list[Callable[[], object]] = []
        self._was_leading = False
        self._was_removed = False
        self._stopped = False
        self._failure: str | None = None
        self._closed = False
        self._kicked = False
        self._leader_before: tuple[str | None, int] = (None, 0)
        self._timer: Handle | None = None
        self._timer_at = 0.0

    # Life.

    async def start(self, mode: Mode = "open", peers: Iterable[Member] = ()) -> None:
        """Begin: a group of one (bootstrap), what the directory holds (open), or as a new member.

        To join, ``add_member(me)`` must have been called on a member; ``peers`` are the members it
        returned, who alone are listened to until the first configuration arrives.
        Raises StorageCorrupt, RaftError, OSError; nothing is left running then.
        """
        loop = asyncio.get_running_loop()
        self._clock: Clock = self._given_clock or loop
        self._lanes: Lanes = self._given_lanes or ThreadLanes(loop.call_soon_threadsafe)
        self._join_peers = tuple(peers)
        self._waiters = Waiters(self._clock)
        try:
            opened = await self._on_lane("log", lambda: self._prepare(mode))
            await self._restore(opened)
        except BaseException:
            self._lanes.close()
            raise
        self._wire(opened)
        self._transport.start(self._me.raft_id, self)
        self.configuration_changed()
        self._tick()

    def _prepare(self, mode: Mode) -> storage.Opened:
        disk, key, rng, me, timing = self._disk, self._data_key, self._rng, self._me, self._timing
        if mode != "open":
            alone, peers = mode == "bootstrap", self._join_peers
            storage.create(disk, key, rng, me, timing, alone=alone, peers=peers)
        opened = storage.open_member(disk, key, rng, me.raft_id, timing)
        self._join_peers = self._join_peers or opened.term.peers
        return opened

    async def _restore(self, opened: storage.Opened) -> None:
        """Bring the state machine to where the snapshot is."""
        if opened.snapshot is None:
            return
        reader = SnapshotReader(self._disk, self._data_key, opened.snapshot)
        load = getattr(self._machine, "load", None)
        try:
            if load is not None:
                (await self._on_lane("snapshot", lambda: load(reader.chunks())))()
            else:
                self._machine.restore(reader.chunks())
        finally:
            reader.close()
        if opened.sessions is not None:
            self._sessions.load(opened.sessions)

    def _wire(self, opened: storage.Opened) -> None:
        self._writer = opened.writer
        self._journal = Journal(
            sentinel=opened.sentinel,
            entries=opened.entries,
            term=opened.term,
            writer=opened.writer,
            lanes=self._lanes,
        )
        self._proposals = Proposals(self._rng.getrandbits(63), self._clock, self._timing)
        self._snapshots = Snapshots(
            disk=self._disk,
            data_key=self._data_key,
            rng=self._rng,
            lanes=self._lanes,
            clock=self._clock,
            timing=self._timing,
            state_machine=self._machine,
            sessions=self._sessions,
            journal=self._journal,
            newest=opened.snapshot,
            send=self._transport.send,
            installed=self._snapshot_installed,
        )
        engine = Engine(
            raft_id=self._me.raft_id,
            journal=self._journal,
            configurations=opened.configurations,
            applied=opened.applied,
            host=self,
            clock=self._clock.time,
            # Time-outs are drawn with each message; they need spread, not the system's entropy.
            rng=random.Random(self._rng.getrandbits(64)),  # noqa: S311 - as just said
            timing=self._timing,
        )
        self._engine = self._snapshots.engine = engine
        self._journal.on_durable = engine.disk_landed
        self._journal.on_error = self._disk_failed
        self._requests = Requests(
            me=self._me.raft_id,
            engine=engine,
            clock=self._clock,
            timing=self._timing,
            waiters=self._waiters,
            send=self._transport.send,
            is_out=lambda: self._stopped or self._was_removed,
        )

    async def stop(self) -> None:
        """End: hang up, answer everyone with Stopped, close the files."""
        if self._engine is None or self._closed:
            return
        self._closed = True
        self._halt()
        await self._transport.stop()
        self._lanes.close()
        try:
            self._writer.close()
        except OSError as error:
            _logger.warning("closing the log failed: %s", error)

    def _halt(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._requests.close()
        self._proposals.close(Stopped("this manager was stopped: ask another one"))
        self._tell_leadership(leading=False)
        self._waiters.look()

    async def _on_lane(self, lane: Lane, job: Callable[[], Any]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._lanes.submit(lane, job, done)
        return await future

    # Callers.

    async def propose(self, data: bytes, *, timeout_s: float = 10.0) -> Any:
        """Have a command applied once on every member; return what it gave on this one.

        Raises TooLarge, NoLeader (it was never sent), ProposalTimeout (it may still be applied),
        OutcomeUnknown (it was), Stopped, or what the state machine raised.
        """
        if len(data) > COMMAND_BYTES_MAX:
            raise TooLarge
        deadline = self._clock.time() + timeout_s
        while self._proposals.is_full():
            await self._proposals.wait_for_room(max(0.0, deadline - self._clock.time()))
        if self._stopped or self._was_removed:
            raise Stopped("this manager was stopped or removed: ask another one")
        future = self._proposals.add(data, deadline - self._clock.time())
        self.kick()
        return await future

    async def read_barrier(self, *, timeout_s: float = 5.0) -> None:
        """Return when a read here sees everything acknowledged before; raises NoLeader."""
        if self._engine is None:
            raise RaftError(_NOT_STARTED)
        await self._requests.read_barrier(timeout_s)

    async def add_member(self, member: Member, *, timeout_s: float = 10.0) -> tuple[Member, ...]:
        """Add a member as a learner, or change a known one's address; return all members.

        It is made a voter by itself once it has caught up. Raises MembershipRefused, NoLeader,
        ProposalTimeout.
        """
        await self._requests.change("add", member, "", timeout_s)
        await self._waiters.until(lambda: member in self.status().members, timeout_s)
        return self.status().members

    async def remove_member(self, raft_id: str, *, timeout_s: float = 10.0) -> None:
        """Remove a member for ever; the leader hands over before it goes itself.

        Raises QuorumLoss, NoLeader, ProposalTimeout.
        """
        await self._requests.change("remove", None, raft_id, timeout_s)

    async def transfer_leadership(self, to: str | None = None, *, timeout_s: float = 5.0) -> None:
        """Have the leader hand over, to the furthest when none is named; raises as the others."""
        await self._requests.change("transfer", None, to or "", timeout_s)

    async def wait(self, condition: Callable[[Status], bool], *, timeout_s: float) -> Status:
        """Wait until the status is as wanted; raises ProposalTimeout."""
        if not await self._waiters.until(lambda: condition(self.status()), timeout_s):
            raise ProposalTimeout("the managers did not get there in time: look at their status")
        return self.status()

    async def wait_for_leader(self, *, timeout_s: float) -> str:
        """Wait until a leader is known; return its raft id. Raises NoLeader."""
        if not await self._waiters.until(lambda: self._core.leader() is not None, timeout_s):
            raise NoLeader
        return str(self._core.leader())

    def on_leadership(self, callback: Callable[[bool], object]) -> None:
        """Call back with True once this member leads and has applied all, with False after."""
        self._leadership.append(callback)

    def on_removed(self, callback: Callable[[], object]) -> None:
        """Call back once when the group has committed this member's removal; then ``stop``."""
        self._removal.append(callback)

    def status(self) -> Status:
        """Return this member's view."""
        engine = self._core
        configuration = engine.committed_configuration(engine.applied_index())
        error = self._journal.error
        return Status(
            raft_id=self._me.raft_id,
            leader=None if self._stopped else engine.leader(),
            is_leader=not self._stopped and engine.is_settled() and engine.leads_within_lease(),
            term=engine.term(),
            commit_index=engine.commit_index(),
            applied_index=engine.applied_index(),
            voters=configuration.voters,
            learners=configuration.learners,
            removed=frozenset(configuration.removed),
            reachable=engine.reachable(),
            disk_error=None if error is None else f"{self._disk.label}: {error.strerror or error}",
            failure=self._failure,
        )

    def snapshot_now(self) -> None:
        """Take a snapshot as soon as none is under way."""
        self._snapshots.take_if_due(force=True)

    @property
    def _core(self) -> Engine:
        if self._engine is None:
            raise RaftError(_NOT_STARTED)
        return self._engine

    # The tick.

    def kick(self) -> None:
        """Tick once soon, however often this is called before."""
        if not self._kicked and not self._stopped:
            self._kicked = True
            self._clock.call_soon(self._run)

    def _run(self) -> None:
        self._kicked = False
        if self._stopped or self._was_removed:
            return
        engine = self._core
        leader = (engine.leader(), engine.term())
        if leader != self._leader_before:
            self._leader_before = leader
            self._proposals.resend_all()
            if leader[0] != self._me.raft_id:
                self._snapshots.stop_sending()
        self._proposals.send(leader[0], self._me.raft_id, engine.submit, self._transport.send)
        if not self._guarded(engine.tick):
            return
        self._snapshots.take_if_due()
        self._tell_leadership(leading=engine.is_settled())
        self._waiters.look()
        self._arm()

    def _tick(self) -> None:
        if self._stopped:
            return
        self._timer = None
        try:
            self._proposals.expire(self._clock.time())
            if self._was_removed:
                self._waiters.look()
            else:
                self._kicked = True
                self._run()
        finally:
            self._arm()

    def _arm(self) -> None:
        """Tick again when something is due: soon while somebody waits, seldom while nobody does."""
        if self._stopped:
            return
        engine, now = self._core, self._clock.time()
        waits = self._proposals.any_pending() or engine.is_busy()
        pause = self._timing.heartbeat_s / 2 if waits else self._timing.election_min_s
        if not self._was_removed:
            # Not on a common beat: members whose time-outs fall into one would split their votes.
            pause = max(0.002, min(pause, engine.due() - now + 0.001))
        if self._timer is not None:
            if self._timer_at <= now + pause:
                return
            self._timer.cancel()
        self._timer_at = now + pause
        self._timer = self._clock.call_later(pause, self._tick)

    def _tell_leadership(self, *, leading: bool) -> None:
        if leading != self._was_leading:
            self._was_leading = leading
            for callback in self._leadership:
                _call(callback, leading)

    # The engine's host.

    def send(self, raft_id: str, message: Message) -> bool:
        """Send for the engine."""
        return self._transport.send(raft_id, message)

    def apply(self, index: int, command: bytes) -> None:
        """Apply a regular command, once a request; answer its proposer when it is ours."""
        request = commands.request(command)
        mine = request.session == self._proposals.session
        if not self._sessions.first_time(index, *request):
            return
        result: object = None
        error: Exception | None = None
        try:
            result = self._machine.apply(index, command[commands.HEADER_BYTES :])
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is the proposer's
            error = caught
            if not mine:
                _logger.warning("applying entry %d raised: %r", index, caught)
        if mine:
            self._proposals.applied(request.number, result, error)

    def configuration_changed(self) -> None:
        """Let the transport know whom to talk to."""
        if self._engine is None:
            return
        engine = self._engine
        members: dict[str, Member] = {}
        committed = engine.committed_configuration(engine.applied_index())
        for configuration in (committed, engine.configuration):
            for member in (*configuration.voters, *configuration.learners):
                members[member.raft_id] = member
        if self._me.raft_id not in members:
            members = {member.raft_id: member for member in self._join_peers} | members
        self._known |= members
        known = members.keys() | committed.removed
        self._strangers = {r: m for r, m in self._strangers.items() if r not in known}
        self._transport.set_peers((self._strangers | self._departing | members).values())

    def role_changed(self) -> None:
        """Look around soon."""
        self.kick()

    def is_installing(self) -> bool:
        """Say whether the state is about to be replaced."""
        return self._snapshots.installing

    def snapshot_wanted(self, raft_id: str) -> None:
        """Send a follower a snapshot."""
        self._snapshots.wanted(raft_id)

    def snapshot_chunk(self, raft_id: str, message: SnapshotChunk) -> None:
        """Take a chunk from the leader."""
        self._snapshots.received(raft_id, message)

    def snapshot_acknowledged(self, raft_id: str, message: SnapshotAck) -> None:
        """Send a follower the next chunk."""
        self._snapshots.acknowledged(raft_id, message)

    def removed(self, raft_id: str) -> None:
        """Tell a member that its removal is committed, or stop when it is this one."""
        if raft_id == self._me.raft_id:
            self._clock.call_soon(self._leave)
            return
        member = self._known.get(raft_id)
        if member is not None:
            self._departing[raft_id] = member
            self._clock.call_later(_FAREWELL_S, self._forget, raft_id)
        self._transport.send(raft_id, Removed(raft_id))

    def _forget(self, raft_id: str) -> None:
        self._departing.pop(raft_id, None)
        if not self._stopped:
            self.configuration_changed()

    def _leave(self) -> None:
        """Never vote, stand or answer again: the group goes on without this member."""
        if self._was_removed or self._stopped:
            return
        self._was_removed = True
        self._proposals.close(Stopped("this manager was removed from the swarm: ask another one"))
        self._tell_leadership(leading=False)
        for callback in self._removal:
            _call(callback)

    def _snapshot_installed(self) -> None:
        self.kick()
        self._proposals.applied_unseen(self._sessions.was_applied)

    def _disk_failed(self, error: OSError) -> None:
        _logger.error(
            "%s: %s: this manager neither leads nor votes until writing works again",
            self._disk.label,
            error,
        )
        self._core.disk_failed()
        self.kick()

    # The transport's upcalls.

    def message_received(self, sender: str, message: Message) -> None:
        """Take a message from a member."""
        if self._stopped or self._was_removed:
            return
        engine = self._core
        if isinstance(message, Removed):
            if message.raft_id == self._me.raft_id:
                self._leave()
        elif engine.refuse_removed(sender) or self._requests.received(sender, message):
            return
        elif isinstance(message, Forward):
            self._forwarded(sender, message)
        elif isinstance(message, ForwardRefused):
            self._proposals.refused(message.numbers)
        else:
            self._guarded(lambda: engine.receive(sender, message))
            if self._waiters.any_waiting():
                self.kick()

    def _guarded(self, work: Callable[[], object]) -> bool:
        """Stop rather than go on when the engine can't: a dead member is safe, a confused one not.

        What can't be decoded is the sender's fault: it is raised and closes its connection.
        """
        try:
            work()
        except msgspec.DecodeError:
            raise
        except Exception as error:
            _logger.exception("raft can't go on: this manager stops taking part; restart it")
            self._failure = str(error) or repr(error)
            self._halt()
            return False
        return True

    def _forwarded(self, sender: str, message: Forward) -> None:
        encoded = [
            commands.regular(message.session, number, message.floor, data)
            for number, data in message.items
        ]
        if not self._core.submit(encoded):
            self._transport.send(sender, ForwardRefused([number for number, _ in message.items]))

    def peer_connected(self, raft_id: str) -> None:
        """Messages to a member have a way."""
        self._core.connected(raft_id)
        self.kick()

    def peer_disconnected(self, raft_id: str) -> None:
        """Messages to a member have none."""
        self._core.disconnected(raft_id)
        self.kick()

    def peer_lost(self, raft_id: str) -> None:
        """Note that a member's connection to here broke."""
        self._core.lost_from(raft_id)
        self.kick()

    @property
    def addr(self) -> str:
        """Where this member is reached."""
        return self._me.addr

    def stranger_dialled(self, member: Member) -> bool:
        """Listen to a manager that isn't known here, as long as no leader is; says whether.

        This member may have been away while the whole group changed: the leader whose log would
        tell it so is then one that it does not know.
        """
        engine = self._core
        if engine.leader() is not None or self._stopped or self._was_removed:
            return False
        self._strangers.pop(member.raft_id, None)
        if len(self._strangers) >= _STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]
        self._strangers[member.raft_id] = member
        self.configuration_changed()
        return member.raft_id in self._strangers

    def is_removed(self, raft_id: str) -> bool:
        """Say whether a member's removal is committed."""
        engine = self._core
        return raft_id in engine.committed_configuration(engine.applied_index()).removed


def _call(callback: Callable[..., object], *arguments: object) -> None:
    """Call back; what it raises is its owner's affair and is logged."""
    try:
        callback(*arguments)
    except Exception:
        _logger.exception("a callback of raft raised")
