"""Numbered questions that one member asks of the leader, and which answer is whose.

Used by ``requests``. An answer counts if it is of the kind asked for, from whom was asked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from swarmops.raft.engine import Engine
from swarmops.raft.messages import AdminReply, Message, ReadIndexReply
from swarmops.raft.waiting import Waiters

_Reply = TypeVar("_Reply", ReadIndexReply, AdminReply)


class _Question:
    """What was asked of a member, and its answer as soon as that is there."""

    __slots__ = ("answered", "kind", "of", "reply")

    def __init__(self, of: str, kind: type[Message]) -> None:
        self.of = of
        self.kind = kind
        self.reply: Message | None = None
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def answer(self, sender: str, message: Message) -> None:
        """Take the first answer of the kind asked for, from whom was asked."""
        if sender == self.of and type(message) is self.kind and not self.answered.done():
            self.reply = message
            self.answered.set_result(True)


class Asking:
    """What this member has asked and not yet heard."""

    def __init__(
        self,
        *,
        engine: Engine,
        waiters: Waiters,
        send: Callable[[str, Message], bool],
        is_out: Callable[[], bool],
        rng: random.Random,
    ) -> None:
        self._engine = engine
        self._waiters = waiters
        self._send = send
        self._is_out = is_out
        # An answer to what a former run of this member asked must fit no question of this one.
        self._number = rng.getrandbits(62)
        self._asked: dict[int, _Question] = {}

    async def ask(
        self, leader: str, kind: type[_Reply], build: Callable[[int], Message], timeout_s: float
    ) -> _Reply | None:
        """Send a numbered question; None when no answer of this kind comes from this leader."""
        self._number += 1
        number = self._number
        if not self._send(leader, build(number)):
            return None
        question = self._asked[number] = _Question(leader, kind)
        try:
            engine = self._engine
            await self._waiters.until(
                lambda: engine.leader() != leader or self._is_out(), timeout_s, question.answered
            )
            return question.reply if isinstance(question.reply, kind) else None
        finally:
            del self._asked[number]

    def answered(self, sender: str, message: ReadIndexReply | AdminReply) -> None:
        """Take an answer; one to no question of ours is dropped."""
        if question := self._asked.get(message.request):
            question.answer(sender, message)
