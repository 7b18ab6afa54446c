"""Questions that only the leader can answer, asked from any member: reads and membership.

Owned by ``Run``. Each is answered here when this member leads, else sent to the leader and asked
again, of whoever leads then, until the caller's bound. Every action may be asked for twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from swarmops.raft.asking import Asking
from swarmops.raft.changes import REFUSALS, RETRY, Changes
from swarmops.raft.engine import Engine
from swarmops.raft.errors import MembershipRefused, NoLeader, ProposalTimeout, Stopped
from swarmops.raft.messages import Admin, AdminReply, Message, ReadIndex, ReadIndexReply
from swarmops.raft.seam import Clock, Member, Timing
from swarmops.raft.sharing import Shared
from swarmops.raft.waiting import Waiters

_INSTANT_S = 1e-6
"""What is left of a bound may be less than a clock can tell: then it is over."""


class Requests:
    """Reads and membership changes of one member, and those that others ask of it."""

    def __init__(
        self,
        *,
        me: str,
        engine: Engine,
        clock: Clock,
        timing: Timing,
        waiters: Waiters,
        send: Callable[[str, Message], bool],
        is_out: Callable[[], bool],
        rng: random.Random,
    ) -> None:
        self._is_out = is_out
        self._me = me
        self._engine = engine
        self._clock = clock
        self._timing = timing
        self._waiters = waiters
        self._send = send
        self._asking = Asking(engine=engine, waiters=waiters, send=send, is_out=is_out, rng=rng)
        self._changes = Changes(me=me, engine=engine, timing=timing, waiters=waiters)
        # Each costs messages, and waits to be looked at: many readers ask together.
        self._questions = Shared(clock, self._ask_leader, timing.heartbeat_s)
        self._rounds = Shared(clock, self._confirm, timing.heartbeat_s)
        self._tasks: set[asyncio.Task[None]] = set()

    async def read_barrier(self, timeout_s: float) -> None:
        """Return when all that was acknowledged before the call is applied here."""
        deadline = self._clock.time() + timeout_s
        patience_s = self._timing.retry_s / 4
        while (left := deadline - self._clock.time()) > _INSTANT_S:
            leader = self._engine.leader()
            if self._is_out():
                raise Stopped("this manager was stopped or removed: ask another one")
            if leader == self._me:
                index = await self._read_index(left)
            elif leader is not None:
                # The question or its answer may be lost; a busy leader gets longer each time.
                index = await self._ask_read_index(min(left, patience_s))
                patience_s *= 2
            else:
                index = 0
            if index:
                if await self._until_applied(index, deadline - self._clock.time()):
                    return
            else:
                await self._waiters.pause(min(0.02, left))
        raise NoLeader

    async def _until_applied(self, index: int, timeout_s: float) -> bool:
        return await self._waiters.until(lambda: self._engine.applied_index() >= index, timeout_s)

    async def _read_index(self, timeout_s: float) -> int:
        """As leader: return the commit index once it is sure that no newer leader exists, or 0."""
        engine = self._engine
        if not engine.is_settled():
            return 0
        if engine.lease_reads():
            return int(engine.commit_index())
        return await self._rounds.answer(min(timeout_s, self._timing.step_down_s))

    async def _confirm(self, timeout_s: float) -> int:
        """As leader, for all reads that wait for a round: begin one, see it through."""
        engine = self._engine
        if not engine.is_settled() or self._is_out():
            return 0
        index = int(engine.commit_index())
        number, term = engine.begin_round(), engine.term()

        def gone() -> bool:
            return engine.term() != term or not engine.is_leading()

        await self._waiters.until(lambda: gone() or engine.round_confirmed(number), timeout_s)
        return 0 if gone() or not engine.round_confirmed(number) else index

    async def _ask_read_index(self, timeout_s: float) -> int:
        return await self._questions.answer(timeout_s)

    async def _ask_leader(self, timeout_s: float) -> int:
        """Ask whoever leads now, for all reads that wait to ask."""
        leader = self._engine.leader()
        if leader is None or leader == self._me or self._is_out():
            return 0
        reply = await self._asking.ask(leader, ReadIndexReply, ReadIndex, timeout_s)
        return 0 if reply is None else reply.index

    async def change(
        self, action: str, member: Member | None, raft_id: str, timeout_s: float
    ) -> None:
        """Have the leader do an action (add, remove, transfer); raises its refusal."""
        deadline = self._clock.time() + timeout_s
        was_asked = False
        while (left := deadline - self._clock.time()) > _INSTANT_S:
            leader = self._engine.leader()
            error, text = RETRY, ""
            if leader == self._me:
                error, text = await self._changes.make(action, member, raft_id, left)
            elif leader is not None:
                bound_s = min(left, 5.0)

                def build(number: int, bound_s: float = bound_s) -> Message:
                    return Admin(number, action, member, raft_id, bound_s)

                reply = await self._asking.ask(leader, AdminReply, build, bound_s)
                if reply is not None:
                    error, text = reply.error, reply.text
            was_asked = was_asked or leader is not None
            if not error or (action == "remove" and raft_id == self._me and self._is_out()):
                return
            if self._is_out():
                raise Stopped("this manager was stopped or removed: ask another one")
            if error != RETRY:
                raise REFUSALS.get(error, MembershipRefused)(text)
            await self._waiters.pause(min(0.05, left))
        if not was_asked:
            raise NoLeader
        raise ProposalTimeout(
            "the managers did not agree on the change of membership in time: it may still be made"
        )

    def received(self, sender: str, message: Message) -> None:
        """Take a question or an answer."""
        match message:
            case ReadIndexReply() | AdminReply():
                self._asking.answered(sender, message)
            case ReadIndex():
                if self._engine.is_settled() and self._engine.lease_reads():
                    index = int(self._engine.commit_index())
                    self._send(sender, ReadIndexReply(message.request, index))
                else:
                    self._begin(self._serve_read(sender, message))
            case Admin():
                self._begin(self._serve_admin(sender, message))

    async def _serve_read(self, sender: str, message: ReadIndex) -> None:
        index = await self._read_index(self._timing.step_down_s)
        self._send(sender, ReadIndexReply(message.request, index))

    async def _serve_admin(self, sender: str, message: Admin) -> None:
        error, text = RETRY, ""
        if self._engine.is_leading():
            bound_s = min(message.bound_s, 60.0)
            error, text = await self._changes.make(
                message.action, message.member, message.raft_id, bound_s
            )
        self._send(sender, AdminReply(message.request, error, text))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop serving."""
        self._questions.close()
        self._rounds.close()
        for task in self._tasks:
            task.cancel()
