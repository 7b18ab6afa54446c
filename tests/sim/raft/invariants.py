"""What must hold at every step, checked from outside, with a god's view of all members.

``Invariants`` keeps what was ever seen: who led which term, which entry stood behind which, what
was committed, applied, promised and answered. Each check looks at what is new since the last one.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from swarmops.raft import termfile
from swarmops.raft.journal import Journal
from swarmops.raft.messages import Append, AppendAck, Message, SnapshotAck, Vote, VoteReply
from swarmops.raft.records import Entry
from tests.sim.raft.trace import Trace, Violation

if TYPE_CHECKING:
    from tests.sim.raft.member import SimMember


class WatchedJournal(Journal):
    """The journal, telling what is written into it and cut from it."""

    invariants: Invariants
    owner: SimMember

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append one."""
        previous = self[-1]
        super().add(command, idx, term)
        self.invariants.appended(self.owner, previous, [(command, idx, term)])  # type: ignore[arg-type]

    def extend(self, entries: list[Entry]) -> None:
        """Append several."""
        previous = self[-1]
        super().extend(entries)
        self.invariants.appended(self.owner, previous, entries)  # type: ignore[arg-type]

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 - the engine's name
        """Cut the tail."""
        if position < len(self):
            self.invariants.truncated(self.owner, self[position][1])  # type: ignore[arg-type]
        super().deleteEntriesFrom(position)

    def reset(self, index: int, term: int) -> None:
        """Begin after a snapshot."""
        self.invariants.truncated(self.owner, 0)
        super().reset(index, term)


