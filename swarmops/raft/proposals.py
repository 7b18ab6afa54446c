"""What this member has proposed and not yet seen applied: numbered, sent, sent again, answered.

Owned by ``Run``. A request goes to whoever leads, under the same number however often it is sent;
it is answered when it is applied here, or when its bound has passed. Never applies anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from swarmops.raft import commands
from swarmops.raft.errors import NoLeader, OutcomeUnknown, ProposalTimeout
from swarmops.raft.messages import Forward, Message
from swarmops.raft.seam import Clock, Timing

_FORWARD_BYTES = 1024 * 1024
_KEPT_BYTES = 1024
"""What a proposal takes beside its data while it waits: many small ones are bounded too."""


class _Pending:
    __slots__ = ("data", "deadline", "future", "resend_at", "sendings")

    def __init__(self, data: bytes, deadline: float, future: asyncio.Future[Any]) -> None:
        self.data = data
        self.deadline = deadline
        self.future = future
        self.sendings = 0
        self.resend_at = 0.0


class Proposals:
    """One session: this member's run. Its numbers begin at 1."""

    def __init__(self, session: int, clock: Clock, timing: Timing) -> None:
        self.session = session
        self._clock = clock
        self._timing = timing
        self._next_number = 1
        self._pending: dict[int, _Pending] = {}
        self._unsent: dict[int, None] = {}
        self._bytes = 0
        self._room: deque[asyncio.Future[None]] = deque()

    def any_pending(self) -> bool:
        """Say whether anybody waits for an answer."""
        return bool(self._pending)

    def is_full(self) -> bool:
        """Say whether a new proposal has to wait for older ones."""
        return self._bytes >= self._timing.pending_bytes

    async def wait_for_room(self, timeout_s: float) -> None:
        """Wait until older proposals are answered; raises ProposalTimeout."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        timer = self._clock.call_later(timeout_s, _expire, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._admit()  # who was let in has gone away: the next one may
            raise
        finally:
            timer.cancel()
            waiter.cancel()

    def add(self, data: bytes, timeout_s: float) -> asyncio.Future[Any]:
        """Take a proposal; its future is answered within the bound."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number, self._next_number = self._next_number, self._next_number + 1
        self._pending[number] = _Pending(data, self._clock.time() + timeout_s, future)
        self._unsent[number] = None
        self._bytes += len(data) + _KEPT_BYTES
        return future

    def applied(self, number: int, result: object, error: BaseException | None) -> None:
        """Answer a request that was applied here."""
        pending = self._take(number)
        if pending is not None and not pending.future.done():
            if error is not None:
                pending.future.set_exception(error)
            else:
                pending.future.set_result(result)

    def applied_unseen(self, was_applied: Callable[[int, int], bool]) -> None:
        """Answer what a snapshot covers: it was applied, with a result unknown here."""
        for number in [n for n in self._pending if was_applied(self.session, n)]:
            self.applied(
                number,
                None,
                OutcomeUnknown(
                    "the change was made, but this manager was too far behind to see how"
                ),
            )

    def refused(self, numbers: list[int]) -> None:
        """Send these again soon, to whoever leads then: the asked member doesn't."""
        soon = self._clock.time() + self._timing.heartbeat_s
        for number in numbers:
            pending = self._pending.get(number)
            if pending is not None:
                pending.resend_at = min(pending.resend_at, soon)

    def resend_all(self) -> None:
        """Send all again: the leader changed, what is unanswered may be lost, or may not."""
        self._unsent = dict.fromkeys(self._pending)

    def expire(self, now: float) -> None:
        """Answer what is past its bound; queue again what stayed unanswered too long."""
        for number, pending in list(self._pending.items()):
            if pending.future.done():
                self._take(number)
            elif pending.deadline <= now:
                self.applied(number, None, _too_late(pending))
            elif pending.sendings and pending.resend_at <= now:
                self._unsent[number] = None

    def close(self, error: BaseException) -> None:
        """Answer everyone: this member stops."""
        for number in list(self._pending):
            self.applied(number, None, error)

    def send(
        self,
        leader: str | None,
        me: str,
        submit: Callable[[list[bytes]], bool],
        send: Callable[[str, Message], bool],
    ) -> None:
        """Hand what is unsent to the leader: into the own log, or forwarded in batches."""
        if not self._unsent or leader is None:
            return
        numbers = [number for number in self._unsent if number in self._pending]
        floor = next(iter(self._pending), self._next_number)
        if leader == me:
            encoded = [
                commands.regular(self.session, number, floor, self._pending[number].data)
                for number in numbers
            ]
            if submit(encoded):
                self._mark_sent(numbers)
            return
        for batch in self._batches(numbers):
            items = [(number, self._pending[number].data) for number in batch]
            if not send(leader, Forward(self.session, floor, items)):
                return
            self._mark_sent(batch)

    def _batches(self, numbers: list[int]) -> list[list[int]]:
        batches: list[list[int]] = []
        size = _FORWARD_BYTES
        for number in numbers:
            length = len(self._pending[number].data)
            if size + length > _FORWARD_BYTES:
                batches.append([])
                size = 0
            batches[-1].append(number)
            size += length
        return batches

    def _mark_sent(self, numbers: list[int]) -> None:
        now = self._clock.time()
        for number in numbers:
            self._unsent.pop(number, None)
            pending = self._pending[number]
            # Each time later than before: a busy leader is not helped by more of the same.
            pending.resend_at = now + self._timing.retry_s * 2 ** min(pending.sendings, 4)
            pending.sendings += 1

    def _take(self, number: int) -> _Pending | None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            self._unsent.pop(number, None)
            self._bytes -= len(pending.data) + _KEPT_BYTES
            self._admit()
        return pending

    def _admit(self) -> None:
        """Let the first in who waits for room, if there is some."""
        while self._room and not self.is_full():
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break


def _too_late(pending: _Pending) -> Exception:
    if not pending.sendings:
        return NoLeader()
    return ProposalTimeout(
        "the managers did not agree on the change in time: it may still be made; look before "
        "trying again"
    )


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(
            ProposalTimeout("too many changes are under way: nothing was changed, try again later")
        )
