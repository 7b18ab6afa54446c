"""Who leads: pre-vote, votes that stick to a live leader, lease, check-quorum and hand-over.

The second layer of the engine (see ``engine_core`` for how the private names work). The engine's
own tick still decides that a candidate stands and counts; this layer decides when it may.
"""

from __future__ import annotations

from typing import Any

from swarmops.raft import engine_core
from swarmops.raft.engine_core import CANDIDATE, FOLLOWER, LEADER
from swarmops.raft.membership import majority
from swarmops.raft.messages import Message, TimeoutNow, Vote, VoteReply

_SUSPICION_SPREAD = 0.1
"""How far members spread, as a part of the least time-out, when the leader's connection broke."""


class _SyncObj(engine_core._SyncObj):  # noqa: SLF001 - the layers share one class name on purpose
    """Adds elections."""

    def __init__(self, **arguments: Any) -> None:
        now = arguments["clock"]()
        self._leader_contact = now
        self._may_campaign = False
        self._ordered_term = -1
        """The term in which its leader told this member to stand: the order is for that alone."""
        self._force_votes = False
        self._led_from = now
        self._heard: dict[str, float] = {}
        self._pre_votes: set[str] | None = None
        self._votes: set[str] = set()
        self._waiting_votes: list[tuple[int, str, Message]] = []
        self._round = 0
        self._rounds: dict[int, float] = {}
        self._lease_void_term = -1
        self._transfer: tuple[str, float] | None = None
        super().__init__(**arguments)

    def _electable(self) -> bool:
        return self._raft_id in self.configuration.voter_ids and self._journal.error is None

    def _is_alone(self) -> bool:
        return self.configuration.voter_ids == {self._raft_id}

    def _has_majority(self, ids: set[str]) -> bool:
        voters = self.configuration.voter_ids
        return len(ids & voters) >= majority(len(voters))

    # Standing for election.

    def _stand_for_election(self, now: float) -> None:
        """Before the engine's tick: open it the way to a candidacy, or ask around first."""
        ordered, self._ordered_term = self._ordered_term == self.__raftCurrentTerm, -1
        if self.__raftState == LEADER:
            return
        if not self._electable():
            if self.__raftElectionDeadline < now:
                # Whoever leads now may be a stranger: it is heard only where no leader is known.
                self._forget_leader()
                self.__raftElectionDeadline = now + self.__generateRaftTimeout()
            return
        if ordered or (self._is_alone() and self.__raftState == FOLLOWER):
            self._force_votes = ordered
            self._campaign()
        elif self.__raftElectionDeadline < now and not self._may_campaign:
            self._force_votes = False
            self._ask_for_pre_votes(now)

    def _ask_for_pre_votes(self, now: float) -> None:
        # Asking changes nothing, so it is repeated sooner than a candidacy would be.
        pause = self._timing.heartbeat_s * (1 + self._rng.random())
        self.__raftElectionDeadline = now + pause
        self._pre_votes = {self._raft_id}
        self._forget_leader()
        if self._has_majority(self._pre_votes):
            self._campaign()
            return
        request = self._vote(term=self.__raftCurrentTerm + 1, pre=True, force=False)
        for raft_id in sorted(self.configuration.voter_ids - {self._raft_id}):
            self._host.send(raft_id, request)

    def _campaign(self) -> None:
        self._may_campaign = True
        self._pre_votes = None
        self._votes = {self._raft_id}
        self.__raftElectionDeadline = float("-inf")

    def _forget_leader(self) -> None:
        if self.__raftLeader is not None:
            self.__raftLeader = None
            self.__onLeaderChanged()

    def __connectedToAnyone(self) -> bool:  # noqa: N802 - the engine's name
        """Let the engine's tick stand only after won pre-votes, or when the leader asked.

        Fault: no pre-vote; a member that was isolated for 8 s deposed the leader on its return.
        """
        allowed, self._may_campaign = self._may_campaign, False
        return allowed

    def _ask_for_votes(self) -> None:
        """Ask whom the engine's tick wanted to ask, once our own vote is durable."""
        wanted, self.votes_wanted = self.votes_wanted, []
        if not wanted:
            return
        request = self._vote(term=self.__raftCurrentTerm, pre=False, force=self._force_votes)
        for raft_id in sorted(wanted):
            self._send_after_term(raft_id, request)

    def _send_after_term(self, raft_id: str, message: Message) -> None:
        """Send what rests on term and vote only when both survive a loss of power."""
        if self._journal.term_is_durable:
            self._host.send(raft_id, message)
        else:
            self._waiting_votes.append((self._journal.term_sequence, raft_id, message))

    def _term_landed(self) -> None:
        """Send what waited for the disk, count what could not be counted."""
        waiting, self._waiting_votes = self._waiting_votes, []
        for sequence, raft_id, message in waiting:
            if self._journal.durable_sequence < sequence:
                self._waiting_votes.append((sequence, raft_id, message))
            else:
                self._host.send(raft_id, message)
        self._count_votes()

    def _count_votes(self) -> None:
        if self.__raftState == CANDIDATE and self._has_majority(self._votes):
            self.__onBecomeLeader()

    def __onBecomeLeader(self) -> None:  # noqa: N802 - the engine's name
        """Lead only on a durable term and vote.

        Fault: term and vote are renamed without fsync; after a loss of power the same term could
        be led twice with different entries.
        """
        if self._journal.term_is_durable and self._electable():
            self._rounds.clear()
            self._heard.clear()
            self._led_from = self._clock()
            self._transfer = None
            self._prepare_leading()
            super().__onBecomeLeader()

    def _prepare_leading(self) -> None:
        """Start afresh about every follower; completed by ``replication``."""

    def __setState(self, state: int) -> None:  # noqa: N802 - the engine's name
        """Take back a commit index that rested on our own disk, when leading ends.

        Fault: the engine counts its own log as durable when it is only written.
        """
        if self.__raftState == LEADER and state != LEADER:
            self.__raftCommitIndex = min(self.__raftCommitIndex, self._journal.durable_index)
            self.__raftCommitIndex = max(self.__raftCommitIndex, self.__raftLastApplied)
            self.__raftElectionDeadline = self._clock() + self.__generateRaftTimeout()
            self._transfer = None
        changed = self.__raftState != state
        super().__setState(state)
        if changed:
            self._host.role_changed()

    def __onLeaderChanged(self) -> None:  # noqa: N802 - the engine's name
        """Tell the seam, which sends unanswered proposals again under their ids.

        Fault: LEADER_CHANGED to every waiter, though the command may be committed.
        """
        self._host.role_changed()

    # Answering candidates.

    def _sticks_to_leader(self, now: float) -> bool:
        """Say whether a live leader was heard so lately that nobody else gets a vote."""
        if self.__raftState == LEADER:
            return self.quorum_contact() > now - self._timing.election_min_s
        return bool(now - self._leader_contact < self._timing.election_min_s)

    def _on_vote(self, sender: str, message: Vote) -> None:
        now = self._clock()
        sticks = self._sticks_to_leader(now) and not message.force
        last = (self.__getCurrentLogTerm(), self._journal.last_index)
        current = (message.last_term, message.last_index) >= last
        if message.pre:
            able = current and not sticks and self._journal.error is None
            granted = able and message.term > self.__raftCurrentTerm
            if granted:
                # Let it go ahead: two candidates at once would split the votes.
                ahead = now + 2 * self._timing.heartbeat_s * (1 + self._rng.random())
                self.__raftElectionDeadline = max(self.__raftElectionDeadline, ahead)
                if sender < self._raft_id:
                    # Both ask at once: the greater id gives way, before it can have its answers.
                    self._pre_votes = None
            term = message.term if granted else self.__raftCurrentTerm
            self._send_after_term(sender, VoteReply(term, True, granted))
            return
        if sticks or self._journal.error is not None:
            return
        self._see_term(message.term)
        vote = self.__votedForNodeId
        granted = message.term == self.__raftCurrentTerm and current and vote in {None, sender}
        if granted:
            if vote is None:
                self.__setCurrentTerm(self.__raftCurrentTerm, sender)
            self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        self._send_after_term(sender, VoteReply(self.__raftCurrentTerm, False, granted))

    def _on_vote_reply(self, sender: str, message: VoteReply) -> None:
        if not message.granted:
            self._see_term(message.term)
        elif message.pre:
            expected = message.term == self.__raftCurrentTerm + 1 and self.__raftState != LEADER
            if self._pre_votes is not None and expected:
                self._pre_votes.add(sender)
                if self._has_majority(self._pre_votes) and self._electable():
                    self._campaign()
        elif message.term == self.__raftCurrentTerm:
            self._votes.add(sender)
            self._count_votes()

    def _see_term(self, term: int) -> bool:
        """Follow into a newer term; says whether it was newer."""
        if term <= self.__raftCurrentTerm:
            return False
        self.__setCurrentTerm(term, None)
        self._pre_votes = None
        self.__setState(FOLLOWER)
        self._forget_leader()
        self._host.role_changed()
        return True

    def _leader_heard(self, sender: str, term: int) -> None:
        """Follow the leader of this term, from whom a message came: nobody else stands now."""
        self._see_term(term)
        self._leader_contact = self._clock()
        self._pre_votes = None
        self.__setState(FOLLOWER)
        self.__raftElectionDeadline = self._leader_contact + self.__generateRaftTimeout()
        if self.__raftLeader is None or self.__raftLeader.id != sender:
            self.__raftLeader = engine_core.Node(sender)
            self._host.role_changed()

    def _suspect_leader(self, sender: str) -> None:
        """Ask around as soon as votes come loose: the leader's connection broke."""
        if self.__raftState == FOLLOWER and self.__raftLeader and self.__raftLeader.id == sender:
            spread = self._timing.election_min_s * _SUSPICION_SPREAD * self._rng.random()
            soon = self._leader_contact + self._timing.election_min_s * 1.02 + spread
            self.__raftElectionDeadline = min(self.__raftElectionDeadline, soon)

    # Leading within a lease.

    def _begin_round(self, now: float) -> int:
        """Give a number to what is sent from here on; an answer counts from its round's time."""
        self._round += 1
        self._rounds[self._round] = now
        self._rounds.pop(self._round - 256, None)
        return self._round

    def quorum_contact(self) -> float:
        """Since when a majority is known to have heard this leader (time of sending)."""
        voters = self.configuration.voter_ids
        heard = sorted(
            (self._heard.get(node.id, float("-inf")) for node in self.__otherNodes), reverse=True
        )
        if self._raft_id in voters:
            heard.insert(0, float(self._clock()))
        needed = majority(len(voters)) - 1
        return float(heard[needed]) if needed < len(heard) else float("-inf")

    def due(self) -> float:
        """Return when a tick is needed though nothing happens: a heartbeat, or asking for votes."""
        leads = self.__raftState == LEADER
        return float(self.__newAppendEntriesTime if leads else self.__raftElectionDeadline)

    def round(self) -> int:
        """Return the number of the newest round."""
        return self._round

    def is_leading(self) -> bool:
        """Say whether this member leads, as far as it knows."""
        return bool(self.__raftState == LEADER)

    def has_just_begun(self) -> bool:
        """Say whether this leader's term is so young that who is silent may just be slow."""
        return bool(self._clock() - self._led_from < self._timing.step_down_s)

    def leads_within_lease(self) -> bool:
        """Say whether no other leader can exist, unless this one ordered it to stand."""
        age = self._clock() - self.quorum_contact()
        return self.is_leading() and age < self._timing.read_lease_s

    def lease_reads(self) -> bool:
        """Say whether a read needs no round: the lease holds and no hand-over was begun."""
        return self._lease_void_term != self.__raftCurrentTerm and self.leads_within_lease()

    def serves(self) -> bool:
        """Say whether this member leads as far as anyone can see: not while a successor stands.

        An order that comes later than the hand-over lasts may still find two for less than a lease;
        reads don't rest on this (``lease_reads``), and writes are fenced.
        """
        ordered = self._transfer is not None and self._lease_void_term == self.__raftCurrentTerm
        return not ordered and self.leads_within_lease()

    # Handing over.

    def transfer(self, raft_id: str | None) -> bool:
        """Begin to hand over, to the one that is furthest when none is named; False: to nobody."""
        if self.__raftState != LEADER:
            return False
        now = self._clock()
        alive = now - self._timing.step_down_s
        candidates = [
            (self.__raftMatchIndex[node], node.id)
            for node in self.__otherNodes
            if node in self.__connectedNodes
            and self._heard.get(node.id, float("-inf")) > alive
            and raft_id in {None, node.id}
        ]
        if not candidates:
            return False
        self._transfer = (max(candidates)[1], now + self._timing.election_max_s)
        self._host.kick()
        return True

    def _continue_transfer(self, now: float) -> None:
        """Send the order once the successor has our whole log; give up after an election."""
        if self._transfer is None:
            return
        raft_id, deadline = self._transfer
        if now > deadline:
            self._transfer = None
        elif self.__raftMatchIndex.get(engine_core.Node(raft_id)) == self._journal.last_index:
            # A delayed order may break the stickiness later: no lease in this term any more.
            self._lease_void_term = self.__raftCurrentTerm
            self._host.send(raft_id, TimeoutNow(self.__raftCurrentTerm))

    def _on_timeout_now(self, sender: str, message: TimeoutNow) -> None:
        leads = self.__raftLeader is not None and self.__raftLeader.id == sender
        if leads and message.term == self.__raftCurrentTerm and self._electable():
            self._ordered_term = message.term
            self._host.kick()
