"""The engine completed: messages in, membership, the tick; what the seam drives.

The top layer over PySyncObj (see ``engine_core``). ``Run`` calls the public methods, on one
thread; nothing here waits, sleeps or touches a disk or a socket.
"""

from __future__ import annotations

from typing import Any

from swarmops.raft import commands, elections, engine_core, membership, replication
from swarmops.raft.engine_core import LEADER, Host, Node, check_release
from swarmops.raft.errors import MembershipRefused
from swarmops.raft.membership import Configuration
from swarmops.raft.messages import (
    Append,
    AppendAck,
    Message,
    Removed,
    SnapshotAck,
    SnapshotChunk,
    TimeoutNow,
    Vote,
    VoteReply,
)
from swarmops.raft.progress import Progress

__all__ = ["ChangeBusy", "Engine", "Host"]

_CAUGHT_UP_ENTRIES = 100


class ChangeBusy(MembershipRefused):
    """Not now; the seam asks again until its caller's bound."""


class _SyncObj(replication._SyncObj):  # noqa: SLF001 - the layers share one class name on purpose
    """Adds messages, membership and the tick."""

    def __init__(self, **arguments: Any) -> None:
        self._flight = (0, 0.0)
        super().__init__(**arguments)
        self._use_configuration()

    # The ways in.

    def tick(self) -> None:
        """Do what is due: stand, commit, apply, send, hand over, promote; then write."""
        self._inside(self._tick)

    def _tick(self) -> None:
        now = self._clock()
        self._has_beaten = False
        self._stand_for_election(now)
        self.doTick(0.0)
        self._ask_for_votes()
        self._acknowledge_rest(landed=False)
        if self.__raftState == LEADER:
            self._continue_transfer(now)
            self._leave_a_stuck_disk(now)
            self._promote_learner(now)
        self._journal.flush()

    def is_busy(self) -> bool:
        """Say whether something is under way that ticks must watch: a slow disk, a hand-over."""
        return self._ack_due or self._transfer is not None

    def receive(self, sender: str, message: Message) -> None:
        """Take a message of the consensus protocol from a member."""
        self._inside(self.__onMessageReceived, Node(sender), message)

    def connected(self, raft_id: str) -> None:
        """Messages to this member have a way."""
        self.__connectedNodes.add(Node(raft_id))
        self._restart_progress(raft_id)

    def disconnected(self, raft_id: str) -> None:
        """Messages to this member have none: what was under way may be lost."""
        self.__connectedNodes.discard(Node(raft_id))
        self._restart_progress(raft_id)

    def lost_from(self, raft_id: str) -> None:
        """Note that a member's connection to here broke: if it led, it may be dead."""
        self._suspect_leader(raft_id)

    def disk_landed(self) -> None:
        """Go on: the journal made more durable."""
        self._inside(self._landed)

    def _landed(self) -> None:
        self._term_landed()
        self._acknowledge_rest(landed=True)
        self._host.kick()

    def disk_failed(self) -> None:
        """Stop leading: the journal can't write, so nothing can be promised."""
        if self.__raftState == LEADER:
            self.__setState(engine_core.FOLLOWER)
            self._forget_leader()

    def _leave_a_stuck_disk(self, now: float) -> None:
        """Hand over when the disk neither writes nor fails: the others could go on without it."""
        flight = self._journal.flight
        if flight != self._flight[0]:
            self._flight = (flight, now)
        elif flight and now - self._flight[1] > self._timing.disk_stall_s:
            self._flight = (flight, now)
            self.transfer(None)

    def __onMessageReceived(self, node: Any, message: Any) -> None:  # noqa: N802 - engine's name
        """Handle one message of the closed set.

        Faults: truncation without conflict, votes without durability, snapshots that roll back,
        acknowledgements without a term, unpickled membership: see each handler. What changes
        nothing but the time of the last contact needs no tick: an idle group costs little.
        """
        sender = node.id
        match message:
            case Append():
                before = self._journal.sequence, self.__raftCommitIndex
                self._on_append(sender, message)
                after = self._journal.sequence, self.__raftCommitIndex
                if after == before and not self._ack_due:
                    return
            case AppendAck():
                match = self.__raftMatchIndex.get(node)
                self._on_append_ack(sender, message)
                if self.__raftMatchIndex.get(node) == match and not self._has_more_for(node):
                    return
            case Vote():
                self._on_vote(sender, message)
            case VoteReply():
                self._on_vote_reply(sender, message)
            case TimeoutNow():
                self._on_timeout_now(sender, message)
            case SnapshotChunk():
                self._on_snapshot_chunk(sender, message)
            case SnapshotAck():
                self._on_snapshot_ack(sender, message)
        self._host.kick()

    def _restart_progress(self, raft_id: str) -> None:
        node = Node(raft_id)
        if self.__raftState == LEADER and raft_id in self._progress:
            progress = Progress(self._timing.inflight_messages, self._timing.inflight_bytes)
            progress.acked_round = self._progress[raft_id].acked_round
            self._progress[raft_id] = progress
            # Not from the beginning when it has not answered yet: that may be a whole snapshot.
            match = self.__raftMatchIndex[node] or self._journal.last_index
            self.__raftNextIndex[node] = match + 1

    # Membership.

    def change(self, configuration: Configuration) -> int:
        """Append a new configuration, which takes effect at once; return its index.

        Raises ChangeBusy while another change, or this term's first entry, is uncommitted.
        """
        if self.__raftState != LEADER or not self.is_settled() or self._transfer is not None:
            raise ChangeBusy("this manager does not lead the swarm (any more): ask again")
        if self._configurations[-1][0] > self.commit_index():
            raise ChangeBusy("another change of the managers is under way: ask again")
        index = self._journal.last_index + 1
        command = commands.membership(membership.encode(configuration))
        self._journal.add(command, index, self.__raftCurrentTerm)
        self._configurations.append((index, configuration))
        self._use_configuration()
        self._host.kick()
        return int(index)

    def __changeCluster(self, request: Any) -> bool:  # noqa: ARG002, N802 - the engine's name
        """Refuse. Fault: "one change at a time" is dead code, four in one tick were accepted."""
        raise MembershipRefused("changes of the managers go through the seam")

    def __doChangeCluster(self, request: Any, reverse: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002, N802
        """Refuse. Fault: membership is taken at append, after a restart only at apply."""
        raise MembershipRefused("changes of the managers go through the seam")

    def _use_configuration(self) -> None:
        """Make voters the engine's other nodes, learners its read-only ones, who don't count."""
        configuration = self.configuration
        others = {Node(m.raft_id) for m in configuration.voters if m.raft_id != self._raft_id}
        learners = {Node(m.raft_id) for m in configuration.learners if m.raft_id != self._raft_id}
        now = self._clock()
        for node in (others | learners) - (self.__otherNodes | self.__readonlyNodes):
            self.__raftNextIndex[node] = self._journal.last_index + 1
            self.__raftMatchIndex[node] = 0
            self.__lastResponseTime[node] = now
            self._progress[node.id] = self._new_progress()
        for node in (self.__otherNodes | self.__readonlyNodes) - (others | learners):
            self.__raftNextIndex.pop(node, None)
            self.__raftMatchIndex.pop(node, None)
            self.__lastResponseTime.pop(node, None)
            self._progress.pop(node.id, None)
        self.__otherNodes = others
        self.__readonlyNodes = learners
        self._followers = sorted(others | learners)
        self._host.configuration_changed()

    def _configuration_committed(self, index: int) -> None:
        """Forget older configurations; tell the seam who is out for good."""
        before = self._configurations[0][1]
        while len(self._configurations) > 1 and self._configurations[1][0] <= index:
            self._configurations.pop(0)
        committed = self._configurations[0][1]
        for raft_id in sorted(set(committed.removed) - set(before.removed)):
            self._host.removed(raft_id)
        self._host.configuration_changed()

    def refuse_removed(self, raft_id: str) -> bool:
        """Tell a member whose removal is committed; says whether it was one."""
        if raft_id not in self.committed_configuration(self.applied_index()).removed:
            return False
        self._host.send(raft_id, Removed(raft_id))
        return True

    def _promote_learner(self, now: float) -> None:
        """Make a learner a voter once it has nearly the whole log and answers."""
        if (
            not self.__readonlyNodes
            or not self.is_settled()
            or self._configurations[-1][0] > self.commit_index()
            or self._transfer
        ):
            return
        for node in self.followers():
            if node not in self.__readonlyNodes:
                continue
            heard = self._heard.get(node.id, float("-inf")) > now - self._timing.step_down_s
            if heard and self._has_caught_up(node, now):
                self.change(membership.promote(self.configuration, node.id))
                return

    def _has_caught_up(self, node: Any, now: float) -> bool:
        match, last = self.__raftMatchIndex[node], self._journal.last_index
        if match == 0:
            return False
        within_s = self._timing.election_min_s
        keeps_pace = self._progress[node.id].keeps_pace(match, last, now, within_s)
        return keeps_pace or last - match <= _CAUGHT_UP_ENTRIES

    def needed_from(self, sending: dict[str, int]) -> int | None:
        """Return the first entry that a follower who answers still lacks; None: nobody does.

        ``sending`` are the indexes of the snapshots that are under way, by follower. Who has just
        come back, and was sent one at once, need not have answered yet.
        """
        alive = self._clock() - self._timing.step_down_s
        needed = [
            sending.get(node.id) or self.__raftMatchIndex[node]
            for node in self.followers()
            if self._heard.get(node.id, float("-inf")) > alive
            or (node.id in sending and node in self.__connectedNodes)
        ]
        return min((index for index in needed if index), default=None)

    # What the seam asks.

    def is_settled(self) -> bool:
        """Say whether this leader has applied all that was committed before its term."""
        first = self.__noopIDx
        return self.is_leading() and first is not None and self.__raftLastApplied >= first

    def begin_round(self) -> int:
        """Send a numbered heartbeat now; for reads."""
        self._inside(self.__sendAppendEntries)
        return self._round

    def leader(self) -> str | None:
        """Return the leader's raft id, as far as known."""
        return None if self.__raftLeader is None else str(self.__raftLeader.id)

    def term(self) -> int:
        """Return the current term."""
        return int(self.__raftCurrentTerm)

    def applied_index(self) -> int:
        """Return the index that was applied last."""
        return int(self.__raftLastApplied)

    def reachable(self) -> frozenset[str]:
        """Return who answered within the time-out (as leader) or is connected (else), and self."""
        alive = self._clock() - self._timing.step_down_s
        if self.is_leading():
            found = {raft_id for raft_id, at in self._heard.items() if at > alive}
        else:
            found = {node.id for node in self.__connectedNodes}
        known = {member.raft_id for member in self.configuration.voters}
        known |= {member.raft_id for member in self.configuration.learners}
        return frozenset(found & known | {self._raft_id})


check_release(engine_core._SyncObj, elections._SyncObj, replication._SyncObj, _SyncObj)  # noqa: SLF001
Engine = _SyncObj