class Invariants:
    """One group's."""

    def __init__(self, trace: Trace, members: dict[str, SimMember]) -> None:
        self._trace = trace
        self._members = members
        self.leaders: dict[int, str] = {}
        self.newest_term = 0
        self.entries: dict[tuple[int, int], tuple[int, int]] = {}
        self.committed: dict[int, tuple[int, int]] = {}
        self.committed_in: dict[int, int] = {}
        """The term of whoever first knew an entry to be committed: its leader."""
        self.committed_to = 1
        self.applied: dict[int, tuple[int, int]] = {}
        self.applied_ids: set[int] = set()
        self.votes: dict[tuple[int, str], str] = {}
        self.failure: Violation | None = None

    def fail(self, member: SimMember | None, what: str) -> None:
        """Stop the run, even when what called this catches all errors."""
        name = member.name if member else "the group"
        self._trace.add(name, "VIOLATION: %s", what)
        self.failure = self.failure or Violation(f"{name}: {what}")
        raise self.failure

    # Logs.

    def appended(self, member: SimMember, previous: Entry, entries: list[Entry]) -> None:
        """Log matching: the same index and term means the same entry, and the same before it."""
        _, before_index, before_term = previous
        for command, index, term in entries:
            if index != before_index + 1 or term < before_term:
                self.fail(
                    member, f"entry {index} of term {term} after {before_index}/{before_term}"
                )
            content = (before_term, zlib.crc32(command))
            if self.entries.setdefault((index, term), content) != content:
                self.fail(member, f"log matching: entry {index} of term {term} is two entries")
            if command[:1] == b"\x02":
                self._changes(member, index, term)
            before_index, before_term = index, term

    def _changes(self, member: SimMember, index: int, term: int) -> None:
        """One change of membership at a time: a leader makes none before the last is committed."""
        engine: Any = member.raft._run.engine if member.raft._run is not None else None
        if engine is not None and engine.is_leading() and engine.term() == term:
            last = engine.configuration_index()
            if last > engine.commit_index():
                self.fail(member, f"changes the members at {index} before {last} is committed")

    def truncated(self, member: SimMember, first: int) -> None:
        """Drop promises that the cut makes void; cutting committed entries is never right."""
        if first and first <= member.commit_seen:
            self.fail(member, f"truncates committed entries from {first} on")
        if first:
            member.promised = {i: t for i, t in member.promised.items() if i < first}
        else:
            member.promised = {}

    def opened(self, member: SimMember) -> None:
        """Durability: what was promised before the crash is there after it."""
        journal: Journal = member.raft._running.journal
        if journal.getCurrentTerm() < member.promised_term:
            self.fail(member, f"forgot term {member.promised_term}")
        last = member.raft._running.journal.last_index
        if last < member.promised_snapshot:
            self.fail(member, f"ends at {last}, promised a snapshot at {member.promised_snapshot}")
        for index, term in member.promised.items():
            if index >= journal.first_index and journal.term_at(index) != term:
                found = journal.term_at(index)
                self.fail(member, f"lost entry {index} of term {term} (now {found}), promised")
        engine = member.raft._running.engine
        member.commit_seen = engine.commit_index()
        member.led_term = 0
        member.applied_seen = engine.applied_index()
        chain = self.applied.get(engine.applied_index())
        if chain is not None and chain[1] != member.machine.chain:
            self.fail(member, "restored another state than was applied at this index")
        entries: list[Entry] = journal[:]  # type: ignore[assignment]
        self.appended(member, entries[0], entries[1:])

    # Roles and commits.

    def after(self, member: SimMember) -> None:
        """Look at a member that did something."""
        run = member.raft._run
        if run is None or not member.is_running:
            return
        engine: Any = run.engine
        if run.stopped and not member.stopping:
            self.fail(member, "gave up by itself")
        if engine.is_leading():
            self._leads(member, engine)
        applied = engine.applied_index()
        if applied != member.applied_seen:
            if applied < member.applied_seen:
                self.fail(member, f"rolls back what it applied, from {member.applied_seen}")
            member.applied_seen = applied
        commit = engine.commit_index()
        if commit != member.commit_seen:
            self._commits(member, engine, commit)

    def _leads(self, member: SimMember, engine: Any) -> None:
        term = engine.term()
        if term != member.led_term:
            member.led_term = term
            self._trace.add(member.name, "leads term %d", term)
            self.newest_term = max(self.newest_term, term)
            other = self.leaders.setdefault(term, member.me.raft_id)
            if other != member.me.raft_id:
                self.fail(member, f"two leaders in term {term}: also {self._members[other].name}")
            on_disk = termfile.load(member.disk)
            if on_disk is None or on_disk.term < term:
                self.fail(member, f"leads term {term}, which is not on its disk")
            self._has_everything(member, term)
            for rival in self._members.values():
                if rival is not member and rival.is_running and rival.raft._run is not None:
                    old = rival.raft._running.engine
                    if old.is_leading() and old.term() < term and old.lease_reads():
                        self.fail(member, f"was elected within the lease of {rival.name}")
        elif term < self.newest_term and engine.lease_reads():
            self.fail(member, "serves reads under its lease although a newer leader was elected")

    def _has_everything(self, member: SimMember, term: int) -> None:
        """Leader completeness: all that was committed in earlier terms is in the new one's log.

        The term in which it was committed counts, not its own: a vote that comes late may yet make
        a leader of a term that the group has left, who lacks what was committed since. It can't
        commit anything.
        """
        journal: Journal = member.raft._running.journal
        for index in range(max(journal.first_index, 2), self.committed_to + 1):
            committed = self.committed.get(index)
            if (
                committed
                and self.committed_in[index] < term
                and journal.term_at(index) != committed[0]
            ):
                self.fail(member, f"leader completeness: entry {index} is not in its log")

    def _commits(self, member: SimMember, engine: Any, commit: int) -> None:
        if commit < member.commit_seen:
            self.fail(member, f"commit index went back from {member.commit_seen} to {commit}")
        journal: Journal = member.raft._running.journal
        for index in range(max(member.commit_seen + 1, journal.first_index, 2), commit + 1):
            command, _, term = journal[index - journal.first_index]
            found = (int(term), zlib.crc32(command))  # type: ignore[arg-type]
            if index == journal.first_index and index not in self.committed:
                continue
            if self._is_placeholder(journal, index, command):
                continue
            if self.committed.setdefault(index, found) != found:
                self.fail(
                    member,
                    f"two entries are committed at {index}: {found}, {self.committed[index]}",
                )
            self.committed_in.setdefault(index, engine.term())
        newest = member.raft._running.snapshots._newest
        if engine.applied_index() > max(commit, newest.index if newest else 0):
            self.fail(member, "applied what is not committed")
        member.commit_seen = commit
        self.committed_to = max(self.committed_to, commit)

    @staticmethod
    def _is_placeholder(journal: Journal, index: int, command: Any) -> bool:
        """A log that begins after a snapshot has a no-op where the snapshot's last entry was."""
        return index == journal.first_index and command == b"\x01"

    # The state machine and its clients.

    def apply(
        self, member: SimMember, index: int, command_id: int, chain: int, *, again: bool
    ) -> None:
        """State-machine equality, at each index; and no command twice."""
        if again:
            self.fail(member, f"applied command {command_id} twice, the second time at {index}")
        journal: Journal = member.raft._running.journal
        newest = member.raft._running.snapshots._newest
        if index > max(journal.durable_index, newest.index if newest else 0):
            self.fail(member, f"applies entry {index}, which is not durable here")
        found = (command_id, chain)
        if self.applied.setdefault(index, found) != found:
            self.fail(member, f"applied command {command_id} at {index}, others something else")
        self.applied_ids.add(command_id)
        self._trace.add(member.name, "applies %d: command %d", index, command_id)

    # Promises.

    def sent(self, member: SimMember, to: str, message: Message) -> None:
        """Note what a message promises; it must be true from here on, whatever crashes."""
        match message:
            case Append():
                member.promised_term = max(member.promised_term, message.term)
            case AppendAck():
                member.promised_term = max(member.promised_term, message.term)
                if message.ok and message.match:
                    self._acknowledged(member, message.match)
            case SnapshotAck():
                member.promised_term = max(member.promised_term, message.term)
                if message.done:
                    member.promised_snapshot = max(member.promised_snapshot, message.index)
            case VoteReply(pre=False):
                member.promised_term = max(member.promised_term, message.term)
                if message.granted:
                    self._voted(member, message.term, to)
            case Vote(pre=False):
                member.promised_term = max(member.promised_term, message.term)
                self._voted(member, message.term, member.me.raft_id)

    def _acknowledged(self, member: SimMember, index: int) -> None:
        journal: Journal = member.raft._running.journal
        term = journal.term_at(index)
        if term is None and index > journal.first_index:
            self.fail(member, f"acknowledges entry {index}, which it does not have")
        if term is not None:
            member.promised[index] = term

    def _voted(self, member: SimMember, term: int, candidate: str) -> None:
        if self.votes.setdefault((term, member.me.raft_id), candidate) != candidate:
            self.fail(member, f"votes twice in term {term}")
