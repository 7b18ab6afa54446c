"""One session with a manager: hello, heartbeats, statuses and logs out; assignments and news in.

The agent runs one after the other. A session ends with ``ConnectionError`` when the channel breaks
or the manager does not keep to the protocol; it never dials, and never decides about a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from itertools import count
from typing import Protocol

import msgspec

from swarmops.agent.log_reader import LogSource
from swarmops.agent.logs import LogStreams
from swarmops.agent.outbox import Outbox
from swarmops.model.node import NodeDescription
from swarmops.model.session import (
    Ack,
    Assignments,
    Away,
    Channel,
    Described,
    Frame,
    Heartbeat,
    Hello,
    Ingress,
    LogsMore,
    LogsStop,
    LogsWanted,
    ManagerFrame,
    NodeChanged,
    NodeTrouble,
    Statuses,
    StatusOf,
    Welcome,
    decode_manager_frame,
    encode,
)

BATCH_MAX = 500
"""Statuses in one frame."""
BATCH_BYTES_MAX = 1024 * 1024
"""They have some 300 bytes each, but errors and ports may be long: fewer go into a frame then."""
UNCONFIRMED_MAX = 8
"""A late acknowledgement still counts for so many batches."""


class SessionTiming(msgspec.Struct, frozen=True):
    """The session's limits, in seconds. The heartbeat period comes from the manager."""

    dial_timeout_s: float = 2.0
    dial_timeout_max_s: float = 10.0
    welcome_timeout_s: float = 5.0
    resend_s: float = 5.0
    describe_s: float = 20.0
    leave_timeout_s: float = 1.0
    backoff_step_s: float = 0.1
    backoff_max_s: float = 8.0
    steady_s: float = 2.0
    """A session that stood for so long was a good one: the next is dialled at once."""


USUAL = SessionTiming()


class Ends(Protocol):
    """What a session tells the agent."""

    def welcomed(self, frame: Welcome | NodeChanged) -> None:
        """Hear that the session stands, or what changed about the node or the managers."""

    def assigned(self, frame: Assignments) -> None:
        """Hear what to run."""

    def published(self, frame: Ingress) -> None:
        """Hear what every node publishes."""


class Session:
    """One session over an open channel."""

    def __init__(
        self,
        channel: Channel,
        ends: Ends,
        outbox: Outbox,
        timing: SessionTiming,
        rng: random.Random,
        *,
        logs: LogSource,
    ) -> None:
        self._channel = channel
        self._ends = ends
        self._outbox = outbox
        self._timing = timing
        self._rng = rng
        self._period_s = 1.0
        self._sooner = asyncio.Event()
        """Set when the period has become shorter: the pause is over."""
        self._sent: dict[int, list[StatusOf]] = {}
        self._ack = asyncio.Event()
        self._ended = asyncio.Event()
        self._logs = LogStreams(logs, self._send)

    async def run(self, hello: Hello) -> None:
        """Speak with the manager until the channel breaks; always raises, then closes it."""
        try:
            await self._channel.send(encode(hello))
            async with asyncio.timeout(self._timing.welcome_timeout_s):
                first = await self._receive()
            if not isinstance(first, Welcome):
                raise ConnectionError("the manager did not begin with a welcome")
            self._welcome(first)
            await self._talk()
        except TimeoutError as error:
            raise ConnectionError("the manager did not answer in time") from error
        finally:
            self._ended.set()
            await self._channel.close()

    async def describe(self, description: NodeDescription) -> None:
        """Tell the manager that the machine changed."""
        await self._channel.send(encode(Described(description)))

    async def complain(self, text: str) -> None:
        """Tell the manager what this node can't do; empty: nothing."""
        await self._channel.send(encode(NodeTrouble(text)))

    async def take_leave(self, within_s: float) -> None:
        """Say that this node is back within that time; return once the manager hung up, or soon."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            await self._channel.send(encode(Away(within_s)))
            async with asyncio.timeout(self._timing.leave_timeout_s):
                await self._ended.wait()

    async def _talk(self) -> None:
        parts = [
            asyncio.create_task(self._listen(), name="session listen"),
            asyncio.create_task(self._beat(), name="session heartbeat"),
            asyncio.create_task(self._report(), name="session statuses"),
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
            await self._logs.close()

    async def _listen(self) -> None:
        while True:
            frame = await self._receive()
            match frame:
                case Assignments():
                    self._ends.assigned(frame)
                case Ingress():
                    self._ends.published(frame)
                case Ack():
                    self._outbox.confirm(self._sent.pop(frame.seq, []))
                    self._ack.set()
                case Welcome() | NodeChanged():
                    self._welcome(frame)
                case LogsWanted() | LogsMore() | LogsStop():
                    self._logs.take(frame)

    async def _beat(self) -> None:
        beat = encode(Heartbeat())
        while True:
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period_s * self._rng.uniform(0.9, 1.0)):
                    await self._sooner.wait()
            await self._channel.send(beat)

    async def _report(self) -> None:
        """Send one batch at a time; each has its number, since the next may say other things."""
        for seq in count():
            batch, frame = _fitting(seq, await self._outbox.batch(BATCH_MAX))
            self._sent[seq] = batch
            self._sent.pop(seq - UNCONFIRMED_MAX, None)
            await self._channel.send(frame)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.resend_s):
                    await self._confirmed(seq)

    async def _confirmed(self, seq: int) -> None:
        while seq in self._sent:
            self._ack.clear()
            await self._ack.wait()

    async def _send(self, frame: Frame) -> None:
        await self._channel.send(encode(frame))

    async def _receive(self) -> ManagerFrame:
        try:
            frame: ManagerFrame = decode_manager_frame(await self._channel.receive())
        except msgspec.MsgspecError as error:
            raise ConnectionError(
                f"the manager sent a frame that makes no sense: {error}"
            ) from error
        return frame

    def _welcome(self, frame: Welcome | NodeChanged) -> None:
        if frame.heartbeat_period_s < self._period_s:
            self._sooner.set()
        self._period_s = frame.heartbeat_period_s
        self._ends.welcomed(frame)


def _fitting(seq: int, batch: list[StatusOf]) -> tuple[list[StatusOf], bytes]:
    """Return as many of the statuses as fit into one frame, and the frame."""
    frame = encode(Statuses(seq, batch))
    while len(frame) > BATCH_BYTES_MAX and len(batch) > 1:
        batch = batch[: len(batch) // 2]
        frame = encode(Statuses(seq, batch))
    return batch, frame


def dial_patience_s(period_s: float, timing: SessionTiming) -> float:
    """Return how long to wait for a manager that is dialled: longer where heartbeats are rarer.

    That is in a swarm of thousands. When a manager of theirs dies they dial at once, and who gives
    up in the midst of it has cost the manager a handshake, and begins again.
    """
    return min(timing.dial_timeout_s * max(period_s, 1.0), timing.dial_timeout_max_s)


def next_backoff_s(backoff_s: float, timing: SessionTiming) -> float:
    """Return the bound of the next pause before dialling: 0.1, 0.3, 0.7 s … at most 8 s."""
    return min(timing.backoff_step_s + 2 * backoff_s, timing.backoff_max_s)
