"""The log in memory, in the shape that the engine expects, and its way to the disk.

The engine reads and appends here; ``flush`` hands what is new to the log lane as one batch, one
batch at a time (group commit), and ``durable_index``/``durable_sequence`` say how far the disk is.
Nothing here waits: whoever makes a promise asks first whether it is durable.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import msgspec

from swarmops.raft.disk import Lanes
from swarmops.raft.logwriter import Batch, LogWriter
from swarmops.raft.records import Entry
from swarmops.raft.termfile import TermState

NO_OP = b"\x01"


class Journal:
    """Entries after and including a sentinel that is known to be committed."""

    def __init__(
        self,
        *,
        sentinel: Entry,
        entries: list[Entry],
        term: TermState,
        writer: LogWriter,
        lanes: Lanes,
    ) -> None:
        self._entries = [sentinel, *entries]
        self._term = term
        self._writer = writer
        self._lanes = lanes
        self._next = Batch()
        self._flying: Batch | None = None
        self._flights = 0
        self._flying_index = 0
        self._flying_sequence = 0
        self._unnoted = True
        self.sequence = 0
        self.durable_sequence = 0
        self.term_sequence = 0
        self.durable_index = self._entries[-1][1]
        self.bytes_total = sum(len(entry[0]) for entry in self._entries)
        self.error: OSError | None = None
        self.on_durable: Callable[[], None] = lambda: None
        self.on_error: Callable[[OSError], None] = lambda _error: None

    # The engine's own interface, under its names.

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append one entry."""
        entry = (command, idx, term)
        self._entries.append(entry)
        self._next.entries.append(entry)
        self.bytes_total += len(command)
        self.sequence += 1

    def extend(self, entries: list[Entry]) -> None:
        """Append entries that follow the last."""
        self._entries.extend(entries)
        self._next.entries.extend(entries)
        self.bytes_total += sum(len(entry[0]) for entry in entries)
        self.sequence += 1

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 - the engine's name
        """Drop the entry at a position and all after it; the next append makes it durable."""
        first = self._entries[position][1] if position < len(self._entries) else None
        if first is None:
            return
        self.bytes_total -= sum(len(entry[0]) for entry in self._entries[position:])
        del self._entries[position:]
        pending = self._next.entries
        while pending and pending[-1][1] >= first:
            pending.pop()
        self.durable_index = min(self.durable_index, first - 1)
        self._flying_index = min(self._flying_index, first - 1)

    def deleteEntriesTo(self, position: int) -> None:  # noqa: N802 - the engine's name
        """Forget the entries before a position, which becomes the sentinel."""
        self.bytes_total -= sum(len(entry[0]) for entry in self._entries[:position])
        del self._entries[:position]

    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def setCurrentTerm(self, term: int, vote: str | None) -> None:  # noqa: N802 - as above
        """Set term and vote; what rests on them waits for ``term_is_durable``."""
        if (term, vote) != (self._term.term, self._term.vote):
            self._term = msgspec.structs.replace(self._term, term=term, vote=vote)
            self._next.term = self._term
            self.sequence += 1
            self.term_sequence = self.sequence

    def getCurrentTerm(self) -> int:  # noqa: N802 - as above
        """Return the newest term."""
        return self._term.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 - as above
        """Return whom this member voted for in it."""
        return self._term.vote

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802 - as above
        """Do nothing: a commit index is learnt again after a restart, never trusted from disk."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802 - as above
        """Return what is known to be committed before anyone says so: the sentinel."""
        return self._entries[0][1]

    def onOneSecondTimer(self) -> None:  # noqa: N802 - as above
        """Note how far the disk is, when it went on; try again when it refused."""
        if self.error is not None:
            self.retry()
        elif self._unnoted:
            self._unnoted = False
            self._lanes.submit("log", self._writer.note, self._noted)

    def _noted(self, _result: None, error: BaseException | None) -> None:
        self._unnoted = self._unnoted or error is not None

    def _destroy(self) -> None:
        """Do nothing: the seam closes the writer."""

    # Ours.

    @property
    def first_index(self) -> int:
        """The sentinel's index."""
        return self._entries[0][1]

    @property
    def last_index(self) -> int:
        """The last entry's index."""
        return self._entries[-1][1]

    @property
    def term_is_durable(self) -> bool:
        """Say whether the current term and vote survive a loss of power."""
        return self.durable_sequence >= self.term_sequence

    @property
    def flight(self) -> int:
        """The number of the batch that is on its way to the disk, 0 when none is."""
        return self._flights if self._flying is not None else 0

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at an index, None when it isn't here."""
        position = index - self._entries[0][1]
        return self._entries[position][2] if 0 <= position < len(self._entries) else None

    def reset(self, index: int, term: int) -> None:
        """Forget everything: the log begins after ``index``, which a durable snapshot covers."""
        self._entries = [(NO_OP, index, term)]
        self._next.entries = []
        self._next.reset = (index, term)
        self._flying_index = self.durable_index = index
        self.bytes_total = 0
        self.sequence += 1

    def compact(self, first_index: int, done: Callable[[], None]) -> None:
        """Forget what a durable snapshot covers, here and on disk."""
        position = first_index - self.first_index
        if position > 0:
            self.deleteEntriesTo(position)

        def finished(_result: None, error: BaseException | None) -> None:
            if error is not None:
                self._failed(error)
            done()

        self._lanes.submit("log", lambda: self._writer.compact(first_index), finished)

    def flush(self) -> None:
        """Send what is new to the disk, unless a batch is under way or the disk refuses."""
        if self.error is None and self.sequence != self.durable_sequence:
            self._send()

    def _send(self) -> None:
        if self._flying is not None:
            return
        batch, self._next = self._next, Batch()
        self._flying = batch
        self._flights += 1
        self._flying_index, self._flying_sequence = self.last_index, self.sequence
        self._lanes.submit("log", lambda: self._writer.commit(batch), self._landed)

    def retry(self) -> None:
        """Try the refused batch again; until it is written, the disk counts as refusing."""
        if self.error is None:
            return
        if self.sequence == self.durable_sequence:
            self.error = None
        else:
            self._send()

    def _landed(self, _result: None, error: BaseException | None) -> None:
        batch, self._flying = self._flying, None
        if error is not None:
            # Whatever it was (no memory, a fault of ours): what was not written is not promised.
            self._put_back(batch or Batch())
            self._failed(error)
            return
        self.error = None
        self.durable_sequence = self._flying_sequence
        self.durable_index = max(self.durable_index, self._flying_index)
        self._unnoted = True
        self.on_durable()
        self.flush()

    def _failed(self, error: BaseException) -> None:
        first, self.error = self.error is None, _as_os_error(error)
        if first:
            self.on_error(self.error)

    def _put_back(self, batch: Batch) -> None:
        """Join a refused batch with what came since, so that it is written first."""
        newer, older = self._next, batch.entries
        if newer.reset is not None:
            older = []
        elif newer.entries:
            older = [entry for entry in older if entry[1] < newer.entries[0][1]]
        self._next = Batch(
            term=newer.term or batch.term,
            reset=newer.reset or batch.reset,
            entries=older + newer.entries,
        )


def _as_os_error(error: BaseException) -> OSError:
    if isinstance(error, OSError):
        return error
    return OSError(errno.EIO, f"{type(error).__name__}: {error}")
