"""One run of a member, from its opening to its stop: what engine, transport and clock bring it.

Made by ``raft``, which speaks for it to callers. It wires engine, journal, snapshots, transport and
clock together and turns everything that happens into a tick. It decides nothing about the
protocol: the engine does.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

import msgspec

from swarmops.errors import CannotApply
from swarmops.raft import commands, storage
from swarmops.raft.engine import Engine
from swarmops.raft.errors import Stopped
from swarmops.raft.journal import Journal
from swarmops.raft.listener import Listener
from swarmops.raft.messages import Message, SnapshotAck, SnapshotChunk
from swarmops.raft.opening import Environment
from swarmops.raft.peers import Peers
from swarmops.raft.proposals import Proposals
from swarmops.raft.requests import Requests
from swarmops.raft.seam import Member
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshotting import Snapshots
from swarmops.raft.ticker import Ticker
from swarmops.raft.waiting import Waiters

_logger = logging.getLogger(__name__)


class Run:
    """A member's parts, and the engine's host; ``begin`` it once, ``halt`` it once."""

    def __init__(
        self,
        environment: Environment,
        opened: storage.Opened,
        *,
        sessions: Sessions,
        peers: tuple[Member, ...],
        on_leadership: Sequence[Callable[[bool], object]],
        on_removed: Sequence[Callable[[], object]],
    ) -> None:
        e = self._environment = environment
        self._raft_id = e.me.raft_id
        self._sessions = sessions
        self._on_leadership = on_leadership
        self._on_removed = on_removed
        self._was_leading = False
        self._was_removed = False
        self._leader_before: tuple[str | None, int] = (None, 0)
        self._began = False
        self.clock = e.clock
        self.stopped = False
        self.failure: str | None = None
        self._ticker = Ticker(
            e.clock, tick=self._tick, when_due=self._when_due, pause_s=self._pause_s
        )
        self.waiters = Waiters(e.clock)
        self.writer = opened.writer
        self.journal = Journal(
            sentinel=opened.sentinel,
            entries=opened.entries,
            term=opened.term,
            writer=opened.writer,
            lanes=e.lanes,
        )
        self.proposals = Proposals(e.rng.getrandbits(63), e.clock, e.timing)
        self.engine = Engine(
            raft_id=self._raft_id,
            journal=self.journal,
            configurations=opened.configurations,
            applied=opened.applied,
            host=self,
            clock=e.clock.time,
            # Time-outs are drawn with each message; they need spread, not the system's entropy.
            rng=random.Random(e.rng.getrandbits(64)),  # noqa: S311 - as just said
            timing=e.timing,
        )
        self.snapshots = Snapshots(
            disk=e.disk,
            data_key=e.data_key,
            rng=e.rng,
            lanes=e.lanes,
            clock=e.clock,
            timing=e.timing,
            engine=self.engine,
            state_machine=e.state_machine,
            sessions=sessions,
            journal=self.journal,
            newest=opened.snapshot,
            send=e.transport.send,
            installed=self._snapshot_installed,
            failed=self._fail,
        )
        self.journal.on_durable = self.engine.disk_landed
        self.journal.on_error = self._disk_failed
        self.requests = Requests(
            me=self._raft_id,
            engine=self.engine,
            clock=e.clock,
            timing=e.timing,
            waiters=self.waiters,
            send=e.transport.send,
            is_out=lambda: self.is_out,
            rng=e.rng,
        )
        self._peers = Peers(
            e.me,
            peers or opened.term.peers,
            engine=self.engine,
            transport=e.transport,
            clock=e.clock,
        )
        self.listener = Listener(
            e.me,
            engine=self.engine,
            proposals=self.proposals,
            requests=self.requests,
            waiters=self.waiters,
            peers=self._peers,
            send=e.transport.send,
            kick=self.kick,
            guarded=self._guarded,
            leave=self._leave,
            is_out=lambda: self.is_out,
        )

    @property
    def is_out(self) -> bool:
        """Whether this member was stopped or removed: it answers nobody any more."""
        return self.stopped or self._was_removed

    def begin(self) -> None:
        """Listen, and tick from now on."""
        self._environment.transport.start(self._raft_id, self.listener)
        self._began = True
        self.configuration_changed()
        self._ticker.beat()

    def halt(self) -> None:
        """Take part no more: answer everyone with Stopped, tick never again."""
        if self.stopped:
            return
        self.stopped = True
        self._ticker.stop()
        self._peers.stop()
        self.requests.close()
        self.proposals.close(Stopped("this manager was stopped: ask another one"))
        self._tell_leadership(leading=False)
        self.waiters.look()

    # The tick.

    def kick(self) -> None:
        """Tick once soon, however often this is called before."""
        self._ticker.kick()

    def _tick(self) -> None:
        if self.is_out:
            return
        engine, send = self.engine, self._environment.transport.send
        leader = (engine.leader(), engine.term())
        if leader != self._leader_before:
            self._leader_before = leader
            self.proposals.resend_all()
            if leader[0] != self._raft_id:
                self.snapshots.sender.stop()
        self.proposals.send(leader[0], self._raft_id, engine.submit, send)
        if not self._guarded(engine.tick):
            return
        self.snapshots.take_if_due()
        self._tell_leadership(leading=engine.is_settled())
        self.waiters.look()
        self._ticker.arm()

    def _when_due(self) -> None:
        self.proposals.expire(self.clock.time())
        if self._was_removed:
            self.waiters.look()
        else:
            self._ticker.run()

    def _pause_s(self, now: float) -> float:
        """Say how long nothing is due: not long while somebody waits, longer while nobody does."""
        timing = self._environment.timing
        waits = self.proposals.any_pending() or self.engine.is_busy()
        pause = timing.heartbeat_s / 2 if waits else timing.election_min_s
        if self._was_removed:
            return pause
        # Not on a common beat: members whose time-outs fall into one would split their votes.
        return max(0.002, min(pause, self.engine.due() - now + 0.001))

    def _tell_leadership(self, *, leading: bool) -> None:
        if leading != self._was_leading:
            self._was_leading = leading
            for callback in self._on_leadership:
                _call(callback, leading)

    # What the engine asks of its host.

    def send(self, raft_id: str, message: Message) -> bool:
        """Send for the engine."""
        return self._environment.transport.send(raft_id, message)

    def apply(self, index: int, command: bytes) -> None:
        """Apply a regular command, once a request; answer its proposer when it is ours."""
        request = commands.request(command)
        mine = request.session == self.proposals.session
        if not self._sessions.first_time(index, *request):
            return
        result: object = None
        error: Exception | None = None
        try:
            result = self._environment.state_machine.apply(index, command[commands.HEADER_BYTES :])
        except CannotApply:
            raise
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is the proposer's
            error = caught
            if not mine:
                _logger.warning("applying entry %d raised: %r", index, caught)
        if mine:
            self.proposals.applied(request.number, result, error)

    def configuration_changed(self) -> None:
        """Let the transport know whom to talk to."""
        if self._began:  # the engine says so also while it is made
            self._peers.configuration_changed()

    def role_changed(self) -> None:
        """Look around soon."""
        self.kick()

    def is_installing(self) -> bool:
        """Say whether the state is about to be replaced."""
        return self.snapshots.installing

    def snapshot_wanted(self, raft_id: str) -> None:
        """Send a follower a snapshot."""
        self.snapshots.wanted(raft_id)

    def snapshot_chunk(self, raft_id: str, message: SnapshotChunk) -> None:
        """Take a chunk from the leader."""
        self.snapshots.receiver.received(raft_id, message)

    def snapshot_acknowledged(self, raft_id: str, message: SnapshotAck) -> None:
        """Send a follower the next chunk."""
        self.snapshots.sender.acknowledged(raft_id, message)

    def removed(self, raft_id: str) -> None:
        """Tell a member that its removal is committed, or stop when it is this one."""
        if raft_id == self._raft_id:
            self.clock.call_soon(self._leave)
        else:
            self._peers.take_leave(raft_id)

    def _leave(self) -> None:
        """Never vote, stand or answer again: the group goes on without this member."""
        if self.is_out:
            return
        self._was_removed = True
        unsure = "this manager was removed from the swarm before it knew the outcome"
        self.proposals.close(Stopped(f"{unsure}: ask another one"))
        self._tell_leadership(leading=False)
        for callback in self._on_removed:
            _call(callback)

    def _snapshot_installed(self) -> None:
        self.kick()
        self.proposals.applied_unseen(self._sessions.was_applied)

    def _disk_failed(self, error: OSError) -> None:
        _logger.error(
            "%s: %s: this manager neither leads nor votes until writing works again",
            self._environment.disk.label,
            error,
        )
        self.engine.disk_failed()
        self.kick()

    def _guarded(self, work: Callable[..., object], *arguments: object) -> bool:
        """Stop rather than go on when the engine can't.

        What can't be decoded is the sender's fault: it is raised and closes its connection.
        """
        try:
            work(*arguments)
        except msgspec.DecodeError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, see _fail
            self._fail(error)
            return False
        return True

    def _fail(self, error: Exception) -> None:
        """Take no part any more: a dead member is safe, a confused one is not."""
        text = "raft can't go on: this manager stops taking part; restart it"
        _logger.error(text, exc_info=error)
        self.failure = str(error) or repr(error)
        self.halt()


def _call(callback: Callable[..., object], *arguments: object) -> None:
    """Call back; what it raises is its owner's affair and is logged."""
    try:
        callback(*arguments)
    except Exception:
        _logger.exception("a callback of raft raised")
