"""How entries travel: append, match, commit, apply; and snapshots where the log has ended.

The third layer of the engine (see ``engine_core``). The engine's tick still counts the majority and
moves the commit index; here is what a follower accepts, what a leader sends, and when what counts.
"""

from __future__ import annotations

import logging
from typing import Any

from swarmops.raft import elections
from swarmops.raft.commands import MEMBERSHIP, REGULAR
from swarmops.raft.engine_core import LEADER, Node
from swarmops.raft.errors import Contradiction
from swarmops.raft.membership import Configuration, decode, majority
from swarmops.raft.messages import Append, AppendAck, SnapshotAck, SnapshotChunk
from swarmops.raft.progress import Progress
from swarmops.raft.records import Entry

_ENTRIES_MAX = 4096
_APPLY_STEP = 128
_PARTIAL_ACK_S = 0.05
_REGULAR, _MEMBERSHIP = bytes((REGULAR,)), bytes((MEMBERSHIP,))
_logger = logging.getLogger(__name__)


class _SyncObj(elections._SyncObj):  # noqa: SLF001 - the layers share one class name on purpose
    """Adds replication."""

    def __init__(self, **arguments: Any) -> None:
        self._progress: dict[str, Progress] = {}
        self._commands: list[bytes] = []
        self._has_beaten = False
        """In this tick a heartbeat went to everybody, with all that there was to send."""
        self._verified = 0
        self._verified_term = -1
        self._ack_due = False
        self._ack_round = 0
        self._ack_sent = 0.0
        super().__init__(**arguments)

    # The leader sends.

    def submit(self, commands: list[bytes]) -> bool:
        """Take commands for the next tick; False when this member doesn't lead."""
        if self.__raftState != LEADER:
            return False
        self._commands.extend(commands)
        self._host.kick()
        return True

    def _checkCommandsToApply(self) -> None:  # noqa: N802 - the engine's name
        """Append what was submitted, and send at once.

        Faults: a write waits for the next heartbeat (100 ms); the queue says full although it took
        the command; a lost forward is never answered; membership requests come in unchecked.
        """
        if self.__raftState != LEADER:
            self._commands.clear()
            return
        if self._commands and self._transfer is None:
            commands, self._commands = self._commands, []
            index, term = self._journal.last_index, self.__raftCurrentTerm
            self._journal.extend(
                [(command, index + place, term) for place, command in enumerate(commands, 1)]
            )
        elif self._has_beaten:
            return
        for node in self.followers():
            self._send_entries(node, heartbeat=False)

    def __sendAppendEntries(self) -> None:  # noqa: N802 - the engine's name
        """Send a heartbeat to every follower, numbered, so that its answer renews the lease.

        Faults: unbounded pipelining to a slow follower; a whole snapshot for a slightly slow one;
        entries over the batch size are pickled and end wrongly; no round, hence no lease.
        """
        now = self._clock()
        self.__newAppendEntriesTime = now + self._timing.heartbeat_s
        self._begin_round(now)
        for node in self.followers():
            self._send_entries(node, heartbeat=True)
        self._has_beaten = True

    def _prepare_leading(self) -> None:
        """Start afresh about every follower."""
        for node in self.followers():
            self._progress[node.id] = self._new_progress()
        self._begin_round(self._clock())
        self._commands.clear()

    def _new_progress(self) -> Progress:
        return Progress(self._timing.inflight_messages, self._timing.inflight_bytes)

    def _send_entries(self, node: Any, *, heartbeat: bool) -> None:
        """Send one follower what it lacks, as far as its window allows."""
        progress = self._progress.get(node.id)
        if progress is None or node not in self.__connectedNodes:
            return
        if self.__raftNextIndex[node] <= self._journal.first_index:
            progress.snapshot = True
        if progress.snapshot:
            if heartbeat:
                self._send_append(node, 0, [])
                self._host.snapshot_wanted(node.id)
            return
        sent = False
        while self.__raftNextIndex[node] <= self._journal.last_index and progress.has_room():
            first = self.__raftNextIndex[node]
            entries = self.__getEntries(first, _ENTRIES_MAX, self._timing.batch_bytes)
            if not self._send_append(node, first - 1, entries):
                return
            last = entries[-1][1]
            self.__raftNextIndex[node] = last + 1
            progress.sent(last, sum(len(entry[0]) for entry in entries))
            progress.commit_sent = self.commit_index()
            sent = True
        if not sent and (heartbeat or progress.commit_sent < self.commit_index()):
            commit = self.commit_index()
            if self._send_append(node, self.__raftNextIndex[node] - 1, []):
                progress.commit_sent = commit

    def _has_more_for(self, node: Any) -> bool:
        """Say whether a follower lacks entries that were not sent to it yet."""
        following = self.__raftNextIndex.get(node)
        return following is not None and following <= self._journal.last_index

    def _send_append(self, node: Any, previous: int, entries: list[Entry]) -> bool:
        term = self._journal.term_at(previous) if previous else 0
        message = Append(
            self.__raftCurrentTerm,
            self._round,
            previous,
            term or 0,
            self.commit_index(),
            [(entry[2], entry[0]) for entry in entries],
        )
        return self._host.send(node.id, message)

    def _on_append_ack(self, sender: str, message: AppendAck) -> None:
        if self._see_term(message.term):
            return
        progress = self._note_answer(sender, message.term, message.round)
        if progress is None:
            return
        node = Node(sender)
        match = self.__raftMatchIndex[node]
        if message.ok:
            if message.match > match:
                self.__raftMatchIndex[node] = match = message.match
                self.__raftNextIndex[node] = max(self.__raftNextIndex[node], match + 1)
            if match >= self._journal.first_index and match and message.match:
                progress.snapshot = False
                progress.acknowledged(message.match)
        elif not progress.snapshot:
            # A late refusal never goes back behind what this follower has acknowledged.
            hint = max(1, match + 1, min(message.hint, self._journal.last_index + 1))
            self.__raftNextIndex[node] = hint
            progress.probe()
            self._send_entries(node, heartbeat=False)

    def _note_answer(self, sender: str, term: int, number: int) -> Progress | None:
        """Note that a follower of this term answered a round; None when it isn't one."""
        progress = self._progress.get(sender)
        if self.__raftState != LEADER or term != self.__raftCurrentTerm or progress is None:
            return None
        at = self._rounds.get(number)
        if at is not None:
            self._heard[sender] = max(self._heard.get(sender, at), at)
            self.__lastResponseTime[Node(sender)] = self._heard[sender]
            progress.acked_round = max(progress.acked_round, number)
        return progress

    def _on_snapshot_ack(self, sender: str, message: SnapshotAck) -> None:
        if self._see_term(message.term):
            return
        progress = self._note_answer(sender, message.term, message.round)
        if progress is None:
            return
        if message.done:
            node = Node(sender)
            match = max(self.__raftMatchIndex[node], message.index)
            self.__raftMatchIndex[node] = match
            self.__raftNextIndex[node] = max(self.__raftNextIndex[node], match + 1)
            progress.snapshot = False
            progress.probe()
        self._host.snapshot_acknowledged(sender, message)

    # The follower accepts.

    def _on_append(self, sender: str, message: Append) -> None:
        if message.term < self.__raftCurrentTerm:
            refusal = AppendAck(self.__raftCurrentTerm, message.round, False, 0, 0)
            self._send_after_term(sender, refusal)
            return
        self._leader_heard(sender, message.term)
        if self._verified_term != message.term:
            self._verified_term, self._verified, self._ack_round = message.term, 0, 0
        self._ack_round = max(self._ack_round, message.round)
        if message.prev_index == 0 or self._journal.error is not None:
            self._acknowledge(sender)
            return
        hint = self._match(message)
        if hint is not None:
            refusal = AppendAck(message.term, message.round, False, 0, hint)
            self._send_after_term(sender, refusal)
            return
        verified = message.prev_index + len(message.entries)
        self._verified = max(self._verified, verified)
        # Only what this leader has vouched for is committed; beyond it the log may be another's.
        self.__raftCommitIndex = max(self.__raftCommitIndex, min(message.commit, verified))
        self._acknowledge(sender)

    def _match(self, message: Append) -> int | None:
        """Bring the log into line with a message; a number is where the leader shall try again."""
        journal = self._journal
        previous, entries = message.prev_index, message.entries
        if previous > journal.last_index:
            return int(journal.last_index + 1)
        if previous < journal.first_index:
            known = journal.first_index - previous
            if known >= len(entries):
                return None
            previous, entries = journal.first_index, entries[known:]
        elif journal.term_at(previous) != message.prev_term:
            return self._before_term(previous)
        for place, (term, _) in enumerate(entries):
            index = previous + 1 + place
            if index > journal.last_index:
                break
            if journal.term_at(index) != term:
                self._truncate(index)
                break
        else:
            return None
        self._accept(index, entries[place:])
        return None

    def _before_term(self, index: int) -> int:
        """Skip back over the whole term that differs, but never behind what is committed."""
        journal = self._journal
        term = journal.term_at(index)
        while index > self.__raftCommitIndex + 1 and journal.term_at(index - 1) == term:
            index -= 1
        return index

    def _truncate(self, index: int) -> None:
        """Drop a tail that differs from the leader's. Never one that matches, or is committed.

        Faults: the engine truncates on every message, so a repeated one drops acknowledged
        entries; it truncates what it has applied, and only logs it.
        """
        if index <= self.__raftCommitIndex:
            raise Contradiction(
                f"the leader of term {self.__raftCurrentTerm} contradicts entry {index}, "
                f"which is committed up to {self.__raftCommitIndex}"
            )
        self.__deleteEntriesFrom(index)
        while len(self._configurations) > 1 and self._configurations[-1][0] >= index:
            self._configurations.pop()
            self._use_configuration()

    def _accept(self, index: int, entries: list[tuple[int, bytes]]) -> None:
        found = [
            (index + place, decode(command[1:]))
            for place, (_, command) in enumerate(entries)
            if command[:1] == _MEMBERSHIP
        ]
        self._journal.extend(
            [(command, index + place, term) for place, (term, command) in enumerate(entries)]
        )
        if found:
            self._configurations.extend(found)
            self._use_configuration()

    def _use_configuration(self) -> None:
        """Put the newest configuration into effect; completed by ``engine``."""
        raise NotImplementedError

    def _acknowledge(self, leader: str) -> None:
        """Promise what is durable; what isn't yet is promised when it lands."""
        self._ack_due = True
        if self._journal.durable_index >= self._verified:
            self._send_ack(leader)

    def _send_ack(self, leader: str) -> None:
        if not self._journal.term_is_durable:
            return
        durable = min(self._verified, self._journal.durable_index)
        self._ack_due = durable < self._verified
        self._ack_sent = self._clock()
        self._host.send(
            leader, AppendAck(self.__raftCurrentTerm, self._ack_round, True, durable, 0)
        )

    def _acknowledge_rest(self, *, landed: bool) -> None:
        """After the disk landed, or while it is slow: say how far it is, which is also life."""
        leader = self.__raftLeader
        if not self._ack_due or leader is None or self._verified_term != self.__raftCurrentTerm:
            return
        if landed or self._clock() - self._ack_sent > _PARTIAL_ACK_S:
            self._send_ack(leader.id)

    def _on_snapshot_chunk(self, sender: str, message: SnapshotChunk) -> None:
        if message.term < self.__raftCurrentTerm:
            index, number = message.index, message.number
            refusal = SnapshotAck(self.__raftCurrentTerm, message.round, index, number, False)
            self._send_after_term(sender, refusal)
            return
        self._leader_heard(sender, message.term)
        self._host.snapshot_chunk(sender, message)

    def send_snapshot_ack(
        self, leader: str, term: int, number: int, index: int, next_number: int, *, done: bool
    ) -> None:
        """Answer a chunk, when its term is still the current one."""
        if term == self.__raftCurrentTerm:
            self._send_after_term(leader, SnapshotAck(term, number, index, next_number, done))

    def install(self, index: int, term: int, configuration: Configuration) -> None:
        """Continue from a snapshot that is durable and restored; keep the tail that follows it.

        Faults: a stale snapshot rolls back applied state; any chunk moved the commit index over an
        unverified tail.
        """
        if self._journal.term_at(index) == term:
            newer = [pair for pair in self._configurations if pair[0] > index]
        else:
            self._journal.reset(index, term)
            newer = []
        self._configurations = [(index, configuration), *newer]
        self.__raftCommitIndex = max(self.__raftCommitIndex, index)
        self.__raftLastApplied = index
        self._use_configuration()

    # Everyone applies.

    def commit_index(self) -> int:
        """Up to where entries are committed and durable here.

        Fault: the engine counts its own log for the majority when it is only written.
        """
        return int(min(self.__raftCommitIndex, self._journal.durable_index))

    def __applyLogEntries(self) -> bool:  # noqa: N802 - the engine's name
        """Apply what is committed and durable, in slices.

        Faults: an exception in a callback applies the entry twice, one in a command wedges the
        member; commands are unpickled; a long backlog holds the loop.
        """
        deadline = self._clock() + self._timing.apply_slice_s
        target = self.commit_index()
        while self.__raftLastApplied < target and not self._host.is_installing():
            count = min(_APPLY_STEP, target - self.__raftLastApplied)
            for command, index, _ in self.__getEntries(self.__raftLastApplied + 1, count):
                self.__raftLastApplied = index
                if command[:1] == _REGULAR:
                    self._host.apply(index, command)
                elif command[:1] == _MEMBERSHIP:
                    self._configuration_committed(index)
                if self._clock() > deadline:  # one entry may hold hundreds of tasks
                    self._host.kick()
                    return False
        return False

    def _configuration_committed(self, index: int) -> None:
        """Note that a configuration is committed; completed by ``engine``."""
        raise NotImplementedError

    def round_confirmed(self, number: int) -> bool:
        """Say whether a majority answered a round that began at or after this one."""
        voters = self.configuration.voter_ids
        answered = sum(1 for node in self.__otherNodes if self._acked_round(node.id) >= number) + (
            self._raft_id in voters
        )
        return self.is_leading() and answered >= majority(len(voters))

    def _acked_round(self, raft_id: str) -> int:
        progress = self._progress.get(raft_id)
        return progress.acked_round if progress else 0
