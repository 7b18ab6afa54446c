"""Snapshots of one member: when one is taken, what the log keeps behind it, which files go.

Driven by ``Run``, between the engine and the snapshot files: the loop decides, the snapshot lane
works. One is taken while commands go on being applied; ``snapshot_sender`` brings it to followers,
``snapshot_receiver`` installs what a leader sends.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import msgspec

from swarmops.raft import membership, snapshots
from swarmops.raft.disk import Disk, Lanes
from swarmops.raft.engine import Engine
from swarmops.raft.journal import Journal
from swarmops.raft.messages import Message
from swarmops.raft.seam import Clock, StateMachine, Timing
from swarmops.raft.sessions import Sessions
from swarmops.raft.snapshot_receiver import SnapshotReceiver
from swarmops.raft.snapshot_sender import SnapshotSender
from swarmops.raft.snapshots import SnapshotId, SnapshotMeta

_logger = logging.getLogger(__name__)


class Snapshots:
    """All snapshot work of one member."""

    def __init__(
        self,
        *,
        disk: Disk,
        data_key: bytes,
        rng: random.Random,
        lanes: Lanes,
        clock: Clock,
        timing: Timing,
        engine: Engine,
        state_machine: StateMachine,
        sessions: Sessions,
        journal: Journal,
        newest: SnapshotId | None,
        send: Callable[[str, Message], bool],
        installed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._disk = disk
        self._data_key = data_key
        self._rng = rng
        self._lanes = lanes
        self._clock = clock
        self._timing = timing
        self._machine = state_machine
        self._sessions = sessions
        self._journal = journal
        self._engine = engine
        self._installed = installed
        self._newest = newest
        self._taking = False
        self._bytes_kept = 0
        self._not_before = float("-inf")
        self.sender = SnapshotSender(
            engine=engine,
            disk=disk,
            data_key=data_key,
            lanes=lanes,
            clock=clock,
            send=send,
            on_sent=self._sweep,
            on_broken=lambda: self.take_if_due(force=True),
        )
        self.receiver = SnapshotReceiver(
            engine=engine,
            disk=disk,
            data_key=data_key,
            rng=rng,
            lanes=lanes,
            state_machine=state_machine,
            sessions=sessions,
            on_installed=self._received,
            on_ended=self._sweep,
            on_failed=failed,
        )

    @property
    def installing(self) -> bool:
        """Whether the state is about to be replaced."""
        return self.receiver.installing

    def wanted(self, raft_id: str) -> None:
        """Begin to send a follower the newest, or send again what stayed unanswered."""
        self.sender.wanted(raft_id, None if self.installing else self._newest)

    def take_if_due(self, *, force: bool = False) -> None:
        """Begin a snapshot when enough was applied since the last one."""
        applied = self._engine.applied_index()
        self._bytes_kept = min(self._bytes_kept, self._journal.bytes_total)
        since = applied - (self._newest.index if self._newest else 0)
        due = since >= self._timing.snapshot_entries or (
            self._journal.bytes_total - self._bytes_kept >= self._timing.snapshot_log_bytes
            and since > self._timing.trailing_entries
        )
        if not (due or force) or self._taking or self.installing:
            return
        term, early = self._journal.term_at(applied), self._clock.time() < self._not_before
        if early or since <= 0 or term is None or self._journal.error:
            return
        self._taking = True
        which = SnapshotId(applied, term)
        try:
            content = (self._meta(applied), self._machine.snapshot())
        except Exception as error:  # noqa: BLE001 - whatever it is, another attempt is made
            self._taken(which, error)
            return
        job = lambda: snapshots.write(  # noqa: E731 - one expression, for the other thread
            self._disk, self._data_key, self._rng, which, content
        )
        self._lanes.submit("snapshot", job, lambda _result, error: self._taken(which, error))

    def _meta(self, index: int) -> bytes:
        configuration = self._engine.committed_configuration(index)
        return msgspec.msgpack.encode(
            SnapshotMeta(membership.encode(configuration), self._sessions.dump())
        )

    def _taken(self, which: SnapshotId, error: BaseException | None) -> None:
        if error is not None:
            self._taking = False
            self._not_before = self._clock.time() + self._timing.disk_retry_s
            _logger.warning("a snapshot failed, the log keeps growing until one works: %r", error)
            return
        self._newest = max(which, self._newest or which)
        self._journal.compact(self._keep_from(which.index), self._compacted)
        self._bytes_kept = self._journal.bytes_total
        self._sweep()

    def _keep_from(self, index: int) -> int:
        """Say where the log shall begin: before what followers that answer still have to get.

        Else one that takes longer for a snapshot than the next one takes to come would get
        snapshots for ever. Bounded: who is too far behind gets another one.
        """
        keep = index - self._timing.trailing_entries
        small = (
            len(self._journal) <= self._timing.lagging_entries
            and self._journal.bytes_total <= self._timing.lagging_bytes
        )
        if small and self._engine.is_leading():
            sending = {raft_id: which.index for raft_id, which in self.sender.sending().items()}
            needed = self._engine.needed_from(sending)
            keep = keep if needed is None else min(keep, needed)
        return max(self._journal.first_index, keep)

    def _compacted(self) -> None:
        self._taking = False

    def _sweep(self) -> None:
        if self._newest is not None:
            newest = self._newest
            used = frozenset(self.sender.sending().values())
            job = lambda: snapshots.drop_older(self._disk, newest, used)  # noqa: E731 - as above
            self._lanes.submit("snapshot", job, snapshots.ignore_result)

    def _received(self, which: SnapshotId) -> None:
        self._newest = max(which, self._newest or which)
        self._installed()
